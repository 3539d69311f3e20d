import type { FastifyReply, onRequestAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import type { Quota } from '../database/admissions.ts'
import { rateLimitExceeded, tooManyPublicRequests } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** onRequest hook, after authenticate. @throws ApiError 429 */
    limitRate: onRequestAsyncHookHandler
  }
}

/**
 * A principal has its quota, counted in PostgreSQL along with the look-up of its key: exact over all replicas. Public
 * routes are counted per client address, in memory.
 */
export default fp(
  (app, _options, done) => {
    const publicRequests = app.createRateLimit({ max: app.config.publicRateLimitMax })

    app.decorate('limitRate', async (request, reply) => {
      if (request.quota) {
        writeHeaders(reply, request.quota)
        if (!request.quota.granted) throw rateLimitExceeded(request.quota.limit, request.quota.secondsLeft)
      } else {
        const count = await publicRequests(request)
        if (!count.isAllowed && count.isExceeded) throw tooManyPublicRequests(count.ttlInSeconds)
      }
    })
    done()
  },
  { name: 'rate-limit', dependencies: ['address-counters', 'auth'] },
)

/** The headers of the Authentication page, and those of draft-ietf-httpapi-ratelimit-headers-10. */
function writeHeaders(reply: FastifyReply, { limit, remaining, reset, secondsLeft }: Quota): void {
  reply
    .header('x-ratelimit-limit', limit)
    .header('x-ratelimit-remaining', remaining)
    .header('x-ratelimit-reset', reset)
    .header('ratelimit-policy', `"minute";q=${limit};w=60`)
    .header('ratelimit', `"minute";r=${remaining};t=${secondsLeft}`)
}
