import { hash, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { auditedTransaction } from '../audit/transaction.ts'
import { batch } from '../database/batch.ts'
import { retryWhileLocked } from '../database/locks.ts'
import { keyRevoked } from '../errors.ts'
import { type Principal, requirePrincipal } from '../http/auth.ts'
import { change, toChangeContext } from '../http/change-context.ts'
import { clientAddress } from '../http/client-address.ts'
import { isAddressAllowed } from '../keys/allowed-ips.ts'
import { touchKeys } from '../keys/authentication.ts'
import { toTarget } from '../keys/lifecycle.ts'
import { allows } from '../permissions.ts'
import { canShowAgain } from './entered-forms.tsx'
import { pathBefore, withNotice } from './redirects.ts'
import { endSession, endSessionsOfKey, readSessions, startSession } from './session-repository.ts'

/**
 * The log-in form has a cookie of its own. A link from another site is sent without cookies (SameSite=Strict) and gets
 * the log-in page, which must not overwrite the cookie of an existing session.
 */
const sessionCookie = 'kener_manage'
const logInCookie = 'kener_log_in'

const logInPath = '/manage/login'

/** 32 random bytes in base64url. */
const tokenPattern = /^[\w-]{43}$/

type Session = {
  csrfSecret?: string
  /** Time at which the session was read, by the clock of the database. */
  now?: Date
  /** True if the key was entered in the last 15 minutes. */
  isRecent?: boolean
}

declare module 'fastify' {
  interface FastifyRequest {
    /** State of the browser's cookie. Present before the log-in too, because the log-in form needs a CSRF token. */
    session: Session
  }
  interface FastifyInstance {
    /**
     * onRequest hook: redirects a request without a session to the log-in. A form that can be shown again continues, so
     * that its fields are read: ./entered-forms.tsx asks for the key. @throws ApiError 429
     */
    requireSession: onRequestAsyncHookHandler
    /** onRequest hook, after requireSession: checks what the key may do. @throws ApiError 403, 503 */
    authorize: (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>
    /** Sets a cookie if the browser has none, because CSRF tokens are derived from it. */
    openSession: (request: FastifyRequest, reply: FastifyReply) => void
    /** Starts a session, with a new token, and ends the one that the browser had. @throws ApiError 401 */
    logIn: (request: FastifyRequest, reply: FastifyReply, principal: Principal) => Promise<void>
    logOut: (request: FastifyRequest, reply: FastifyReply) => Promise<void>
    /** Ends all sessions of a key, on all replicas. */
    logOutEverywhere: (request: FastifyRequest, key: Pick<Principal, 'id' | 'name'>) => Promise<void>
  }
}

/**
 * Sets the principal from the session cookie. Each log-in issues a new token, so that a token planted in a browser never
 * becomes a session (session fixation). Every page reads the session and its key from PostgreSQL, because a revocation
 * applies at once.
 */
export default fp(
  async (app) => {
    const readSession = batch(async (digests: string[]) => {
      const found = await retryWhileLocked(() => readSessions(app.admissionDb, digests), app.maxLockWaitMs)
      return digests.map((digest) => found.get(digest) ?? null)
    })

    app.decorateRequest('session')
    app.addHook('onRequest', async (request) => {
      request.session = {}
      const [token, logInToken] = [readToken(request, sessionCookie), readToken(request, logInCookie)]
      const found = token === undefined ? null : await readSession(digestOf(token))
      // As for a session that has ended: the log-in page does not reveal that there is one.
      if (found && isAddressAllowed(found.principal.allowed_ips, clientAddress(request))) {
        request.principal = found.principal
        request.session.now = found.now
        request.session.isRecent = found.is_recent
        if (found.is_last_used_stale) await touchKey(request, found.principal)
      }
      const activeToken = request.principal ? token : logInToken
      if (activeToken !== undefined) setCsrfSecret(request, activeToken)
    })

    app.decorate('requireSession', async (request, reply) => {
      if (request.principal) return
      await promisify(app.limitRate).call(app, request, reply)
      if (canShowAgain(request)) {
        request.isShownAgain = true
        return
      }
      const isRead = request.method === 'GET' || request.method === 'HEAD'
      const query = new URLSearchParams(
        isRead
          ? { next: request.url }
          : { next: withNotice(pathBefore(request), 'unchanged'), notice: 'unchanged' },
      )
      return reply.redirect(request.url === '/manage' ? logInPath : `${logInPath}?${query.toString()}`, 303)
    })

    app.decorate('authorize', async (request, reply) => {
      // Such a form is authorized once its key is known.
      if (!request.principal) return
      if (isUnreadableResult(request)) return reply.redirect(withNotice('/manage', 'done'), 303)
      await promisify(app.checkPermission).call(app, request, reply)
      await promisify(app.limitConcurrency).call(app, request, reply)
    })

    app.decorate('openSession', (request, reply) => {
      if (request.session.csrfSecret === undefined)
        setTokenCookie(request, reply, logInCookie, generateToken())
    })

    app.decorate('logIn', async (request, reply, principal) => {
      const previousToken = readToken(request, sessionCookie)
      const token = generateToken()
      request.session.now = await auditedTransaction(
        toChangeContext(request, principal),
        async ({ trx, record }) => {
          if (previousToken !== undefined) await endSession(trx, digestOf(previousToken))
          const now = await startSession(trx, digestOf(token), principal.id)
          // It was revoked, or expired, after it was verified.
          if (!now) throw keyRevoked(principal.id)
          record({ action: 'panel.logged_in', target: toTarget(principal) })
          return now
        },
      )
      setTokenCookie(request, reply, sessionCookie, token)
      request.principal = principal
      request.session.isRecent = true
      await touchKey(request, principal)
      // Otherwise a key that is only used for the overview, which shows more with it, would seem not to need it.
      if (allows(principal.permissions, 'admin')) app.keyUsage.count(principal.id, 'admin')
      request.log.info(
        { event: 'logged_in', keyId: principal.id, address: clientAddress(request) },
        'logged in',
      )
    })

    app.decorate('logOut', async (request, reply) => {
      const token = readToken(request, sessionCookie)
      const { principal } = request
      if (principal) {
        await change(request, async ({ trx, record }) => {
          if (token !== undefined) await endSession(trx, digestOf(token))
          record({ action: 'panel.logged_out', target: toTarget(principal) })
        })
      } else if (token !== undefined) await endSession(app.db, digestOf(token))
      reply.clearCookie(sessionCookie, { path: '/manage' })
      if (!principal) return
      request.log.info(
        { event: 'logged_out', keyId: principal.id, address: clientAddress(request) },
        'logged out',
      )
    })

    app.decorate('logOutEverywhere', async (request, key) => {
      await change(request, async ({ trx, record }) => {
        const count = await endSessionsOfKey(trx, key.id)
        const changes = { sessions: [count, 0] as [number, number] }
        if (count > 0) record({ action: 'panel.logged_out', target: toTarget(key), changes })
      })
      request.log.info(
        {
          event: 'logged_out_everywhere',
          keyId: requirePrincipal(request).id,
          subjectKeyId: key.id,
          address: clientAddress(request),
        },
        'logged out everywhere',
      )
    })
  },
  { name: 'session', dependencies: ['database', 'auth', 'key-usage', 'rate-limit', '@fastify/cookie'] },
)

/** A page that is opened with a session is a use of its key, as a request of the API is. */
function touchKey(request: FastifyRequest, { id }: Principal): Promise<void> {
  return touchKeys(request.server.db, [{ id, address: clientAddress(request) }])
}

/** True for the page that a form leads to after its change, if the key may change what it shows, but not read it. */
function isUnreadableResult({ method, query, principal, routeOptions }: FastifyRequest): boolean {
  const { permission } = routeOptions.config
  return (
    method === 'GET' &&
    Object.hasOwn(query as object, 'notice') &&
    (permission === 'read:monitors' || permission === 'read:incidents') &&
    !allows(principal?.permissions ?? [], permission)
  )
}

function readToken({ cookies }: FastifyRequest, name: string): string | undefined {
  const token = cookies[name]
  return token !== undefined && tokenPattern.test(token) ? token : undefined
}

function generateToken(): string {
  return randomBytes(32).toString('base64url')
}

function setTokenCookie(request: FastifyRequest, reply: FastifyReply, name: string, token: string): void {
  setCsrfSecret(request, token)
  reply.setCookie(name, token, {
    path: '/manage',
    httpOnly: true,
    sameSite: 'strict',
    secure: request.protocol === 'https',
  })
}

/** Derives the CSRF secret from the token, so that forms become invalid with the session. */
function setCsrfSecret(request: FastifyRequest, token: string): void {
  request.session.csrfSecret = hash('sha256', `csrf ${token}`, 'base64')
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64')
}
