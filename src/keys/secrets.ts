import { hash as cryptoHash } from 'node:crypto'
import argon2 from '@node-rs/argon2'
import pLimit from 'p-limit'
import QuickLRU from 'quick-lru'
import { serviceUnavailable } from '../errors.ts'
import type { Key } from './format.ts'

/**
 * A secret is 256 random bits, which no dictionary holds: the cost parameters need not slow a guesser down, and
 * low ones keep a restart with thousands of active keys from becoming a storm. About 1 ms.
 */
const parameters = { memoryCost: 4096, timeCost: 1, parallelism: 1 }
const prefix = '$argon2id$v=19$m=4096,t=1,p=1$'

/** Argon2 shares libuv's four threads with files and DNS, so it takes half of them, and a bounded queue. */
const concurrencyMax = 2
const queueMax = 1_000

export type Secrets = ReturnType<typeof createSecrets>

/**
 * Hashes secrets, and verifies each at most once per process: that a secret matches the hash stored under its id
 * (or does not) never changes, so the answer is remembered, under a digest. Whether the key is revoked, expired or
 * allowed something is not remembered here, nor anywhere.
 */
export function createSecrets() {
  const gate = pLimit(concurrencyMax)
  const verified = new QuickLRU<string, true>({ maxSize: 50_000 })
  // Apart from the good ones: a flood of wrong secrets must not push those out.
  const refused = new QuickLRU<string, true>({ maxSize: 10_000 })
  const underWay = new Map<string, Promise<boolean>>()
  const stats = {
    argon2Runs: 0,
    get argon2Waiting() {
      return gate.pendingCount
    },
  }

  /** True when this process has verified the key's secret before. */
  function isVerified(key: Key): boolean {
    return isIn(verified, digest(key))
  }

  /** @throws ApiError 503 when too many wait for their turn. */
  function verify(key: Key, hash: string): Promise<boolean> {
    const id = digest(key)
    if (isIn(verified, id)) return Promise.resolve(true)
    if (isIn(refused, id)) return Promise.resolve(false)
    const same = underWay.get(id)
    if (same) return same
    const outcome = inTurn(() => argon2.verify(hash, key.secret))
      .then((matches) => {
        ;(matches ? verified : refused).set(id, true)
        return matches
      })
      .finally(() => underWay.delete(id))
    underWay.set(id, outcome)
    return outcome
  }

  /** A PHC string, which holds its own parameters. @throws ApiError 503 when too many wait for their turn. */
  function hash(secret: string): Promise<string> {
    return inTurn(() => argon2.hash(secret, parameters))
  }

  /** Of a key that was made here, and is stored with the hash of its secret. */
  function remember(key: Key): void {
    verified.set(digest(key), true)
  }

  async function inTurn<Result>(run: () => Promise<Result>): Promise<Result> {
    if (gate.pendingCount >= queueMax) throw serviceUnavailable('Too many keys wait to be verified')
    return gate(() => {
      stats.argon2Runs++
      return run()
    })
  }

  return { isVerified, verify, hash, remember, stats }
}

/** True when the hash was made with other parameters than today's, and should be made again. */
export function isOutdated(hash: string): boolean {
  return !hash.startsWith(prefix)
}

/** Marks the entry as recently used, which has() does not. */
function isIn(cache: QuickLRU<string, true>, id: string): boolean {
  return cache.get(id) === true
}

function digest({ id, secret }: Key): string {
  return cryptoHash('sha256', id + secret, 'base64')
}
