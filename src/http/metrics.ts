import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { batchRuns } from '../database/batch.ts'
import type { Connections } from '../database/pool.ts'
import { type JobSuccess, jobSuccesses } from '../jobs.ts'
import { countKeys } from '../keys/counts.ts'
import { logStats } from '../log.ts'
import { toPortError } from '../ports.ts'

type Options = {
  host: string
  port: number
  connections: () => Connections
}

/** Other methods are counted as one, because a client could add series with invented names. So are unknown paths. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/**
 * The `reason` of each failed authentication and 429 in src/errors.ts. Series start at 0, so that the first error is an
 * increase.
 */
const authenticationReasons = [
  'missing',
  'malformed',
  'unknown',
  'wrong_secret',
  'expired',
  'revoked',
  'address_not_allowed',
  'heartbeat_url',
]
const limitReasons = ['key', 'address', 'authentication_failures', 'heartbeat']

/** Serves Prometheus metrics at /metrics on a separate port, which need not be public. */
export default fp<Options>(
  async (app, { host, port, connections }) => {
    const registry = new Registry()
    collectDefaultMetrics({ register: registry })
    watchRequests(app, registry)
    watchSecrets(app, registry)
    watchKeys(app, registry)
    watchConnections(connections, registry)
    watchLog(registry)
    const stopWatching = [watchBatches(registry), watchJobs(registry)]

    const server = Fastify({ forceCloseConnections: true })
    server.get('/metrics', async (_request, reply) =>
      reply.type(registry.contentType).send(await registry.metrics()),
    )
    // Before the API itself listens, so that a port in use ends the process.
    app.addHook('onReady', async () => {
      const address = await server.listen({ host, port }).catch((error: unknown) => {
        throw toPortError('METRICS_PORT', error)
      })
      app.log.info(`Metrics at ${address}/metrics`)
    })
    app.addHook('onClose', async () => {
      for (const stop of stopWatching) stop()
      await server.close()
    })
  },
  { name: 'metrics', dependencies: ['request-log'] },
)

/** The histogram's own count is the number of requests. */
function watchRequests(app: FastifyInstance, registry: Registry): void {
  const registers = [registry]
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Duration of requests.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  })
  const authenticationFailures = new Counter({
    name: 'kener_authentication_failures_total',
    help: 'Failed authentications, by reason.',
    labelNames: ['reason'] as const,
    registers,
  })
  const limitRejections = new Counter({
    name: 'kener_limit_refusals_total',
    help: 'Requests rejected with 429, by the limit: of the key, of the address, or of failed authentications of the address.',
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
    if (authenticationReasons.includes(reason)) authenticationFailures.inc({ reason })
    if (apiError?.status === 429) limitRejections.inc({ reason })
  }

  app.requestEndListeners.push(countRequest)
}

function watchSecrets(app: FastifyInstance, registry: Registry): void {
  new Counter({
    name: 'kener_argon2_runs_total',
    help: 'Secrets hashed or verified with Argon2: at most once per key and process.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(app.secrets.stats.argon2Runs)
    },
  })
  new Gauge({
    name: 'kener_argon2_queue_length',
    help: 'Secrets waiting to be hashed or verified. At 1,000, requests are rejected with 503.',
    registers: [registry],
    collect() {
      this.set(app.secrets.stats.argon2Waiting)
    },
  })
}

/**
 * Counts the keys of the database when a scraper asks, for at most a hundredth of the time, because it takes longer the
 * more keys there are. In an outage the last counts remain.
 */
function watchKeys(app: FastifyInstance, registry: Registry): void {
  let counted = Promise.resolve()
  let nextAt = 0

  async function count(): Promise<void> {
    nextAt = Infinity
    const startedAt = performance.now()
    try {
      const { byStatus, expiring } = await countKeys(app.db)
      for (const [state, keys] of Object.entries(byStatus)) keysByState.set({ state }, keys)
      for (const [days, keys] of Object.entries(expiring)) keysExpiring.set({ within: `${days}d` }, keys)
    } catch (error) {
      app.log.warn({ err: error }, 'could not count the keys for the metrics')
    }
    const endedAt = performance.now()
    nextAt = endedAt + 100 * (endedAt - startedAt)
  }

  async function collect(): Promise<void> {
    if (performance.now() >= nextAt) counted = count()
    await counted
  }

  const keysByState = new Gauge({
    name: 'kener_keys',
    help: 'Keys in the database, which all replicas share: active, expired or revoked.',
    labelNames: ['state'] as const,
    registers: [registry],
    collect,
  })
  const keysExpiring = new Gauge({
    name: 'kener_keys_expiring',
    help: 'Active keys that expire within 1d, 7d, 14d or 30d, without those that were rotated.',
    labelNames: ['within'] as const,
    registers: [registry],
    collect,
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
    help: 'Statements waiting for a connection.',
    registers: [registry],
    collect() {
      this.set(connections().waiting)
    },
  })
}

function watchLog(registry: Registry): void {
  new Counter({
    name: 'kener_log_lines_dropped_total',
    help: 'Lines of the log that were dropped, because stdout could not be written.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(logStats.droppedLines)
    },
  })
}

function watchBatches(registry: Registry): () => void {
  const size = new Histogram({
    name: 'kener_batch_size',
    help: 'Items per batched statement.',
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000],
    registers: [registry],
  })
  const observe = (items: unknown) => {
    size.observe(items as number)
  }
  subscribe(batchRuns.name, observe)
  return () => unsubscribe(batchRuns.name, observe)
}

function watchJobs(registry: Registry): () => void {
  const latestSuccess = new Gauge({
    name: 'kener_job_last_success_timestamp_seconds',
    help: 'When each hourly job last succeeded in this process, or when the process started: a Unix time.',
    labelNames: ['name'] as const,
    registers: [registry],
  })
  const observe = (success: unknown) => {
    const { job, at } = success as JobSuccess
    latestSuccess.set({ name: job }, at)
  }
  subscribe(jobSuccesses.name, observe)
  return () => unsubscribe(jobSuccesses.name, observe)
}
