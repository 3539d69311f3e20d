import { randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { promisify } from 'node:util'
import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  type ApiError,
  connectNotAllowed,
  headersTooLarge,
  heartbeatUrlNotFound,
  malformedRequest,
  requestTimedOut,
} from '../errors.ts'
import { sendError, toBody } from './error-handler.ts'
import { heartbeatHeaders, isHeartbeatUrl } from './heartbeat-url.ts'
import { endRequest, setSharedHeaders } from './request-log.ts'

/** Public paths: limited by address, without authentication. */
const isPublicPath = /^\/(manage|docs|badge|incidents|maintenances)\//

/**
 * Sends the error for a URL that the router cannot decode (such as /api/%zz), or of which a part is too long. Fastify runs
 * no hooks for it, so that credentials and limits are checked here.
 * @param send the error handler of the path
 */
export async function sendFrameworkError(
  app: FastifyInstance,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
  send: typeof sendError | undefined = sendError,
): Promise<void> {
  setSharedHeaders(request, reply)
  try {
    if (isHeartbeatUrl(request.url)) {
      reply.headers(heartbeatHeaders)
      throw await app.countAuthFailure(request, heartbeatUrlNotFound())
    }
    if (!isPublicPath.test(request.url)) await promisify(app.authenticate).call(app, request, reply)
    await promisify(app.limitRate).call(app, request, reply)
    send(error, request, reply)
  } catch (rejection) {
    send(rejection, request, reply)
  }
  endRequest(request, reply)
}

/** Rejected connections that are logged per minute, so that a flood does not fill the log. The others are only counted. */
const maxLoggedPerMinute = 60

type RejectionLog = (line: Record<string, unknown>) => void

/** Returns a function that logs a connection that was rejected before there was a request. */
export function createRejectionLog(log: () => FastifyBaseLogger, windowMs = 60_000): RejectionLog {
  let logged = 0
  let omitted = 0
  const endWindow = () => {
    if (omitted > 0) log().warn({ omitted }, 'more connections were rejected than are logged per minute')
    logged = 0
    omitted = 0
  }
  return (line) => {
    if (logged === 0) setTimeout(endWindow, windowMs).unref()
    if (logged < maxLoggedPerMinute) {
      logged++
      log().info({ ...line, event: 'connection_rejected' }, 'connection rejected')
    } else omitted++
  }
}

/** Writes an error for browsers. */
type ToPage = (apiError: ApiError, status: number, requestId: string) => { headers: object; body: string }

/**
 * Sends the error for a malformed, too large or too slow request: for a URL and headers of more than 16 KiB (431), for a
 * request that is not valid HTTP (400), and for one that does not arrive in time (408). Node has no request object for it,
 * only a socket.
 * @param toPage for the path of a page
 */
export function sendClientError(
  error: Error & { code?: string },
  socket: Socket,
  logRejection: RejectionLog,
  toPage?: ToPage,
): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy()
    return
  }
  const pending = findPendingReply(socket)
  if (pending) {
    pending.once('finish', () => {
      sendClientError(error, socket, logRejection, toPage)
    })
    return
  }
  const [status, apiError] = toClientError(error.code)
  const log: RejectionLog = (line) => {
    // A request that ends within its body has a line of its own.
    if (!currentReply(socket)) logRejection({ ...line, reason: error.code })
  }
  sendOnSocket(socket, status, apiError, log, toPage)
}

/**
 * Returns the start of the path of a request that Node could not parse, or '' if it is not known: only the last packet is,
 * which is the only one of most requests.
 */
export function unparsedPath({ rawPacket }: { rawPacket?: unknown }): string {
  const start = Buffer.isBuffer(rawPacket) ? rawPacket.toString('latin1', 0, 100) : ''
  return /^[A-Z]+ (\/[^\s?]*)/.exec(start)?.[1] ?? ''
}

/** Rejects CONNECT. Its target has no path, and Node provides no response object. */
export function sendConnectError(socket: Duplex, logRejection: RejectionLog): void {
  // Node no longer handles the socket: an error without a listener would end the process, and the socket would stay
  // open.
  for (const event of ['error', 'finish']) socket.once(event, () => socket.destroy())
  sendOnSocket(socket, '405 Method Not Allowed', connectNotAllowed(), (line) => {
    logRejection({ ...line, reason: 'CONNECT' })
  })
}

/**
 * Returns the response to an earlier request on the connection, if it is not finished: responses have the order of
 * requests (RFC 9112, section 9.3.2).
 */
function findPendingReply(socket: Socket): ServerResponse | undefined {
  const reply = currentReply(socket)
  return reply?.req.complete ? reply : undefined
}

/** Returns the response that is not finished, which Node keeps in an undocumented field. */
function currentReply(socket: Socket & { _httpMessage?: ServerResponse | null }): ServerResponse | undefined {
  const reply = socket._httpMessage
  return reply && !reply.writableFinished ? reply : undefined
}

function sendOnSocket(
  socket: Duplex & { remoteAddress?: string | undefined },
  status: string,
  apiError: ApiError,
  log: RejectionLog,
  toPage: ToPage = toEnvelope,
): void {
  const reqId = randomUUID()
  const code = Number.parseInt(status)
  log({ reqId, status: code, address: socket.remoteAddress })
  const { headers: own, body } = toPage(apiError, code, reqId)
  const headers = {
    ...apiError.headers,
    connection: 'close',
    'x-request-id': reqId,
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    'content-length': Buffer.byteLength(body),
    ...own,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status}\r\n${lines.join('')}\r\n${body}`)
}

function toEnvelope(apiError: ApiError) {
  const headers = { 'content-type': 'application/json; charset=utf-8' }
  return { headers, body: JSON.stringify(toBody(apiError)) }
}

function toClientError(code?: string): [status: string, apiError: ApiError] {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return ['431 Request Header Fields Too Large', headersTooLarge()]
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return ['408 Request Timeout', requestTimedOut()]
  }
  return ['400 Bad Request', malformedRequest()]
}
