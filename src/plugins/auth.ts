import { setTimeout as delay } from 'node:timers/promises'
import type { Socket } from 'node:net'
import bearerAuth from '@fastify/bearer-auth'
import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import pLimit, { type LimitFunction } from 'p-limit'
import QuickLRU from 'quick-lru'
import type { AdmittedKey, Quota } from '../database/admissions.ts'
import { createAdmissions } from '../database/admissions.ts'
import { batch } from '../database/batch.ts'
import { findHashes, replaceHash } from '../database/keys.ts'
import {
  ApiError,
  invalidKey,
  keyExpired,
  keyRevoked,
  malformedKey,
  missingCredentials,
  tooManyFailures,
} from '../errors.ts'
import { type Key, parseKey } from '../keys/format.ts'
import { createSecrets, isOutdated, type Secrets } from '../keys/secrets.ts'

/** Who asks. Nothing after this plugin knows how that was found out. */
export type Principal = Omit<AdmittedKey, 'status'>

declare module 'fastify' {
  interface FastifyRequest {
    /** Null until authenticated, and on public routes. */
    principal: Principal | null
    /** What the principal's limit says of this request. */
    quota: Quota | null
  }
  interface FastifyInstance {
    secrets: Secrets
    /** onRequest hook. @throws ApiError 401, 429 after too many failures from the address, 503 */
    authenticate: onRequestHookHandler
    /**
     * Whose key this is, for one presented elsewhere than in the header; uses nothing of its quota.
     * @throws ApiError 401, 429 after too many failures from the request's address, 503
     */
    identify: (text: string, request: FastifyRequest) => Promise<Principal>
  }
}

/**
 * Who presents a valid key becomes the request's principal. The cheap comes first: shape and checksum, then what this
 * process remembers, then PostgreSQL, and Argon2 last, once a key.
 */
