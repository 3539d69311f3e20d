import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { type ApiError, forbidden } from '../errors.ts'
import { clientAddress } from '../http/client-address.ts'
import { recordError } from '../http/error-handler.ts'
import { allows } from '../permissions.ts'
import { readText } from './form.ts'
import { sendPage } from './page.tsx'
import { Field, Form } from './ui.tsx'

const Query = Type.Object({ next: Type.Optional(Type.String()), notice: Type.Optional(Type.String()) })

const notices = new Map([['logged-out', 'You are logged out.']])

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.addHook('onRequest', app.limitRate)

  app.get('/login', { schema: { querystring: Query } }, function showLogIn(request, reply) {
    const { next = '', notice = '' } = request.query
    if (request.principal) return reply.redirect(safeRedirectPath(next), 303)
    app.openSession(request, reply)
    return sendLogIn(request, reply, { next, notice: notices.get(notice) })
  })

  app.post('/login', async function logIn(request, reply) {
    const next = readText(request.body, 'next')
    const token = readText(request.body, 'key').trim()
    if (token === '') return sendLogIn(request, reply.code(400), { next, error: 'Enter an API key' })
    try {
      const principal = await app.authenticateToken(token, request)
      if (!allows(principal.permissions, 'admin')) throw forbidden('admin')
      await app.logIn(request, reply, principal)
    } catch (error) {
      const apiError = recordError(error, request)
      if (apiError.status >= 500) throw apiError
      const { reason, keyId: presentedKeyId } = apiError
      const facts = { event: 'log_in_failed', reason, presentedKeyId, address: clientAddress(request) }
      request.log.info(facts, 'log-in failed')
      reply.code(apiError.status).headers(apiError.headers)
      return sendLogIn(request, reply, { next, error: toLogInMessage(apiError) })
    }
    return reply.redirect(safeRedirectPath(next), 303)
  })

  // Without a session, which another tab has ended, its CSRF token is not checked.
  app.post('/logout', { onRequest: app.requireSession }, async function logOut(request, reply) {
    await app.logOut(request, reply)
    return reply.redirect('/manage/login?notice=logged-out', 303)
  })
}

export default routes

/** Returns the page to open after the log-in: a page of the panel, so that a link cannot redirect to another site. */
function safeRedirectPath(next: string): string {
  return /^\/manage(\/[\w/-]*)?(\?[\w=&%-]*)?$/.test(next) ? next : '/manage'
}

function toLogInMessage({ code, message }: ApiError): string {
  if (code === 'UNAUTHORIZED') return 'This is not a valid key. Check that you copied all of it.'
  if (code === 'FORBIDDEN') return `${message}, which is required to log in`
  return message
}

type LogIn = { next: string; notice?: string | undefined; error?: string }

function sendLogIn(
  request: FastifyRequest,
  reply: FastifyReply,
  { next, notice, error }: LogIn,
): FastifyReply {
  return sendPage(
    request,
    reply,
    { title: 'Log in', notice },
    <section class="card narrow">
      <h1>Log in</h1>
      <p class="muted">
        Use an API key that has the permission <code>admin</code>.
      </p>
      <Form action="/manage/login">
        <input type="hidden" name="next" value={next} />
        <Field id="key" label="API key" error={error}>
          {(ariaProps) => (
            <input
              id="key"
              name="key"
              type="password"
              required
              autocomplete="current-password"
              spellcheck={false}
              autofocus
              {...ariaProps}
            />
          )}
        </Field>
        <button class="primary wide">Log in</button>
      </Form>
      <details>
        <summary>No admin key?</summary>
        <p>
          The first key is printed when the service starts for the first time. Create another one on the
          command line:
        </p>
        <pre tabIndex={0}>npm run -s cli -- keys create --name ops --permissions admin</pre>
      </details>
    </section>,
  )
}
