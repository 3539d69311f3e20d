import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { ApiError, tooManyAuthenticationFailures } from '../errors.ts'
import { createVerificationQueue, type Verification } from './verification-queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Runs a verification, in turn with others of the request's address if it has exceeded its limit of failed
     * authentications.
     * @throws ApiError 429 if too many others are waiting, and the errors of the verification
     */
    limitAuthFailures: (request: FastifyRequest, verification: Verification) => Promise<void>
    /**
     * Counts a failed authentication of the request's address, if the error is one.
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
    const verifyInTurn = createVerificationQueue()
    /** Number of verifications in flight, by address. Each may become a failure. */
    const inFlight = new Map<string, number>()
    const tarpit = createTarpit(50, 1_000)

    app.decorate('limitAuthFailures', async (request, verification) => {
      const count = await failures(request, { increment: false })
      const { key: address } = count
      const ofAddress = inFlight.get(address) ?? 0
      if (count.isAllowed || ofAddress < count.remaining) {
        inFlight.set(address, ofAddress + 1)
        try {
          await verification.verify(await verification.lookUp())
        } finally {
          const remaining = (inFlight.get(address) ?? 1) - 1
          if (remaining > 0) inFlight.set(address, remaining)
          else inFlight.delete(address)
        }
      } else if (!(await verifyInTurn(address, verification))) {
        throw tooManyAuthenticationFailures(count.ttlInSeconds)
      }
    })

    app.decorate('countAuthFailure', async (request, error) => {
      if (!(error instanceof ApiError)) return error
      let result: ApiError = error
      if (failureReasons.has(error.reason)) {
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

/** Not those of KEY_EXPIRED and KEY_REVOKED: such a caller has proved the secret. */
const failureReasons = new Set<string | undefined>([
  'missing',
  'malformed',
  'unknown',
  'wrong_secret',
  'address_not_allowed',
  'heartbeat_url',
])

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