export default fp(
  async (app) => {
    const secrets = createSecrets()
    const admissions = createAdmissions(app.db, {
      rateLimitMax: app.config.rateLimitMax,
      onError: (error) => {
        app.log.warn({ err: error }, 'could not note the last use of keys')
      },
    })
    // A client sends the same key over and over on a connection: what the last one said is not parsed and hashed again.
    const latestVerified = new WeakMap<Socket, { text: string; id: string }>()
    const findHash = batch((ids: string[]) => findHashes(app.db, ids))
    const slowDown = createBrake(50, 1_000)
    const failures = app.createRateLimit({ max: app.config.authFailureLimitMax })
    const gates = new QuickLRU<string, LimitFunction>({ maxSize: 10_000 })

    await app.register(bearerAuth, {
      // Our own hook, because with its hook an error of ours would reach the client as it is.
      addHook: false,
      keys: [],
      // RFC 9110: the name of a scheme is case-insensitive.
      specCompliance: 'rfc6749',
      verifyErrorLogLevel: 'debug',
      auth: (text, request) => {
        if (text === '') throw missingCredentials()
        const id = verifiedId(text, request)
        return id === undefined
          ? verifyKey(text, request).then((id) => admitKey(id, request))
          : admitKey(id, request)
      },
    })
    const { verifyBearerAuth } = app
    if (!verifyBearerAuth) throw new Error('@fastify/bearer-auth was registered without verifyBearerAuth')

    app.decorateRequest('principal', null)
    app.decorateRequest('quota', null)
    app.decorate('secrets', secrets)
    // Callbacks and not promises, here and in the other hooks that every request meets: docs/decisions/0009.
    app.decorate('authenticate', (request, reply, next) => {
      if (request.routeOptions.config.permission === 'public') {
        next()
        return
      }
      verifyBearerAuth.call(app, request, reply, (error) => {
        if (error) refuse(request, error).then(next, next)
        else next()
      })
    })

    app.decorate('identify', async (text, request) => {
      try {
        const id = await verifyKey(text, request)
        return requireActive(id, await admissions.read(id))
      } catch (error) {
        throw await countFailure(request, error)
      }
    })

    function admitKey(id: string, request: FastifyRequest): Promise<true> {
      return admissions.admit(id).then((admission) => {
        request.principal = requireActive(id, admission?.key)
        request.quota = admission?.quota ?? null
        return true
      })
    }

    function verifiedId(text: string, { socket }: FastifyRequest): string | undefined {
      const latest = latestVerified.get(socket)
      return latest?.text === text ? latest.id : undefined
    }

    /** The id of the key, once the caller is known to hold it: from then on he may hear what has become of it. */
    async function verifyKey(text: string, request: FastifyRequest): Promise<string> {
      const key = parseKey(text)
      if (!key) throw malformedKey()
      if (!secrets.isVerified(key)) await verifySecret(key, request)
      latestVerified.set(request.socket, { text, id: key.id })
      return key.id
    }

    /** So many of an address at a time as may fail: a burst must not be through before the first guess is counted. */
    async function verifySecret(key: Key, request: FastifyRequest): Promise<void> {
      const { key: address } = await failures(request, { increment: false })
      const gate = gates.get(address) ?? pLimit(app.config.authFailureLimitMax)
      gates.set(address, gate)
      await gate(() => verifyInTurn(key, request))
    }

    async function verifyInTurn(key: Key, request: FastifyRequest): Promise<void> {
      const count = await failures(request, { increment: false })
      if (!count.isAllowed && count.remaining === 0) throw tooManyFailures(count.ttlInSeconds)
      const hash = await findHash(key.id)
      if (hash === undefined) throw invalidKey('unknown', key.id)
      if (!(await secrets.verify(key, hash))) throw invalidKey('wrong_secret', key.id)
      if (isOutdated(hash)) {
        await rehash(key, hash).catch((error: unknown) => {
          app.log.warn({ err: error }, 'could not store a hash with new parameters')
        })
      }
    }

    async function rehash(key: Key, from: string): Promise<void> {
      await replaceHash(app.db, { id: key.id, from, to: await secrets.hash(key.secret) })
    }

    function refuse(request: FastifyRequest, error: Error): Promise<Error> {
      return countFailure(request, isWithoutBearer(error) ? missingCredentials() : error)
    }

    /** The failure to answer with: the one at hand, or 429 once there were too many. */
    async function countFailure<Failure>(
      request: FastifyRequest,
      error: Failure,
    ): Promise<Failure | ApiError> {
      if (!(error instanceof ApiError)) return error
      let failure: ApiError = error
      if (error.status === 401) {
        const count = await failures(request)
        if (!count.isAllowed && count.isExceeded) failure = tooManyFailures(count.ttlInSeconds)
      }
      if (failure.status === 429) await slowDown()
      return failure
    }
  },
  { name: 'auth', dependencies: ['database', 'address-counters'] },
)

/**
 * Who sends one bad key after the other waits for each answer, so that those with a good one are served in between.
 * Only so many at a time: waiting costs memory.
 */
function createBrake(delayMs: number, waitingMax: number): () => Promise<void> {
  let waiting = 0
  return async () => {
    if (waiting >= waitingMax) return
    waiting++
    await delay(delayMs)
    waiting--
  }
}

function requireActive(id: string, key: AdmittedKey | undefined): AdmittedKey {
  if (!key) throw invalidKey('unknown', id)
  if (key.status === 'revoked') throw keyRevoked(id)
  if (key.status === 'expired') throw keyExpired(id)
  return key
}

/**
 * No Authorization header, or another scheme than Bearer: RFC 6750, section 3.1, treats both alike. A bad key never
 * comes here, since `auth` above throws what is wrong with it.
 */
function isWithoutBearer(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('FST_BEARER_AUTH_')
}

/** The principal of a request on a route that is not public. */
export function requirePrincipal({ principal }: FastifyRequest): Principal {
  if (!principal) throw new Error('This route was reached without a principal')
  return principal
}
