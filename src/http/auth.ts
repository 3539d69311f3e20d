import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import bearerAuth from '@fastify/bearer-auth'
import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import pLimit, { type LimitFunction } from 'p-limit'
import QuickLRU from 'quick-lru'
import { batch } from '../database/batch.ts'
import {
  ApiError,
  invalidKey,
  keyExpired,
  keyRevoked,
  malformedKey,
  missingCredentials,
  tooManyAuthenticationFailures,
} from '../errors.ts'
import { createKeyQuotas, type KeyWithStatus, type Quota } from '../keys/quota.ts'
import { findHashes, replaceHash } from '../keys/repository.ts'
import { createSecrets, needsRehash, type Secrets } from '../keys/secrets.ts'
import { parseToken, type TokenParts } from '../keys/token.ts'

/** Who asks. Nothing after this plugin knows how that was found out. */
export type Principal = Omit<KeyWithStatus, 'status'>

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
    authenticateToken: (token: string, request: FastifyRequest) => Promise<Principal>
  }
}

/**
 * Who presents a valid key becomes the request's principal. The cheap comes first: shape and checksum, then what this
 * process remembers, then PostgreSQL, and Argon2 last, once a key.
 */
export default fp(
  async (app) => {
    const secrets = createSecrets()
    const quotas = createKeyQuotas(app.db, {
      rateLimitMax: app.config.rateLimitMax,
      onError: (error) => {
        app.log.warn({ err: error }, 'could not note the last use of keys')
      },
    })
    // A client sends the same key over and over on a connection: what the last one said is not parsed and hashed again.
    const verifiedKeyBySocket = new WeakMap<Socket, { token: string; id: string }>()
    const findHash = batch((ids: string[]) => findHashes(app.db, ids))
    const tarpit = createTarpit(50, 1_000)
    const failedAttempts = app.createRateLimit({ max: app.config.authFailureLimitMax })
    const verificationLimits = new QuickLRU<string, LimitFunction>({ maxSize: 10_000 })

    await app.register(bearerAuth, {
      // Our own hook, because with its hook an error of ours would reach the client as it is.
      addHook: false,
      keys: [],
      // RFC 9110: the name of a scheme is case-insensitive.
      specCompliance: 'rfc6749',
      verifyErrorLogLevel: 'debug',
      auth: (token, request) => {
        if (token === '') throw missingCredentials()
        const id = findVerifiedId(token, request)
        return id === undefined
          ? verifyKey(token, request).then((id) => consumeQuota(id, request))
          : consumeQuota(id, request)
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
        if (error) toReportedError(request, error).then(next, next)
        else next()
      })
    })

    app.decorate('authenticateToken', async (token, request) => {
      try {
        const id = await verifyKey(token, request)
        return requireActive(id, await quotas.peek(id))
      } catch (error) {
        throw await countFailure(request, error)
      }
    })

    function consumeQuota(id: string, request: FastifyRequest): Promise<true> {
      return quotas.consume(id).then((consumed) => {
        request.principal = requireActive(id, consumed?.key)
        request.quota = consumed?.quota ?? null
        return true
      })
    }

    function findVerifiedId(token: string, { socket }: FastifyRequest): string | undefined {
      const latest = verifiedKeyBySocket.get(socket)
      return latest?.token === token ? latest.id : undefined
    }

    /** The id of the key, once the caller is known to hold it: from then on he may hear what has become of it. */
    async function verifyKey(token: string, request: FastifyRequest): Promise<string> {
      const parts = parseToken(token)
      if (!parts) throw malformedKey()
      if (!secrets.isVerified(parts)) await verifySecret(parts, request)
      verifiedKeyBySocket.set(request.socket, { token, id: parts.id })
      return parts.id
    }

    /** So many of an address at a time as may fail: a burst must not be through before the first guess is counted. */
    async function verifySecret(parts: TokenParts, request: FastifyRequest): Promise<void> {
      const { key: address } = await failedAttempts(request, { increment: false })
      const limit = verificationLimits.get(address) ?? pLimit(app.config.authFailureLimitMax)
      verificationLimits.set(address, limit)
      await limit(() => verifyAgainstHash(parts, request))
    }

    async function verifyAgainstHash(parts: TokenParts, request: FastifyRequest): Promise<void> {
      const count = await failedAttempts(request, { increment: false })
      if (!count.isAllowed && count.remaining === 0) throw tooManyAuthenticationFailures(count.ttlInSeconds)
      const hash = await findHash(parts.id)
      if (hash === undefined) throw invalidKey('unknown', parts.id)
      if (!(await secrets.verify(parts, hash))) throw invalidKey('wrong_secret', parts.id)
      if (needsRehash(hash)) {
        await rehash(parts, hash).catch((error: unknown) => {
          app.log.warn({ err: error }, 'could not store a hash with new parameters')
        })
      }
    }

    async function rehash(parts: TokenParts, from: string): Promise<void> {
      await replaceHash(app.db, { id: parts.id, from, to: await secrets.hash(parts.secret) })
    }

    function toReportedError(request: FastifyRequest, error: Error): Promise<Error> {
      return countFailure(request, isMissingBearer(error) ? missingCredentials() : error)
    }

    /** The failure to answer with: the one at hand, or 429 once there were too many. */
    async function countFailure<Cause>(request: FastifyRequest, error: Cause): Promise<Cause | ApiError> {
      if (!(error instanceof ApiError)) return error
      let result: ApiError = error
      if (error.status === 401) {
        const count = await failedAttempts(request)
        if (!count.isAllowed && count.isExceeded) result = tooManyAuthenticationFailures(count.ttlInSeconds)
      }
      if (result.status === 429) await tarpit()
      return result
    }
  },
  { name: 'auth', dependencies: ['database', 'address-counters'] },
)

/**
 * Who sends one bad key after the other waits for each answer, so that those with a good one are served in between.
 * Only so many at a time: waiting costs memory.
 */
function createTarpit(delayMs: number, maxPending: number): () => Promise<void> {
  let pending = 0
  return async () => {
    if (pending >= maxPending) return
    pending++
    await delay(delayMs)
    pending--
  }
}

function requireActive(id: string, key: KeyWithStatus | undefined): KeyWithStatus {
  if (!key) throw invalidKey('unknown', id)
  if (key.status === 'revoked') throw keyRevoked(id)
  if (key.status === 'expired') throw keyExpired(id)
  return key
}

/**
 * No Authorization header, or another scheme than Bearer: RFC 6750, section 3.1, treats both alike. A bad key never
 * comes here, since `auth` above throws what is wrong with it.
 */
function isMissingBearer(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('FST_BEARER_AUTH_')
}

/** The principal of a request on a route that is not public. */
export function requirePrincipal({ principal }: FastifyRequest): Principal {
  if (!principal) throw new Error('This route was reached without a principal')
  return principal
}
