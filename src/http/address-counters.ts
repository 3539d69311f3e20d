import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import QuickLRU from 'quick-lru'
import { clientAddress, clientNetwork } from './client-address.ts'

type Callback = Parameters<FastifyRateLimitStore['incr']>[1]

/**
 * Counts per address in memory, in windows that start on the full minute. The least recently used addresses are
 * evicted.
 *
 * The default store of @fastify/rate-limit returns the same object to all callers, so that concurrent requests all see
 * the highest count, and a burst just over the limit is rejected completely.
 */
class MinuteCounters implements FastifyRateLimitStore {
  readonly #counts = new QuickLRU<string, { window: number; count: number }>({ maxSize: 50_000 })

  incr(key: string, callback: Callback, windowMs: number): void {
    this.#count(key, 1, callback, windowMs)
  }

  read(key: string, callback: Callback, windowMs: number): void {
    this.#count(key, 0, callback, windowMs)
  }

  child(): MinuteCounters {
    return new MinuteCounters()
  }

  #count(key: string, step: 0 | 1, callback: Callback, windowMs: number): void {
    const now = Date.now()
    const window = Math.floor(now / windowMs)
    const known = this.#counts.get(key)
    const count = (known?.window === window ? known.count : 0) + step
    if (step > 0) this.#counts.set(key, { window, count })
    callback(null, { current: count, ttl: (window + 1) * windowMs - now })
  }
}

/**
 * Provides `app.createRateLimit()`, which counts requests per client address (IPv6: per /64). Limits no route itself.
 */
export default fp(
  async (app) => {
    await app.register(rateLimit, {
      global: false,
      timeWindow: 60_000,
      store: MinuteCounters,
      keyGenerator: (request) => clientNetwork(clientAddress(request)),
    })
  },
  { name: 'address-counters' },
)
