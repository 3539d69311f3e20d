import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest, onSendHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { batch } from '../database/batch.ts'
import { matchesEtag } from '../wire/etag.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True for a GET route that writes. By default, only the safe methods of RFC 9110, section 9.2.1, write nothing. */
    isWrite?: boolean
  }
  interface FastifyInstance {
    /**
     * Returns a handler of requests for public output, with an ETag. Concurrent requests share one computation, and its
     * text is reused as long as this process has answered no write, for less than 1 s, because other replicas write too.
     */
    sharePublicOutput: (
      compute: () => Promise<Buffer>,
    ) => (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>
  }
}

/** Longest reuse of a text. The rest of a second is for sending it. */
const maxAgeMs = 800

/** Age from which a request that reuses a text also starts the next computation, so that no later one waits for it. */
const refreshAgeMs = 500

/** Methods that write nothing: RFC 9110, section 9.2.1. */
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

type Output = { body: Buffer; etag: string; readAt: number; writes: number }

/** Serves what every client may read and what is the same for all of them. Nothing that needs a key is kept. */
export default fp(
  (app, _options, done) => {
    /** Number of writes that were answered. */
    let writes = 0
    const countWrite: onSendHookHandler = (_request, { statusCode }, _payload, next) => {
      // A write that failed with 5xx may have been committed.
      if (statusCode < 400 || statusCode >= 500) writes++
      next()
    }
    app.addHook('onRoute', (route) => {
      const isSafe = [route.method].flat().every((method) => safeMethods.has(method))
      if (isSafe && !route.config?.isWrite) return
      route.onSend = [...[route.onSend ?? []].flat(), countWrite]
    })

    app.decorate('sharePublicOutput', (compute) => {
      let latest: Output | undefined
      let isComputing = false

      const computeNext = batch(async (requests: null[]) => {
        const start = { readAt: performance.now(), writes }
        isComputing = true
        const body = await compute().finally(() => (isComputing = false))
        // Keeps an equal buffer, because clients that read slowly would otherwise each keep one in memory.
        latest = latest?.body.equals(body)
          ? { ...latest, ...start }
          : { body, etag: `"${hash('sha256', body, 'base64url').slice(0, 22)}"`, ...start }
        const output = latest
        return requests.map(() => output)
      })

      function findCurrent(): Output | undefined {
        if (latest?.writes !== writes) return undefined
        const ageMs = performance.now() - latest.readAt
        if (ageMs >= maxAgeMs) return undefined
        // If it fails, it fails again for the first request that needs it.
        if (ageMs >= refreshAgeMs && !isComputing) computeNext(null).catch(() => undefined)
        return latest
      }

      return async (request, reply) => {
        const { body, etag } = findCurrent() ?? (await computeNext(null))
        reply.header('etag', etag).header('cache-control', 'public, max-age=30')
        if (matchesEtag(request.headers['if-none-match'], etag)) return reply.code(304).send()
        return reply.send(body)
      }
    })
    done()
  },
  { name: 'public-output' },
)
