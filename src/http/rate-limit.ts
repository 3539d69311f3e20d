import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { type ApiError, rateLimitExceeded, tooManyPublicRequests } from '../errors.ts'
import type { Quota } from '../keys/quota.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True for a public route whose requests are not counted. */
    isUnlimited?: boolean
  }
  interface FastifyInstance {
    /** onRequest hook, after authenticate. @throws ApiError 429 */
    limitRate: onRequestHookHandler
  }
}

/**
 * Enforces rate limits. A key's quota was consumed in PostgreSQL by authentication, exact across all replicas. Requests
 * without a key are counted per client address in this process.
 */
export default fp(
  (app, _options, done) => {
    const publicRequests = app.createRateLimit({ max: app.config.publicRateLimitMax })

    app.decorate('limitRate', (request, reply, next) => {
      const { quota } = request
      if (quota) {
        writeHeaders(reply, quota)
        next(quota.isAllowed ? undefined : rateLimitExceeded(quota.limit, quota.secondsLeft))
      } else if (request.routeOptions.config.isUnlimited) {
        next()
      } else {
        countPublicRequest(request).then(next, next)
      }
    })
    done()

    async function countPublicRequest(request: FastifyRequest): Promise<ApiError | undefined> {
      const count = await publicRequests(request)
      return !count.isAllowed && count.isExceeded ? tooManyPublicRequests(count.ttlInSeconds) : undefined
    }
  },
  { name: 'rate-limit', dependencies: ['address-counters', 'auth'] },
)

/** Writes the X-RateLimit headers, and those of draft-ietf-httpapi-ratelimit-headers-10. */
function writeHeaders(reply: FastifyReply, { limit, remaining, reset, secondsLeft }: Quota): void {
  reply
    .header('x-ratelimit-limit', limit)
    .header('x-ratelimit-remaining', remaining)
    .header('x-ratelimit-reset', reset)
    .header('ratelimit-policy', `"minute";q=${limit};w=60`)
    .header('ratelimit', `"minute";r=${remaining};t=${secondsLeft}`)
}
