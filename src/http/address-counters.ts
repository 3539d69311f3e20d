import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import QuickLRU from 'quick-lru'

type Callback = Parameters<FastifyRateLimitStore['incr']>[1]

/**
 * Counts in this process, in windows that start on the minute, for as many addresses as fit. The store that comes with
 * @fastify/rate-limit gives all callers the same object, so that requests of one moment all see the count of the last
 * of them, and a burst just over the limit is refused from its first request on.
 */
class MinuteCounters implements FastifyRateLimitStore {
  readonly #counts = new QuickLRU<string, { window: number; count: number }>({ maxSize: 50_000 })

  incr(key: string, callback: Callback, windowMs: number): void {
    this.#answer(key, 1, callback, windowMs)
  }

  read(key: string, callback: Callback, windowMs: number): void {
    this.#answer(key, 0, callback, windowMs)
  }

  child(): MinuteCounters {
    return new MinuteCounters()
  }

  #answer(key: string, step: 0 | 1, callback: Callback, windowMs: number): void {
    const now = Date.now()
    const window = Math.floor(now / windowMs)
    const known = this.#counts.get(key)
    const count = (known?.window === window ? known.count : 0) + step
    if (step > 0) this.#counts.set(key, { window, count })
    callback(null, { current: count, ttl: (window + 1) * windowMs - now })
  }
}

/** `app.createRateLimit()` counts requests by client address, IPv6 by its /64; no route is limited by itself. */
export default fp(
  async (app) => {
    await app.register(rateLimit, { global: false, timeWindow: 60_000, store: MinuteCounters })
  },
  { name: 'address-counters' },
)
