import { hash as cryptoHash } from 'node:crypto'
import argon2 from '@node-rs/argon2'
import pLimit from 'p-limit'
import QuickLRU from 'quick-lru'
import { hashQueueFull } from '../errors.ts'
import type { TokenParts } from './token.ts'

/**
 * Low cost parameters, about 1 ms: a secret has 256 random bits, so slower hashing would not make it safer, and a
 * restart with thousands of active keys stays cheap.
 */
const parameters = { memoryCost: 4096, timeCost: 1, parallelism: 1 }
const currentPrefix = '$argon2id$v=19$m=4096,t=1,p=1$'

/** Matches no secret. Verified for keys that do not exist, so that the time of an error does not reveal which ids exist. */
const decoyHash = `${currentPrefix}AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA`

/** Half of libuv's four threads, because file and DNS operations share them. */
const maxConcurrency = 2
const defaultMaxQueueLength = 1_000

/** Waiting verifications that name the same key, so that guesses for one key do not keep others out of the queue. */
const maxQueueLengthPerKey = 50

/**
 * Keys in use beyond this number would be hashed at every request. An entry takes 140 bytes, and up to twice as many are
 * kept: 70 MB, with that many keys.
 */
const maxVerified = 250_000

export type Secrets = ReturnType<typeof createSecrets>

/**
 * Hashes secrets, and verifies a right one once per process: whether a secret matches the hash of its key never changes,
 * so the result is cached by digest. Whether the key is revoked, expired or permitted is not cached anywhere.
 */
export function createSecrets({ maxQueueLength = defaultMaxQueueLength } = {}) {
  const limit = pLimit(maxConcurrency)
  const verified = new QuickLRU<string, true>({ maxSize: maxVerified })
  const inFlight = new Map<string, Promise<boolean>>()
  /** Number of verifications in flight, by the id of the key. */
  const inFlightPerKey = new Map<string, number>()
  const stats = {
    argon2Runs: 0,
    get argon2Waiting() {
      return limit.pendingCount
    },
  }

  /** True if this process has verified the secret. */
  function isVerified(parts: TokenParts): boolean {
    // Not has(), which does not mark the entry as recently used.
    return verified.get(digest(parts)) === true
  }

  /**
   * @param hash undefined for a key that does not exist. All of these count as one key.
   * @throws ApiError 503 if the queue is full
   */
  function verify(parts: TokenParts, hash: string | undefined): Promise<boolean> {
    if (isVerified(parts)) return Promise.resolve(true)
    const id = digest(parts)
    const pending = inFlight.get(id)
    if (pending) return pending
    const key = hash === undefined ? '' : parts.id
    const ofKey = inFlightPerKey.get(key) ?? 0
    if (ofKey >= maxQueueLengthPerKey) return Promise.reject(hashQueueFull())
    inFlightPerKey.set(key, ofKey + 1)
    const result = enqueue(() => argon2.verify(hash ?? decoyHash, parts.secret))
      .then((matches) => {
        if (matches) verified.set(id, true)
        return matches
      })
      .finally(() => {
        inFlight.delete(id)
        const remaining = (inFlightPerKey.get(key) ?? 1) - 1
        if (remaining > 0) inFlightPerKey.set(key, remaining)
        else inFlightPerKey.delete(key)
      })
    inFlight.set(id, result)
    return result
  }

  /** Returns a PHC string, which contains its parameters. @throws ApiError 503 if the queue is full */
  function hash(secret: string): Promise<string> {
    return enqueue(() => argon2.hash(secret, parameters))
  }

  /** Caches the secret of a key that this process has created. */
  function markVerified(parts: TokenParts): void {
    verified.set(digest(parts), true)
  }

  async function enqueue<Result>(run: () => Promise<Result>): Promise<Result> {
    if (limit.pendingCount >= maxQueueLength) throw hashQueueFull()
    return limit(() => {
      stats.argon2Runs++
      return run()
    })
  }

  return { isVerified, verify, hash, markVerified, stats }
}

/** True if the hash has other parameters than the current ones. */
export function needsRehash(hash: string): boolean {
  return !hash.startsWith(currentPrefix)
}

/** Identifies a token in caches, which store no secrets. */
export function digest({ id, secret }: TokenParts): string {
  return cryptoHash('sha256', id + secret, 'base64')
}
