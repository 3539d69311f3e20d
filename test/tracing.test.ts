import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { readConfig } from '../src/config.ts'
import { startTracing } from '../src/http/tracing.ts'
import { attributesOf, type Span, startCollector } from './collector.ts'
import { newKey, type Replica, startReplica, times, waitUntil } from './helper.ts'
import { programs } from './process.ts'
import { assertNoSecret } from './sweep.ts'

/** Exports after each request, in JSON. */
function tracingConfig(endpoint: string, env: NodeJS.ProcessEnv = {}) {
  const { tracing } = readConfig({
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '1',
    ...env,
  })
  if (!tracing) throw new Error('Tracing is off')
  return tracing
}

const collector = await startCollector(t)
const replica = await startReplica(t, {
  config: { tracing: tracingConfig(collector.endpoint, { OTEL_RESOURCE_ATTRIBUTES: 'team=status' }) },
  extend: (app) => {
    app.get('/fails', () => {
      throw new Error('It fails')
    })
  },
})

/** Returns the line of the log and the span of the request that `send` makes. */
async function traced(send: () => ReturnType<Replica['call']>) {
  const { headers } = await send()
  const line = replica.log.find(
    ({ reqId, msg }) => reqId === headers['x-request-id'] && msg === 'request completed',
  )
  const find = () => collector.spans().find(({ spanId }) => spanId === line?.span_id)
  await waitUntil(() => find() !== undefined)
  const span = find() as Span
  return { line, span, attributes: attributesOf(span) }
}

await t.test('each request is exported as a span with its route, status and key', async (t) => {
  const { token, id } = await newKey(replica)
  const { span, line, attributes } = await traced(() => replica.call(token, `GET /api/keys/${id}?limit=5`))
  t.match(span, { name: 'GET /api/keys/:id', kind: 2, traceId: /^[0-9a-f]{32}$/ })
  t.equal(span.traceId, line?.trace_id)
  t.notOk(span.parentSpanId)
  t.same(attributes, {
    'http.request.method': 'GET',
    'http.route': '/api/keys/:id',
    'http.response.status_code': 400,
    'url.scheme': 'http',
    'client.address': '127.0.0.1',
    'kener.key.id': id,
  })
  t.match(collector.resources().map(attributesOf)[0], {
    'service.name': 'kener-api',
    'service.version': /^\d/,
    'service.instance.id': /^[0-9a-f-]{36}$/,
    'host.name': /./,
    'telemetry.sdk.name': 'opentelemetry',
    team: 'status',
  })
})

await t.test('the key of a request is exported only after its authentication', async (t) => {
  const { token, id } = await newKey(replica)
  const wrong = `${token.slice(0, -1)}x`
  const { attributes } = await traced(() => replica.call(wrong, 'GET /api/me'))
  t.match(attributes, { 'http.route': '/api/me', 'http.response.status_code': 401 })
  t.notOk(Object.values(attributes).includes(id))
})

await t.test('unknown paths and URLs that cannot be decoded have no route', async (t) => {
  const { token } = await newKey(replica)
  for (const path of ['/api/nothing', '/nothing', '/api/%zz'] as const) {
    const { span, attributes } = await traced(() => replica.call(token, `GET ${path}`))
    t.equal(span.name, 'GET')
    t.notOk('http.route' in attributes, path)
  }
})

await t.test('a response of 5xx is an error', async (t) => {
  const { span, attributes } = await traced(() => replica.call(null, 'GET /fails'))
  t.match(span, { name: 'GET /fails', status: { code: 2 } })
  t.match(attributes, { 'http.response.status_code': 500, 'error.type': '500' })
  const { span: other } = await traced(() => replica.call(null, 'GET /api/me'))
  t.not(other.status.code, 2, 'a 401 is not')
})

