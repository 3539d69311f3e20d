import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import pLimit, { type LimitFunction } from 'p-limit'
import QuickLRU from 'quick-lru'
import { ApiError, tooManyAuthenticationFailures } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Runs a verification unless the request's address has exceeded its limit of failed authentications.
     * @throws ApiError 429, and the errors of the verification
     */
    limitAuthFailures: (request: FastifyRequest, verify: () => Promise<void>) => Promise<void>
    /**
     * Counts a 401, or a 403 for a key that may not be used from the request's address, for this address.
     * @returns the error to send: the given one, or 429 if the address has exceeded its limit
     */
    countAuthFailure: <Cause>(request: FastifyRequest, error: Cause) => Promise<Cause | ApiError>
  }
}

/** Limits failed authentications per client address and minute, in this process. */
export default fp(
  (app, _options, done) => {
    const max = app.config.authFailureLimitMax
    const failures = app.createRateLimit({ max })
    const verificationLimits = new QuickLRU<string, LimitFunction>({ maxSize: 10_000 })
    const tarpit = createTarpit(50, 1_000)

    app.decorate('limitAuthFailures', async (request, verify) => {
      const { key: address } = await failures(request, { increment: false })
      // Without a limit on concurrency, a burst of guesses would be verified before the first failure is counted.
      const limit = verificationLimits.get(address) ?? pLimit(max)
      verificationLimits.set(address, limit)
      await limit(async () => {
        const count = await failures(request, { increment: false })
        if (!count.isAllowed && count.remaining === 0) throw tooManyAuthenticationFailures(count.ttlInSeconds)
        await verify()
      })
    })

    app.decorate('countAuthFailure', async (request, error) => {
      if (!(error instanceof ApiError)) return error
      let result: ApiError = error
      if (error.status === 401 || error.reason === 'address_not_allowed') {
        const count = await failures(request)
        if (!count.isAllowed && count.isExceeded) result = tooManyAuthenticationFailures(count.ttlInSeconds)
      }
      if (result.status === 429) await tarpit()
      return result
    })
    done()
  },
  { name: 'auth-failures', dependencies: ['address-counters'] },
)

/**
 * Tarpit: delays 429 responses so that a flood of bad keys does not starve valid keys. At most `maxPending` responses
 * are delayed at the same time, because each of them holds memory.
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
