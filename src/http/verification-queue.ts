import { setTimeout as delay } from 'node:timers/promises'
import pLimit from 'p-limit'
import QuickLRU from 'quick-lru'
import { invalidKey } from '../errors.ts'

/** In two steps, because look-ups share statements, and a run of Argon2 takes about 1 ms. */
export type Verification = {
  keyId: string
  /** Identifies the token. */
  digest: string
  /** Returns the hash of the key, or undefined if the key does not exist. @throws ApiError 503 */
  lookUp: () => Promise<string | undefined>
  /** @throws ApiError 401 if the key does not exist or the secret does not match the hash, 503 */
  verify: (hash: string | undefined) => Promise<void>
}

type Waiting = Verification & {
  deadline: number
  result: Promise<boolean>
  settle: (result: boolean | Promise<boolean>) => void
}

type Found = { token: Waiting; hash: string }

/** Longest wait of a token. */
export const maxWaitMs = 2_000

/** Pause of a key after a wrong secret, shorter than maxWaitMs, so that the right secret does not time out. */
export const keyPauseMs = 1_400

const defaults = {
  /** Pause of an address after failures. */
  pauseMs: 500,
  /** Wrong secrets of an address between two pauses. */
  maxWrong: 2,
  keyPauseMs,
  maxWaitMs,
  maxWaitingPerAddress: 5_000,
  maxWaiting: 10_000,
}

/**
 * Verifies tokens from addresses that have exceeded their limit of failed authentications, so that a valid token among
 * them is delayed and not rejected: docs/decisions/0014-failed-authentications.md.
 *
 * All waiting tokens of an address are looked up in one statement, which rejects those of unknown keys. Then one token of
 * each key is verified, one after the other, until two have failed. After failures, the address pauses.
 */
export function createVerificationQueue(options: Partial<typeof defaults> = {}) {
  const { pauseMs, maxWrong, keyPauseMs, maxWaitMs, maxWaitingPerAddress, maxWaiting } = {
    ...defaults,
    ...options,
  }
  /** By address, then by digest, so that requests with the same token share its verification. */
  const queues = new Map<string, Map<string, Waiting>>()
  let totalWaiting = 0
  /** Times of wrong secrets, by address and key. */
  const failures = new QuickLRU<string, number>({ maxSize: 10_000 })
  /** Digests of tokens that were rejected without being verified. */
  const skipped = new QuickLRU<string, true>({ maxSize: 10_000 })
  /** Leaves the second of two concurrent runs of Argon2 to addresses within their limit. */
  const oneAtATime = pLimit(1)

  /**
   * Returns false if the token was not verified, because too many others were waiting.
   * @throws the errors of the verification
   */
  function verifyInTurn(address: string, verification: Verification): Promise<boolean> {
    const queue = queues.get(address) ?? new Map<string, Waiting>()
    const same = queue.get(verification.digest)
    if (same) return same.result
    if (queue.size >= maxWaitingPerAddress || totalWaiting >= maxWaiting) return Promise.resolve(false)
    let settle: Waiting['settle'] = () => undefined
    const result = new Promise<boolean>((resolve) => {
      settle = resolve
    })
    queue.set(verification.digest, {
      ...verification,
      deadline: performance.now() + maxWaitMs,
      result,
      settle: (outcome) => {
        queue.delete(verification.digest)
        totalWaiting--
        settle(outcome)
      },
    })
    totalWaiting++
    if (!queues.has(address)) {
      queues.set(address, queue)
      void drain(address, queue)
    }
    return result
  }

  async function drain(address: string, queue: Map<string, Waiting>): Promise<void> {
    const isWaiting = (token: Waiting) => queue.get(token.digest) === token
    while (queue.size > 0) {
      const tokens = [...queue.values()]
      const found = await lookUp(tokens)
      const wrong = await verifyOneAfterAnother(address, selectOnePerKey(found))
      const remaining = tokens.filter(isWaiting)
      const nextAt = performance.now() + pauseMs
      remaining.filter(({ deadline }) => deadline < nextAt).forEach(skip)
      if (found.length < tokens.length || wrong > 0 || remaining.length > 0) await delay(pauseMs)
    }
    queues.delete(address)
  }

  /** Returns the tokens whose keys exist. */
  async function lookUp(tokens: Waiting[]): Promise<Found[]> {
    const hashes = await Promise.allSettled(tokens.map((token) => token.lookUp()))
    return tokens.flatMap((token, index) => {
      const hash = hashes[index]
      if (hash?.status === 'rejected') token.settle(Promise.reject(hash.reason as Error))
      else if (hash?.value === undefined) token.settle(Promise.reject(invalidKey('unknown', token.keyId)))
      else return [{ token, hash: hash.value }]
      return []
    })
  }

  /**
   * Selects one token per key, because at most one is valid. A token that was skipped before is preferred, because clients
   * repeat a valid token and have no reason to repeat a guess.
   */
  function selectOnePerKey(found: Found[]): Found[] {
    const selected = new Map<string, Found>()
    for (const one of found) {
      const rival = selected.get(one.token.keyId)
      if (!rival) selected.set(one.token.keyId, one)
      else if (skipped.get(one.token.digest) !== true) skip(one.token)
      else {
        selected.set(one.token.keyId, one)
        skip(rival.token)
      }
    }
    return [...selected.values()]
  }

  function skip(token: Waiting): void {
    skipped.set(token.digest, true)
    token.settle(false)
  }

  /** Verifies first the keys that have not failed, or not for the longest time. Returns the number of wrong secrets. */
  async function verifyOneAfterAnother(address: string, found: Found[]): Promise<number> {
    const failedAt = ({ token }: Found) => failures.get(`${address} ${token.keyId}`) ?? -Infinity
    const pausedSince = performance.now() - keyPauseMs
    const due = found
      .filter((one) => failedAt(one) <= pausedSince)
      .sort((one, other) => failedAt(one) - failedAt(other))
    let wrong = 0
    for (const { token, hash } of due) {
      if (wrong === maxWrong) break
      const outcome = oneAtATime(() => token.verify(hash)).then(() => true)
      const [{ status }] = await Promise.allSettled([outcome])
      token.settle(outcome)
      if (status === 'rejected') {
        wrong++
        failures.set(`${address} ${token.keyId}`, performance.now())
      }
    }
    return wrong
  }

  return verifyInTurn
}
