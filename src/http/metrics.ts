import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { batchRuns } from '../database/batch.ts'
import type { Connections } from '../database/open.ts'
import { toPortError } from '../ports.ts'
import { isAborted } from './request-log.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts a request that met no hook. Only there when metrics are wanted. */
    countRequest?: (request: FastifyRequest, reply: FastifyReply) => void
  }
}

type Options = {
  host: string
  port: number
  connections: () => Connections
}

/** All other methods are one, so that nobody can add series by making up names. The same goes for paths. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** The `reason` of each 401 and 429 in src/errors.ts: they are there from the start, so that a first one is a rise. */
const authenticationReasons = ['missing', 'malformed', 'unknown', 'wrong_secret', 'expired', 'revoked']
const limitReasons = ['key', 'address', 'authentication_failures']

/** Figures for Prometheus, at /metrics on a port of their own: they are not for everyone whom the API is for. */
export default fp<Options>(
  async (app, { host, port, connections }) => {
    const registry = new Registry()
    collectDefaultMetrics({ register: registry })
    watchRequests(app, registry)
    watchSecrets(app, registry)
    watchConnections(connections, registry)
    const stopWatching = watchBatches(registry)

    const server = Fastify({ forceCloseConnections: true })
    server.get('/metrics', async (_request, reply) =>
      reply.type(registry.contentType).send(await registry.metrics()),
    )
    // Before the API itself listens, so that a port which is taken ends the process.
    app.addHook('onReady', async () => {
      const address = await server.listen({ host, port }).catch((error: unknown) => {
        throw toPortError('METRICS_PORT', error)
      })
      app.log.info(`Metrics at ${address}/metrics`)
    })
    app.addHook('onClose', async () => {
      stopWatching()
      await server.close()
    })
  },
  { name: 'metrics', dependencies: ['request-log'] },
)

/** One observation a request: the histogram's own count is the number of requests. */
function watchRequests(app: FastifyInstance, registry: Registry): void {
  const registers = [registry]
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Requests, and how long their answers took.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  })
  const authenticationFailures = new Counter({
    name: 'kener_authentication_failures_total',
    help: 'Requests without a valid key, by reason.',
    labelNames: ['reason'] as const,
    registers,
  })
  const limitRejections = new Counter({
    name: 'kener_limit_refusals_total',
    help: 'Requests over a limit: of a key, of an address, or of failed authentications from an address.',
    labelNames: ['reason'] as const,
    registers,
  })
  for (const reason of authenticationReasons) authenticationFailures.inc({ reason }, 0)
  for (const reason of limitReasons) limitRejections.inc({ reason }, 0)

  function countRequest(request: FastifyRequest, reply: FastifyReply): void {
    const { method, apiError } = request
    duration.observe(
      {
        method: methods.has(method) ? method : 'other',
        route: request.routeOptions.url ?? 'unknown',
        status: reply.statusCode,
      },
      reply.elapsedTime / 1000,
    )
    const reason = apiError?.reason
    if (reason === undefined) return
    if (apiError?.status === 401) authenticationFailures.inc({ reason })
    if (apiError?.status === 429) limitRejections.inc({ reason })
  }

  app.decorate('countRequest', countRequest)
  app.addHook('onSend', (request, reply, _payload, next) => {
    if (isAborted(request, reply)) countRequest(request, reply)
    next()
  })
  app.addHook('onResponse', (request, reply, next) => {
    countRequest(request, reply)
    next()
  })
}

function watchSecrets(app: FastifyInstance, registry: Registry): void {
  new Counter({
    name: 'kener_argon2_runs_total',
    help: 'Secrets hashed or verified: one for each key that this process meets for the first time.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(app.secrets.stats.argon2Runs)
    },
  })
  new Gauge({
    name: 'kener_argon2_queue_length',
    help: 'Secrets that wait for their turn to be hashed or verified; from 1,000 on requests get 503.',
    registers: [registry],
    collect() {
      this.set(app.secrets.stats.argon2Waiting)
    },
  })
}

function watchConnections(connections: () => Connections, registry: Registry): void {
  new Gauge({
    name: 'kener_database_connections',
    help: 'Connections to the database.',
    labelNames: ['state'] as const,
    registers: [registry],
    collect() {
      const { total, idle } = connections()
      this.set({ state: 'idle' }, idle)
      this.set({ state: 'busy' }, total - idle)
    },
  })
  new Gauge({
    name: 'kener_database_queue_length',
    help: 'Statements that wait for a connection.',
    registers: [registry],
    collect() {
      this.set(connections().waiting)
    },
  })
}

function watchBatches(registry: Registry): () => void {
  const size = new Histogram({
    name: 'kener_batch_size',
    help: 'Asks that shared a statement.',
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000],
    registers: [registry],
  })
  const observe = (items: unknown) => {
    size.observe(items as number)
  }
  subscribe(batchRuns.name, observe)
  return () => unsubscribe(batchRuns.name, observe)
}
