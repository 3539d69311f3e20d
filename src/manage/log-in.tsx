import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { type ApiError, otherKey } from '../errors.ts'
import { clientAddress } from '../http/client-address.ts'
import { recordError } from '../http/error-handler.ts'
import { readText } from './form.ts'
import { sendPage } from './page.tsx'
import { safeRedirectPath } from './redirects.ts'
import { Field } from './fields.tsx'
import { Form } from './ui.tsx'

const Query = Type.Object({ next: Type.Optional(Type.String()), notice: Type.Optional(Type.String()) })

const notices = new Map([
  ['logged-out', 'You are logged out.'],
  ['logged-out-everywhere', 'All sessions of the key have ended.'],
  ['unchanged', 'Your session has ended, so nothing was changed. Log in, and try again.'],
])

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
    const error = await tryLogIn(request, reply, readText(request.body, 'key'))
    if (error !== undefined) return sendLogIn(request, reply, { next, error })
    return reply.redirect(safeRedirectPath(next), 303)
  })

  app.post('/logout', { onRequest: skipEndedSession }, async function logOut(request, reply) {
    await app.logOut(request, reply)
    return reply.redirect(loggedOutPath, 303)
  })
}

export default routes

const loggedOutPath = '/manage/login?notice=logged-out'

/** The CSRF token of a session that another tab has ended is not valid. */
async function skipEndedSession(request: FastifyRequest, reply: FastifyReply) {
  if (!request.principal) return reply.redirect(loggedOutPath, 303)
}

/**
 * Starts a session with the key that was entered.
 * @param expectedId of the key that it must be
 * @returns why it is rejected, with the status and the headers of the reply set. @throws ApiError 500, 503
 */
export async function tryLogIn(
  request: FastifyRequest,
  reply: FastifyReply,
  entered: string,
  expectedId?: string,
): Promise<string | undefined> {
  const { server, log } = request
  const token = entered.trim()
  if (token === '') {
    reply.code(400)
    return 'Enter an API key'
  }
  try {
    const principal = await server.authenticateToken(token, request)
    if (expectedId !== undefined && principal.id !== expectedId) throw otherKey(principal.id)
    await server.logIn(request, reply, principal)
    return undefined
  } catch (error) {
    const apiError = recordError(error, request)
    if (apiError.status >= 500) throw apiError
    const { reason, keyId: presentedKeyId } = apiError
    const facts = { event: 'log_in_failed', reason, presentedKeyId, address: clientAddress(request) }
    log.info(facts, 'log-in failed')
    reply.code(apiError.status).headers(apiError.headers)
    return toLogInMessage(apiError)
  }
}

function toLogInMessage({ code, message }: ApiError): string {
  return code === 'UNAUTHORIZED' ? 'This is not a valid key. Check that you copied all of it.' : message
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
      <Form action="/manage/login">
        <input type="hidden" name="next" value={next} />
        <KeyField name="key" label="API key" error={error} />
        <button class="primary wide">Log in</button>
      </Form>
      <LogInHelp />
    </section>,
  )
}

type KeyFieldProps = { name: string; label: string; error: string | undefined }

/** A field for a key, which is hidden like a password. manage.js adds a button that shows it. */
export function KeyField({ name, label, error }: KeyFieldProps) {
  return (
    <Field id="key" label={label} error={error}>
      {(ariaProps) => (
        <div class="secret">
          <input
            id="key"
            name={name}
            type="password"
            required
            autocomplete="current-password"
            autocapitalize="off"
            spellcheck={false}
            autofocus
            {...ariaProps}
          />
          <button type="button" data-shows="key" aria-controls="key" hidden>
            Show key
          </button>
        </div>
      )}
    </Field>
  )
}

/** Says which keys can log in. */
export function LogInHelp() {
  return (
    <>
      <p class="muted">
        Log in with any API key. You see and change what its permissions and monitors allow;{' '}
        <code>admin</code> allows everything.
      </p>
      <details>
        <summary>What do the permissions allow?</summary>
        <dl class="facts">
          <dt>
            <code>read:monitors</code>
          </dt>
          <dd>see monitors, their status and their uptime</dd>
          <dt>
            <code>write:monitors</code>
          </dt>
          <dd>create and edit monitors, report a status, create heartbeat URLs</dd>
          <dt>
            <code>delete:monitors</code>
          </dt>
          <dd>delete monitors</dd>
          <dt>
            <code>read:incidents</code>
          </dt>
          <dd>see incidents and maintenances</dd>
          <dt>
            <code>write:incidents</code>
          </dt>
          <dd>open, update and resolve incidents; plan maintenances</dd>
          <dt>
            <code>admin</code>
          </dt>
          <dd>all of this, and keys, audit events and the deletion of incidents and maintenances</dd>
        </dl>
      </details>
      <details>
        <summary>No key?</summary>
        <p>
          The first key is printed when the service starts for the first time. Create another one on the
          command line:
        </p>
        <pre tabIndex={0}>npm run -s cli -- keys create --name ops --permissions admin</pre>
      </details>
    </>
  )
}
