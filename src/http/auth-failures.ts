import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import QuickLRU from 'quick-lru'
import { ApiError, invalidKey, tooManyAuthenticationFailures } from '../errors.ts'
import { createVerificationQueue, maxWaitMs, type Verification } from './verification-queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Runs a verification, unless its token has failed within the last minute. If the request's address has exceeded its
     * limit of failed authentications, runs it in turn with others of the address.
     * @throws the errors of the verification; above the limit ApiError 429 instead of 401, after the same time whether the
     * key exists or not
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
    const rejected = new QuickLRU<string, true>({ maxSize: 10_000, maxAge: maxRejectedMs })
    // Delays 429 responses, so that a flood of bad keys does not starve valid keys.
    const tarpit = createTarpit(50, 1_000)
    const wait = createTarpit(maxWaitMs, 10_000)

    app.decorate('limitAuthFailures', async (request, verification) => {
      assertNotRejected(verification)
      const count = await failures(request, { increment: false })
      const { key: address } = count
      const ofAddress = inFlight.get(address) ?? 0
      if (count.isAllowed || ofAddress < count.remaining) {
        inFlight.set(address, ofAddress + 1)
        try {
          const hash = await verification.lookUp()
          // The same token of another request may have failed meanwhile.
          assertNotRejected(verification)
          await verification.verify(hash)
        } catch (error) {
          if (isFailure(error)) rejected.set(verification.digest, true)
          throw error
        } finally {
          const remaining = (inFlight.get(address) ?? 1) - 1
          if (remaining > 0) inFlight.set(address, remaining)
          else inFlight.delete(address)
        }
      } else {
        // Starts before anything is known about the token, and the token is not remembered, so that neither this response nor
        // the next one depends on whether its key exists.
        const end = wait()
        const isVerified = await verifyInTurn(address, verification).catch((error: unknown) => {
          if (isFailure(error)) return false
          throw error
        })
        if (isVerified) return
        await end
        throw tooManyAuthenticationFailures(count.ttlInSeconds)
      }
    })

    app.decorate('countAuthFailure', async (request, error) => {
      if (!(error instanceof ApiError)) return error
      let result: ApiError = error
      if (isFailure(error)) {
        const count = await failures(request)
        if (!count.isAllowed && count.isExceeded) result = tooManyAuthenticationFailures(count.ttlInSeconds)
      }
      if (result.status === 429) await tarpit()
      return result
    })
    done()

    function assertNotRejected({ keyId, digest }: Verification): void {
      if (rejected.get(digest)) throw invalidKey('wrong_secret', keyId)
    }
  },
  { name: 'auth-failures', dependencies: ['address-counters'] },
)

/**
 * How long a wrong secret is remembered. Not forever, because that of a key that does not exist is remembered, too, and
 * the key could be restored from a backup.
 */
const maxRejectedMs = 60_000

/** Not those of KEY_EXPIRED and KEY_REVOKED: such a caller has proved the secret. */
const failureReasons = new Set<string | undefined>([
  'missing',
  'malformed',
  'unknown',
  'wrong_secret',
  'address_not_allowed',
  'heartbeat_url',
])

function isFailure(error: unknown): boolean {
  return error instanceof ApiError && failureReasons.has(error.reason)
}

/** Tarpit: delays responses, at most `maxPending` at the same time, because each of them holds memory. */
function createTarpit(delayMs: number, maxPending: number): () => Promise<void> {
  let pending = 0
  return async () => {
    if (pending >= maxPending) return
    pending++
    await delay(delayMs)
    pending--
  }
}
