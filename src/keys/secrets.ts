import { hash as cryptoHash } from 'node:crypto'
import argon2 from '@node-rs/argon2'
import pLimit from 'p-limit'
import QuickLRU from 'quick-lru'
import { serviceUnavailable } from '../errors.ts'
import type { TokenParts } from './token.ts'

/**
 * A secret is 256 random bits, which no dictionary holds: the cost parameters need not slow a guesser down, and
 * low ones keep a restart with thousands of active keys from becoming a storm. About 1 ms.
 */
const parameters = { memoryCost: 4096, timeCost: 1, parallelism: 1 }
const currentPrefix = '$argon2id$v=19$m=4096,t=1,p=1$'

/** Argon2 shares libuv's four threads with files and DNS, so it takes half of them, and a bounded queue. */
const maxConcurrency = 2
const maxQueueLength = 1_000

export type Secrets = ReturnType<typeof createSecrets>

/**
 * Hashes secrets, and verifies each at most once per process: that a secret matches the hash stored under its id
 * (or does not) never changes, so the answer is remembered, under a digest. Whether the key is revoked, expired or
 * allowed something is not remembered here, nor anywhere.
 */
export function createSecrets() {
  const limit = pLimit(maxConcurrency)
  const verified = new QuickLRU<string, true>({ maxSize: 50_000 })
  // Apart from the good ones: a flood of wrong secrets must not push those out.
  const rejected = new QuickLRU<string, true>({ maxSize: 10_000 })
  const inFlight = new Map<string, Promise<boolean>>()
  const stats = {
    argon2Runs: 0,
    get argon2Waiting() {
      return limit.pendingCount
    },
  }

  /** True when this process has verified the key's secret before. */
  function isVerified(parts: TokenParts): boolean {
    return isIn(verified, digest(parts))
  }

  /** @throws ApiError 503 when too many wait for their turn. */
  function verify(parts: TokenParts, hash: string): Promise<boolean> {
    const id = digest(parts)
    if (isIn(verified, id)) return Promise.resolve(true)
    if (isIn(rejected, id)) return Promise.resolve(false)
    const pending = inFlight.get(id)
    if (pending) return pending
    const result = enqueue(() => argon2.verify(hash, parts.secret))
      .then((matches) => {
        ;(matches ? verified : rejected).set(id, true)
        return matches
      })
      .finally(() => inFlight.delete(id))
    inFlight.set(id, result)
    return result
  }

  /** A PHC string, which holds its own parameters. @throws ApiError 503 when too many wait for their turn. */
  function hash(secret: string): Promise<string> {
    return enqueue(() => argon2.hash(secret, parameters))
  }

  /** Of a key that was made here, and is stored with the hash of its secret. */
  function markVerified(parts: TokenParts): void {
    verified.set(digest(parts), true)
  }

  async function enqueue<Result>(run: () => Promise<Result>): Promise<Result> {
    if (limit.pendingCount >= maxQueueLength) throw serviceUnavailable('Too many keys wait to be verified')
    return limit(() => {
      stats.argon2Runs++
      return run()
    })
  }

  return { isVerified, verify, hash, markVerified, stats }
}

/** True when the hash was made with other parameters than today's, and should be made again. */
export function needsRehash(hash: string): boolean {
  return !hash.startsWith(currentPrefix)
}

/** Marks the entry as recently used, which has() does not. */
function isIn(cache: QuickLRU<string, true>, id: string): boolean {
  return cache.get(id) === true
}

function digest({ id, secret }: TokenParts): string {
  return cryptoHash('sha256', id + secret, 'base64')
}
