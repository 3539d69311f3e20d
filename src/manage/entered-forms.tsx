import type { FastifyReply, FastifyRequest } from 'fastify'
import { promisify } from 'node:util'
import { invalidCsrfToken } from '../errors.ts'
import { requirePrincipal } from '../http/auth.ts'
import { readText } from './form.ts'
import { KeyField, LogInHelp, tryLogIn } from './log-in.tsx'
import { sendPage } from './page.tsx'
import { isFromThisSite, pathBefore, withNotice } from './redirects.ts'
import { Form } from './ui.tsx'

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * On a route that a form is sent to: shows the form with the entered values, and changes nothing. Called instead of the
     * handler if the form was sent without its session. Without it, the page that contained the form is opened again.
     */
    showAgain?(request: FastifyRequest, reply: FastifyReply): unknown
    /**
     * True, or a condition on the body, if the key must have been entered in the last 15 minutes. Required on routes that
     * delete, revoke or rotate.
     */
    recentLogIn?: boolean | ((body: unknown) => boolean)
  }
  interface FastifyRequest {
    /** True for a form that was sent without its session: it is shown again. */
    isShownAgain: boolean
  }
}

/** Name of the field for the key, which is never carried along. */
const keyField = '_key'

/** Added to the longest body of a form, for its key. */
export const addedFieldsBytes = 1_024

/** True for a form of this site that can be shown again after a log-in. */
export function canShowAgain(request: FastifyRequest): boolean {
  return request.routeOptions.config.showAgain !== undefined && isFromThisSite(request)
}

/** True for routes whose changes cannot be undone. */
export function isDestructive(url: string): boolean {
  return /\/(delete|revoke|rotate)$/.test(url)
}

/**
 * preValidation hook of every form: checks its CSRF token. A form that was sent without its session is never carried out,
 * because another session, or another site, may have filled it: after the log-in, it is shown, to be sent again.
 *
 * The entered values are kept in the page that asks for the key, as hidden fields of a form with the same path. So no
 * state is kept between the requests, and the values are checked again with the rights of the key that logs in.
 */
export async function checkForm(request: FastifyRequest, reply: FastifyReply) {
  if (request.method === 'GET' || request.method === 'HEAD' || request.is404) return
  const { server, body } = request
  const hasToken = await hasCsrfToken(request)
  if (!hasToken) {
    if (!isFromThisSite(request)) throw invalidCsrfToken()
    if (!canShowAgain(request)) return reply.redirect(withNotice(pathBefore(request), 'unchanged'), 303)
    request.isShownAgain = true
    reply.code(403)
  }
  if (!request.isShownAgain || hasSession(request)) return
  const entered = hasToken ? readKey(body) : undefined
  const error = entered === undefined ? undefined : await tryLogIn(request, reply, entered)
  if (!hasSession(request)) {
    server.openSession(request, reply)
    return sendKeyForm(request, reply, error)
  }
  reply.code(200)
  await server.authorize(request, reply)
}

/**
 * Last preHandler hook of every form: shows a form that was sent without its session, and asks for the key before a change
 * that cannot be undone. The form that asks for it has the path of the change and its fields, so that the change continues.
 */
export async function showOrConfirm(request: FastifyRequest, reply: FastifyReply) {
  const { server, session, body } = request
  const { config } = request.routeOptions
  const { recentLogIn = false } = config
  if (request.isShownAgain) {
    if (!config.showAgain) throw invalidCsrfToken()
    await config.showAgain(request, reply)
    return reply
  }
  const isRequired = typeof recentLogIn === 'function' ? recentLogIn(body) : recentLogIn
  if (!isRequired || session.isRecent === true) return
  const entered = readKey(body)
  if (entered === undefined) return sendKeyForm(request, reply)
  await promisify(server.limitRate).call(server, request, reply)
  const error = await tryLogIn(request, reply, entered, requirePrincipal(request).id)
  if (error !== undefined) return sendKeyForm(request, reply, error)
}

/** csrfProtection sends an error page itself, instead of returning the error. */
function hasCsrfToken(request: FastifyRequest): Promise<boolean> {
  return new Promise((resolve) => {
    const sendsNothing = {
      send: () => {
        resolve(false)
      },
    } as unknown as FastifyReply
    request.server.csrfProtection(request, sendsNothing, () => {
      resolve(true)
    })
  })
}

/** A function, because a log-in changes the result. */
function hasSession({ principal }: FastifyRequest): boolean {
  return principal !== null
}

/** Returns undefined if the form did not ask for a key. */
function readKey(body: unknown): string | undefined {
  return Object.hasOwn(body ?? {}, keyField) ? readText(body, keyField) : undefined
}

/** Asks for a key, and carries the entered values along. */
function sendKeyForm(request: FastifyRequest, reply: FastifyReply, error?: string): FastifyReply {
  const { principal } = request
  // With an error, it is that of the error.
  if (error === undefined) reply.code(403)
  return sendPage(
    request,
    reply,
    { title: principal ? 'Confirm with your key' : 'Log in' },
    principal ? (
      <section class="card narrow">
        <h1>Confirm with your key</h1>
        <p>
          Nothing was changed yet. You logged in more than 15 minutes ago: enter the key{' '}
          <strong>{principal.name}</strong> (<code>{principal.id}</code>) again to continue.
        </p>
        <Form action={request.url}>
          <CarriedFields body={request.body} />
          <KeyField name={keyField} label="API key" error={error} />
          <div class="buttons">
            <button class="primary">Continue</button>
            <a class="button" href={pathBefore(request)}>
              Cancel
            </a>
          </div>
        </Form>
      </section>
    ) : (
      <section class="card narrow">
        <h1>Log in</h1>
        <p class="warning" role="status">
          Your session has ended, so nothing was saved. After you log in, the form is shown with the values
          that you entered.
        </p>
        <Form action={request.url}>
          <CarriedFields body={request.body} />
          <KeyField name={keyField} label="API key" error={error} />
          <button class="primary wide">Log in</button>
        </Form>
        <LogInHelp />
      </section>
    ),
  )
}

/** Hidden fields with the values of a form, except its CSRF token and the key. */
function CarriedFields({ body }: { body: unknown }) {
  return (
    <>
      {Object.entries(body ?? {})
        .filter(([name]) => name !== '_csrf' && name !== keyField)
        .flatMap(([name, values]) =>
          [values as unknown]
            .flat()
            .filter((value) => typeof value === 'string')
            .map((value, index) => (
              <input key={`${name} ${index}`} type="hidden" name={name} value={value} />
            )),
        )}
    </>
  )
}
