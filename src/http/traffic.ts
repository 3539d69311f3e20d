import type { onResponseHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { addTraffic, readTraffic } from '../database/traffic.ts'

const flushMs = 10_000

declare module 'fastify' {
  interface FastifyInstance {
    /** onResponse hook. */
    countTraffic: onResponseHookHandler
    /** Returns the number of requests in each of the last 60 minutes. Those of other replicas are up to 10 s behind. */
    readTraffic: () => Promise<number[]>
  }
}

/** Counts requests in memory and writes the counts every 10 s, so that no request waits for it. */
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
        app.log.warn({ err: error }, 'could not write the request counts; trying again in 10 s')
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