await t.test('a span continues the trace of the caller, and each line of the log has its ids', async (t) => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
  const parent = '00f067aa0ba902b7'
  const send = (flags: string, headers: Record<string, string> = {}) =>
    replica.call(null, 'GET /fails', undefined, {
      headers: { traceparent: `00-${traceId}-${parent}-${flags}`, tracestate: 'vendor=1', ...headers },
    })
  const { span, line } = await traced(() => send('01'))
  t.match(span, { traceId, parentSpanId: parent, traceState: 'vendor=1' })
  const lines = replica.log.filter(({ reqId }) => reqId === line?.reqId)
  t.equal(lines.length, 2)
  const ids = { trace_id: traceId, span_id: span.spanId, parent_span_id: parent }
  t.ok(lines.every((each) => Object.entries(ids).every(([name, value]) => each[name] === value)))

  const { headers } = await send('00')
  const unsampled = replica.log.find(({ reqId }) => reqId === headers['x-request-id'])
  t.match(unsampled, { trace_id: traceId, parent_span_id: parent, span_id: /^[0-9a-f]{16}$/ })
  const after = await traced(() => send('01', { tracestate: `vendor=${'x'.repeat(600)}` }))
  t.notOk(after.span.traceState, 'a long tracestate is not passed on')
  t.notOk(collector.spans().some(({ spanId }) => spanId === unsampled?.span_id))
  const invalid = await traced(() => send('01', { traceparent: 'x'.repeat(8_000) }))
  t.not(invalid.span.traceId, traceId)
})

await t.test('nothing that a caller sends is exported, wherever it puts a key', async (t) => {
  const { token } = await newKey(replica)
  await replica.call(token, 'POST /api/monitors', { tag: 'website', name: 'Website' })
  const created = await replica.call(token, 'POST /api/monitors/website/heartbeat')
  const { pathname } = new URL(created.json.data.url as string)
  const everywhere = {
    cookie: token,
    'user-agent': token,
    host: `${token}.example.com`,
    referer: `http://x/${token}`,
    'x-forwarded-for': token,
    'x-forwarded-proto': token,
    'x-request-id': token,
  }
  const calls = [
    () => replica.call(null, `GET ${pathname}?latency_ms=5`),
    () => replica.call(null, `GET ${pathname}x`),
    () => replica.call(token, `GET /api/me?access_token=${token}`, undefined, { headers: everywhere }),
    () => replica.call(null, `GET /${token}`, undefined, { headers: everywhere }),
    () => replica.call(null, `GET /api/%zz${token}`),
    () =>
      replica.call(null, 'GET /api/status', undefined, {
        headers: {
          traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
          tracestate: `vendor=${token}`,
        },
      }),
  ]
  const names = new Set<string>()
  for (const call of calls) Object.keys((await traced(call)).attributes).forEach((name) => names.add(name))
  t.same([...names].sort(), [
    'client.address',
    'http.request.method',
    'http.response.status_code',
    'http.route',
    'kener.key.id',
    'url.scheme',
  ])
  const exported = collector.received.map(({ body }) => body.toString()).join('')
  t.doesNotThrow(() => {
    assertNoSecret(exported, 'the exported spans')
  })
  t.notOk(/website|example\.com|kener_/.test(exported))
})

await t.test('spans are exported as protobuf by default, with the headers of the variable', async (t) => {
  const { endpoint, received } = await startCollector(t)
  const app = startTraced(
    t,
    tracingConfig(endpoint, {
      OTEL_EXPORTER_OTLP_PROTOCOL: '',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=a%20b',
      OTEL_EXPORTER_OTLP_COMPRESSION: '',
    }),
  )
  await app.inject('/')
  await waitUntil(() => received.length > 0)
  t.match(received[0]?.headers, { 'content-type': 'application/x-protobuf', 'x-tenant': 'a b' })
  t.match(received[0]?.body.toString('latin1'), /http\.response\.status_code/)
})

/** Starts a server of one route with tracing, which costs less than a replica. */
function startTraced(
  t: Test,
  tracing: ReturnType<typeof tracingConfig>,
  log: Record<string, unknown>[] = [],
) {
  const logger = pino({}, { write: (line: string) => log.push(JSON.parse(line) as Record<string, unknown>) })
  const { childLoggerFactory, endSpan, shutdown } = startTracing(tracing, logger)
  const app = Fastify({ loggerInstance: logger, childLoggerFactory })
  app.decorateRequest('principal', null)
  app.get('/', () => 'ok')
  app.addHook('onResponse', async (request, reply) => {
    endSpan(request, reply)
  })
  app.addHook('onClose', shutdown)
  t.teardown(() => app.close())
  return app
}

