import bearerAuth from '@fastify/bearer-auth'
import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { forbiddenAddress, invalidKey, keyExpired, keyRevoked, missingCredentials } from '../errors.ts'
import { isAddressAllowed } from '../keys/allowed-ips.ts'
import type { KeyWithStatus } from '../keys/counters.ts'
import { createKeyQuotas, type Quota } from '../keys/quota.ts'
import { clientAddress } from './client-address.ts'

/** The authenticated caller. Code after this plugin does not depend on how it was authenticated. */
export type Principal = Omit<KeyWithStatus, 'status'>

declare module 'fastify' {
  interface FastifyRequest {
    /** Null until authenticated, and on public routes. */
    principal: Principal | null
    /** The state of the principal's quota after this request. */
    quota: Quota | null
  }
  interface FastifyInstance {
    /**
     * onRequest hook. No cache may store a response to a request with a key.
     * @throws ApiError 401, 403 if the key may not be used from the address, 429 if the address has too many failed
     * authentications, 503
     */
    authenticate: onRequestHookHandler
    /**
     * Returns the principal of a token that was sent elsewhere than in the Authorization header. Consumes no quota.
     * @throws ApiError as authenticate
     */
    authenticateToken: (token: string, request: FastifyRequest) => Promise<Principal>
  }
}

/** Makes the key of a valid token the request's principal, and consumes its quota in the same statement. */
export default fp(
  async (app) => {
    const quotas = createKeyQuotas(app, {
      rateLimitMax: app.config.rateLimitMax,
      onError: (error) => {
        app.log.warn({ err: error }, 'could not store the last use of keys')
      },
    })

    await app.register(bearerAuth, {
      // Its own hook would send our errors without our error handler.
      addHook: false,
      keys: [],
      // RFC 9110, section 11.1: the name of a scheme is case-insensitive.
      specCompliance: 'rfc6749',
      verifyErrorLogLevel: 'debug',
      auth: (token, request) => {
        if (token === '') throw missingCredentials()
        const id = app.verifyToken(token, request)
        return typeof id === 'string'
          ? consumeQuota(id, request)
          : id.then((verified) => consumeQuota(verified, request))
      },
    })
    const { verifyBearerAuth } = app
    if (!verifyBearerAuth) throw new Error('@fastify/bearer-auth was registered without verifyBearerAuth')

    app.decorateRequest('principal', null)
    app.decorateRequest('quota', null)
    // Hooks that run for every request use callbacks, because promises cost more: docs/decisions/0009.
    app.decorate('authenticate', (request, reply, next) => {
      if (request.routeOptions.config.permission === 'public') {
        next()
        return
      }
      reply.header('cache-control', 'no-store')
      verifyBearerAuth.call(app, request, reply, (error) => {
        if (!error) next()
        else {
          const reported = isMissingBearer(error) ? missingCredentials() : error
          app.countAuthFailure(request, reported).then(next, next)
        }
      })
    })

    app.decorate('authenticateToken', async (token, request) => {
      try {
        const id = await app.verifyToken(token, request)
        const key = requireActive(id, await quotas.peek(id))
        if (!isAddressAllowed(key.allowed_ips, clientAddress(request))) throw forbiddenAddress(id)
        return key
      } catch (error) {
        throw await app.countAuthFailure(request, error)
      }
    })

    async function consumeQuota(id: string, request: FastifyRequest): Promise<true> {
      const consumed = await quotas.consume(id, () => clientAddress(request))
      const key = requireActive(id, consumed?.key)
      if (consumed?.quota === null) throw forbiddenAddress(id)
      request.principal = key
      request.quota = consumed?.quota ?? null
      return true
    }
  },
  { name: 'auth', dependencies: ['database', 'credentials'] },
)

/** Only a caller that proved the secret may learn that the key is revoked or expired. */
function requireActive(id: string, key: KeyWithStatus | undefined): KeyWithStatus {
  if (!key) throw invalidKey('unknown', id)
  if (key.status === 'revoked') throw keyRevoked(id)
  if (key.status === 'expired') throw keyExpired(id)
  return key
}

/**
 * True if there is no Authorization header, or if its scheme is not Bearer: RFC 6750, section 3.1, treats both alike.
 * For a bad token, `auth` above throws its own error.
 */
function isMissingBearer(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('FST_BEARER_AUTH_')
}

/** Returns the principal of a request on a route that is not public. */
export function requirePrincipal({ principal }: Pick<FastifyRequest, 'principal'>): Principal {
  if (!principal) throw new Error('This route was reached without a principal')
  return principal
}
