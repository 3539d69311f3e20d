import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ApiError } from '../errors.ts'
import { recordError } from '../http/error-handler.ts'
import { pageHeaders } from '../http/page-security.ts'
import { htmlType, renderPage, sendPage } from './page.tsx'

const titles: Record<number, string> = {
  400: 'Invalid request',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Method not allowed',
  409: 'Not possible now',
  413: 'Form too large',
  415: 'Not a form',
  408: 'Too slow',
  429: 'Too many requests',
  431: 'Request too large',
  500: 'Internal error',
  503: 'Temporarily unavailable',
}

/** Next steps, for errors whose message contains none. */
const advice: Record<number, string> = {
  404: 'Check the address. The page may also have been deleted.',
  405: 'Open the page again, and use its buttons.',
  408: 'Send the request again.',
  413: 'Go back, shorten the texts, and send the form again.',
  431: 'Shorten the address. If it is short, delete the cookies of this site.',
  500: 'Try again. If it fails again, search the log of the server for the request ID.',
}

const headers = { ...pageHeaders(), 'cache-control': 'no-store' }

/** Sends the page of an error. Sets the headers itself, because an error may precede the hooks that set them. */
export function sendErrorPage(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const apiError = recordError(error, request)
  const { status } = apiError
  const [path = '', query] = request.url.split('?')
  return sendPage(
    request,
    reply.code(status).headers({ ...headers, ...apiError.headers }),
    { title: titleOf(status) },
    <ErrorCard
      status={status}
      message={describe(apiError, request)}
      requestId={request.id}
      unfilteredPath={status === 400 && query !== undefined ? path : undefined}
    />,
  )
}

/** Returns the page of an error for which there is no request. */
export function toErrorPage({ message }: ApiError, status: number, requestId: string) {
  const body = renderPage(
    { title: titleOf(status) },
    <ErrorCard status={status} message={message} requestId={requestId} />,
  )
  return { headers: { ...headers, 'content-type': htmlType }, body }
}

function titleOf(status: number): string {
  return titles[status] ?? 'Error'
}

type ErrorCardProps = {
  status: number
  message: string
  requestId: string
  /** Path of the page without the query that was rejected. */
  unfilteredPath?: string | undefined
}

function ErrorCard({ status, message, requestId, unfilteredPath }: ErrorCardProps) {
  return (
    <section class="card narrow">
      <h1>{titleOf(status)}</h1>
      <p>{toSentence(message)}</p>
      {advice[status] !== undefined && <p>{advice[status]}</p>}
      <p class="muted">
        Request ID: <code>{requestId}</code>
      </p>
      <div class="buttons">
        <a class="button primary" href="/manage">
          Go to the overview
        </a>
        {unfilteredPath !== undefined && (
          <a class="button" href={unfilteredPath}>
            Clear the filters
          </a>
        )}
      </div>
    </section>
  )
}

/** Names the invalid part of the address, instead of a field of the API. */
function describe({ message, details = [] }: ApiError, { method }: FastifyRequest): string {
  const [first] = details
  const isAboutAddress = first !== undefined && first.path !== '' && (method === 'GET' || method === 'HEAD')
  return isAboutAddress ? `The address is invalid: ${first.path.slice(1)} ${first.message}` : message
}

function toSentence(text: string): string {
  return text.replace(/[^.]$/, '$&.')
}
