/** As memory.js, with the other duties of kener-api: a line of the log per request, a request id, and all headers. */
import { randomUUID } from 'node:crypto'
import { writeSync } from 'node:fs'
import { guardInMemory, key, maxPerMinute } from './in-memory.js'
import { serveMe } from './me.js'

/** Writes the lines of one turn of the event loop together, as kener-api does. */
let lines = ''
const stream = {
  write: (line) => {
    if (lines === '') {
      setImmediate(() => {
        writeSync(1, lines)
        lines = ''
      })
    }
    lines += line
  },
}

await serveMe(
  async (app) => {
    app.addHook('onRequest', (request, reply, next) => {
      reply.header('x-request-id', request.id)
      next()
    })
    await guardInMemory(app)
    app.addHook('onSend', (_request, reply, _payload, next) => {
      const remaining = reply.getHeader('x-ratelimit-remaining')
      const secondsLeft = reply.getHeader('x-ratelimit-reset')
      reply.header('ratelimit-policy', `"minute";q=${maxPerMinute};w=60`)
      reply.header('ratelimit', `"minute";r=${remaining};t=${secondsLeft}`)
      next()
    })
    app.addHook('onResponse', (request, reply, next) => {
      const line = {
        method: request.method,
        route: request.routeOptions.url,
        keyId: request.principal?.id,
        status: reply.statusCode,
        durationMs: Math.round(reply.elapsedTime * 1000) / 1000,
      }
      request.log.info(line, 'request completed')
      next()
    })
  },
  key,
  { logger: { stream }, disableRequestLogging: true, genReqId: () => randomUUID() },
)
