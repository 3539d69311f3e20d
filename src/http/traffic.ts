import type { onResponseHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { addTraffic, readTraffic } from '../database/traffic.ts'

const flushMs = 10_000

declare module 'fastify' {
  interface FastifyInstance {
    /** onResponse hook. */
    countTraffic: onResponseHookHandler
    /** Requests in each of the last 60 minutes, of all replicas (the others' to within 10 s). */
    readTraffic: () => Promise<number[]>
  }
}

/** Counted in memory and written every few seconds, so that a request pays nothing for the chart it appears in. */
export default fp(
  (app, _options, done) => {
    let pending = 0

    async function flush(): Promise<void> {
      if (pending === 0) return
      const requests = pending
      pending = 0
      try {
        await addTraffic(app.db, requests)
      } catch (error) {
        pending += requests
        app.log.warn({ err: error }, 'could not write down the traffic; it is kept for the next try')
      }
    }

    app.decorate('countTraffic', (_request, _reply, next) => {
      pending++
      next()
    })
    app.decorate('readTraffic', async () => {
      await flush()
      return readTraffic(app.db)
    })
    const timer = setInterval(() => void flush(), flushMs).unref()
    app.addHook('onClose', async () => {
      clearInterval(timer)
      await flush()
    })
    done()
  },
  { name: 'traffic', dependencies: ['database'] },
)