await t.test('the sampler decides which requests are exported', async (t) => {
  const caller = (flags: string) => ({ traceparent: `00-${'0'.repeat(31)}1-00f067aa0ba902b7-${flags}` })
  const requests = [{}, caller('01'), caller('00')]
  // Which of a request without a parent, with a sampled one, and with one that is not are exported.
  const cases: [sampler: string, arg: string, exported: boolean[]][] = [
    ['parentbased_always_on', '', [true, true, false]],
    ['parentbased_always_off', '', [false, true, false]],
    ['parentbased_traceidratio', '0', [false, true, false]],
    ['always_on', '', [true, true, true]],
    ['always_off', '', [false, false, false]],
    ['traceidratio', '1', [true, true, true]],
    ['traceidratio', '0', [false, false, false]],
  ]
  for (const [OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, expected] of cases) {
    const { endpoint, spans } = await startCollector(t)
    const app = startTraced(t, tracingConfig(endpoint, { OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG }))
    for (const headers of requests) await app.inject({ url: '/', headers })
    await app.close()
    t.equal(
      spans().length,
      expected.filter(Boolean).length,
      `${OTEL_TRACES_SAMPLER} ${OTEL_TRACES_SAMPLER_ARG}`,
    )
  }
})

await t.test('an unreachable collector fails no request, and is logged once per minute', async (t) => {
  const log: Record<string, unknown>[] = []
  // Nothing listens on port 1. Without time to retry.
  const app = startTraced(t, tracingConfig('http://127.0.0.1:1', { OTEL_EXPORTER_OTLP_TIMEOUT: '1' }), log)
  const losses = () => log.filter(({ lostSpans }) => lostSpans !== undefined)
  for (let round = 0; round < 3; round++) {
    const replies = await times(5, () => app.inject('/'))
    t.ok(replies.every(({ statusCode }) => statusCode === 200))
    await waitUntil(() => losses().length > 0)
  }
  await app.close()
  t.match(losses(), [{ level: 40, cause: /ECONNREFUSED/ }])
  t.equal(losses().length, 1)
})

await t.test('a collector that does not answer fills a bounded queue, and delays no shutdown', async (t) => {
  const log: Record<string, unknown>[] = []
  const { endpoint, received, answerAll } = await startCollector(t, { answers: false })
  const bounds = { OTEL_BSP_MAX_QUEUE_SIZE: '10', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '10' }
  const app = startTraced(t, tracingConfig(endpoint, bounds), log)
  await app.inject('/')
  await waitUntil(() => received.length === 1)
  await times(25, () => app.inject('/'))
  answerAll()
  await waitUntil(() => received.length === 2)
  await waitUntil(() => log.some(({ lostSpans }) => lostSpans === 15))

  const hanging = await startCollector(t, { answers: false })
  const other = startTraced(t, tracingConfig(hanging.endpoint, { OTEL_EXPORTER_OTLP_TIMEOUT: '600000' }), log)
  await other.inject('/')
  await other.close()
  t.match(log.at(-1), { level: 40, msg: /in time/ })
})

await t.test('OpenTelemetry is loaded only by tracing and metrics', async (t) => {
  const library = 'node_modules/@opentelemetry/'
  const chunks = readdirSync(programs).filter((name) => name.endsWith('.js'))
  t.ok(chunks.some((name) => name.startsWith('tracing-')))
  for (const name of chunks.filter((name) => !/^(tracing|metrics|getMachineId)-/.test(name))) {
    const source = readFileSync(join(programs, name), 'utf8')
    const isLoaded = [...source.matchAll(/^(?:} from|import) "\.\/([^"]+)";$/gm)].some(([, imported = '']) =>
      readFileSync(join(programs, imported), 'utf8').includes(library),
    )
    t.notOk(isLoaded, name)
  }
})
