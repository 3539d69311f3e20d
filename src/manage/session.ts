import { hash, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { batch } from '../database/batch.ts'
import { forbidden } from '../errors.ts'
import type { Principal } from '../http/auth.ts'
import { touchKeys } from '../keys/repository.ts'
import { endSession, readSessions, startSession } from './sessions.ts'

/**
 * Two cookies, of one shape. A link from another site comes without either, and is answered with the log-in: that page
 * must not overwrite the cookie of the session, which is still there.
 */
const sessionCookie = 'kener_manage'
const logInCookie = 'kener_log_in'

/** 256 random bits, base64url. */
const tokenPattern = /^[\w-]{43}$/

type Session = {
  csrfSecret?: string
  /** When the session was read, by the database's clock. */
  now?: Date
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What the browser's cookie stands for, whether or not someone is logged in with it. */
    session: Session
  }
  interface FastifyInstance {
    /** onRequest hook: who is not logged in is sent to do so. @throws ApiError 429 */
    requireSession: onRequestAsyncHookHandler
    /** Gives a browser without a cookie one, so that it can send forms. */
    openSession: (request: FastifyRequest, reply: FastifyReply) => void
    /** @throws ApiError 403 when the key is no admin key. */
    logIn: (request: FastifyRequest, reply: FastifyReply, principal: Principal) => Promise<void>
    logOut: (request: FastifyRequest, reply: FastifyReply) => Promise<void>
  }
}

/**
 * Whose cookie holds the token of a session is its principal. Tokens are given out by us alone, and a new one at each
 * log-in: one that someone else has planted in a browser never comes to stand for a log-in (session fixation). Whether
 * a session still holds is asked of PostgreSQL for every page, as it is for keys.
 */
export default fp(
  async (app) => {
    const read = batch(async (digests: string[]) => {
      const found = await readSessions(app.db, digests)
      return digests.map((digest) => found.get(digest) ?? null)
    })

    app.decorateRequest('session')
    app.addHook('onRequest', async (request) => {
      request.session = {}
      const [token, logInToken] = [readToken(request, sessionCookie), readToken(request, logInCookie)]
      const found = token === undefined ? null : await read(digestOf(token))
      if (found) {
        request.principal = found.principal
        request.session.now = found.now
      }
      const used = request.principal ? token : logInToken
      if (used !== undefined) setCsrfSecret(request, used)
    })

    app.decorate('requireSession', async (request, reply) => {
      if (request.principal) return
      await promisify(app.limitRate).call(app, request, reply)
      const next =
        request.method === 'GET' && request.url !== '/manage'
          ? `?next=${encodeURIComponent(request.url)}`
          : ''
      return reply.redirect(`/manage/login${next}`, 303)
    })

    app.decorate('openSession', (request, reply) => {
      if (request.session.csrfSecret === undefined) setTokenCookie(request, reply, logInCookie)
    })

    app.decorate('logIn', async (request, reply, principal) => {
      const before = readToken(request, sessionCookie)
      const token = setTokenCookie(request, reply, sessionCookie)
      if (!(await startSession(app.db, digestOf(token), principal.id))) throw forbidden('admin')
      request.principal = principal
      if (before !== undefined) await endSession(app.db, digestOf(before))
      await touchKeys(app.db, [principal.id])
      request.log.info({ event: 'logged_in', keyId: principal.id, address: request.ip }, 'logged in')
    })

    app.decorate('logOut', async (request, reply) => {
      const token = readToken(request, sessionCookie)
      if (token !== undefined) await endSession(app.db, digestOf(token))
      reply.clearCookie(sessionCookie, { path: '/manage' })
      // Who was not logged in has not logged out.
      if (request.principal === null) return
      request.log.info(
        { event: 'logged_out', keyId: request.principal.id, address: request.ip },
        'logged out',
      )
    })
  },
  { name: 'session', dependencies: ['database', 'auth', 'rate-limit', '@fastify/cookie'] },
)

function readToken({ cookies }: FastifyRequest, name: string): string | undefined {
  const token = cookies[name]
  return token !== undefined && tokenPattern.test(token) ? token : undefined
}

function setTokenCookie(request: FastifyRequest, reply: FastifyReply, name: string): string {
  const token = randomBytes(32).toString('base64url')
  setCsrfSecret(request, token)
  reply.setCookie(name, token, {
    path: '/manage',
    httpOnly: true,
    sameSite: 'strict',
    secure: request.protocol === 'https',
  })
  return token
}

/** Forms are bound to the token: their secret is made of it, and dies with it. */
function setCsrfSecret(request: FastifyRequest, token: string): void {
  request.session.csrfSecret = hash('sha256', `csrf ${token}`, 'base64')
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64')
}
