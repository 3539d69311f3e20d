import { readFileSync } from 'node:fs'
import { METHODS } from 'node:http'
import { join } from 'node:path'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { startHourlyJobs } from '../src/jobs.ts'
import { formatToken, generateTokenParts } from '../src/keys/token.ts'
import { createDatabase, expire, newKey, type Replica, startReplica, times, waitUntil } from './helper.ts'
import { listening, start } from './process.ts'

/** Values by the name and labels of the series, as Prometheus parses them. */
type Series = Map<string, number>

async function startWithMetrics(t: Test, config: Parameters<typeof startReplica>[1] = {}) {
  const replica = await startReplica(t, { ...config, config: { metricsPort: 0, ...config.config } })
  const url = metricsUrl(replica)
  return { ...replica, url, read: () => read(url) }
}

function metricsUrl({ log }: Replica): string {
  const [, url = ''] = log.map(({ msg }) => /^Metrics at (.+)$/.exec(String(msg))).find(Boolean) ?? []
  return url
}

async function read(url: string): Promise<Series> {
  const text = await (await fetch(url)).text()
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.replace(/ \S+$/, ''), Number(/\S+$/.exec(line)?.[0])]))
}

function requests(method: string, route: string, status: number): string {
  return `http_request_duration_seconds_count{method="${method}",route="${route}",status="${status}"}`
}

await t.test('requests are counted by method, route pattern and status, with their duration', async (t) => {
  const { call, db, read } = await startWithMetrics(t)
  const { token, id } = await newKey({ db })
  await call(token, 'GET /api/me')
  await call(token, 'GET /api/me')
  await call(token, `GET /api/keys/${id}`)
  await call(null, 'GET /api/me')
  await call(token, 'GET /api/nothing')
  await call(token, 'GET /api/%zz')
  const series = await read()
  t.equal(series.get(requests('GET', '/api/me', 200)), 2)
  t.equal(series.get(requests('GET', '/api/keys/:id', 200)), 1)
  t.equal(series.get(requests('GET', '/api/me', 401)), 1)
  t.equal(series.get(requests('GET', 'unknown', 404)), 1)
  t.equal(series.get(requests('GET', 'unknown', 400)), 1)
  const sum = series.get(requests('GET', '/api/me', 200).replace('_count', '_sum')) ?? 0
  t.ok(sum > 0 && sum < 60, 'in seconds')
})

await t.test('failed authentications are counted by reason', async (t) => {
  const { call, db, read } = await startWithMetrics(t)
  const admin = await newKey({ db })
  const [expired, revoked] = [await newKey({ db }), await newKey({ db })]
  await expire({ db }, expired.id)
  await call(admin.token, `POST /api/keys/${revoked.id}/revoke`)
  const unknown = generateTokenParts()
  const wrong = formatToken({ ...unknown, id: admin.id })
  for (const presented of [null, 'x', formatToken(unknown), wrong, expired.token, revoked.token]) {
    await call(presented, 'GET /api/me')
  }
  await call('kener_x', 'GET /api/%zz')
  const series = await read()
  for (const reason of ['missing', 'unknown', 'wrong_secret', 'expired', 'revoked']) {
    t.equal(series.get(`kener_authentication_failures_total{reason="${reason}"}`), 1, reason)
  }
  t.equal(series.get('kener_authentication_failures_total{reason="malformed"}'), 2)
})

await t.test('429 responses are counted by the limit that was exceeded', async (t) => {
  const { call, db, read } = await startWithMetrics(t, {
    config: { publicRateLimitMax: 3, authFailureLimitMax: 3 },
  })
  const { token } = await newKey({ db }, { rateLimit: 3 })
  await times(10, () => call(token, 'GET /api/me'))
  await times(10, () => call(null, 'GET /api/status'))
  await times(10, () => call('x', 'GET /api/me'))
  const series = await read()
  for (const reason of ['key', 'address', 'authentication_failures']) {
    const rejected = series.get(`kener_limit_refusals_total{reason="${reason}"}`) ?? 0
    // A new minute may start meanwhile, in which another three requests pass.
    t.ok(rejected >= 4 && rejected <= 7, `${reason}: ${rejected}`)
  }
})

await t.test('there are metrics of batches, hashes and connections', async (t) => {
  const { call, db, read } = await startWithMetrics(t)
  const { token } = await newKey({ db })
  const before = await read()
  t.equal(before.get('kener_argon2_runs_total'), 0)
  await times(40, () => call(token, 'GET /api/me'))
  const after = await read()
  t.equal(after.get('kener_argon2_runs_total'), 1)
  t.equal(after.get('kener_argon2_queue_length'), 0)
  t.ok((after.get('kener_batch_size_count') ?? 0) >= 2)
  t.ok((after.get('kener_batch_size_sum') ?? 0) >= 40, 'each request is an item')
  const [idle, busy] = ['idle', 'busy'].map((state) =>
    Number(after.get(`kener_database_connections{state="${state}"}`)),
  )
  t.ok(Number(idle) + Number(busy) >= 1)
  t.equal(after.get('kener_database_queue_length'), 0)
  t.ok(after.has('process_cpu_seconds_total') && after.has('nodejs_eventloop_lag_p99_seconds'))
})

await t.test('keys are counted by state, and active ones by the time until they expire', async (t) => {
  const { call, db, log, read, statements } = await startWithMetrics(t)
  const admin = await newKey({ db })
  const inDays = (days: number) => newKey({ db }, { expiresAt: new Date(Date.now() + days * 86_400_000) })
  const [, rotated] = [await inDays(6), await inDays(6), await inDays(20), await inDays(90)]
  await call(admin.token, `POST /api/keys/${rotated.id}/rotate`, { overlap_seconds: 600 })
  await expire({ db }, (await newKey({ db })).id)
  await call(admin.token, `POST /api/keys/${(await inDays(1)).id}/revoke`)
  const series = await read()
  const values = (name: string, label: string, of: string[]) =>
    of.map((value) => series.get(`${name}{${label}="${value}"}`))
  t.same(values('kener_keys', 'state', ['active', 'expired', 'revoked']), [6, 1, 1])
  // The successor of the rotated key expires as the rotated key did.
  t.same(values('kener_keys_expiring', 'within', ['1d', '7d', '14d', '30d']), [0, 2, 2, 3])

  const counts = () => statements.filter((text) => text.includes('from api_keys group by')).length
  const before = counts()
  t.equal(before, 1)
  await times(20, read)
  t.ok(counts() <= before + 1, 'concurrent scrapes share a statement')
  await sql`alter table api_keys rename to gone`.execute(db)
  await waitUntil(async () => {
    t.equal((await read()).get('kener_keys{state="active"}'), 6, 'the last count, in an outage')
    return log.some(({ msg }) => String(msg).startsWith('could not count the keys'))
  })
})

await t.test('each hourly job has a metric of its last success, and a failure is logged', async (t) => {
  const { db, log, read, app } = await startWithMetrics(t)
  await sql`alter table traffic rename to gone`.execute(db)
  const stop = startHourlyJobs({ jobs: db }, 90, app.log)
  t.teardown(stop)
  const latest = (series: Series, job: string) =>
    series.get(`kener_job_last_success_timestamp_seconds{name="${job}"}`) ?? 0
  const startedAt = latest(await read(), 'traffic')
  await waitUntil(async () => latest(await read(), 'maintenances') > startedAt)
  const series = await read()
  for (const job of ['retention', 'sessions', 'maintenances']) t.ok(latest(series, job) > startedAt, job)
  t.equal(latest(series, 'traffic'), startedAt, 'not that of the failed job')
  t.match(
    log.filter(({ job }) => job !== undefined),
    [{ level: 40, job: 'traffic' }],
  )
})

await t.test('no request can add series with invented names', async (t) => {
  const { app, call, db, read } = await startWithMetrics(t)
  const { token } = await newKey({ db })
  const strange = METHODS.filter((name) => !app.supportedMethods.includes(name))
  let made = 0
  const invent = async () => {
    const name = `x${made++}`
    const inject = (method: string, url: string, key: string) =>
      app.inject({
        method: method as 'GET',
        url,
        headers: { authorization: `Bearer ${key}`, 'user-agent': name },
        remoteAddress: `10.0.${made >> 8}.${made & 255}`,
      })
    await inject('GET', `/api/${name}`, token)
    await inject('GET', `/${name}`, token)
    await inject('GET', `/api/%zz${name}`, token)
    await inject('GET', `/api/monitors/${name}?limit=${name}`, token)
    await inject('GET', `/manage/${name}`, token)
    await inject('GET', `/manage/assets/${name}`, token)
    await inject('GET', '/api/me', formatToken(generateTokenParts()))
    await inject(strange[made % strange.length] ?? '', '/api/me', token)
    await inject('GET', '/api/status', token)
  }
  await times(3, invent)
  await call(token, 'GET /api/me')
  const before = await read()
  // Fewer at a time than unknown keys may wait for their verification, because others are rejected with 503.
  for (let round = 0; round < 25; round++) await times(40, invent)
  const after = await read()
  // Series of the runtime have fixed names, but appear at their first event.
  const added = [...after.keys()].filter((name) => !before.has(name) && !name.startsWith('nodejs_'))
  t.same(added, [])
  t.ok(Number(after.get(requests('GET', 'unknown', 404))) >= 1_000)
})

await t.test('metrics are served on a separate port only', async (t) => {
  const replica = await startWithMetrics(t)
  t.equal((await replica.call(null, 'GET /metrics')).statusCode, 404)
  const own = await fetch(replica.url)
  t.equal(own.status, 200)
  t.match(own.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  const { origin } = new URL(replica.url)
  for (const path of ['/', '/api/me', '/manage/login', '/openapi.json']) {
    t.equal((await fetch(origin + path)).status, 404, path)
  }
})

await t.test('every metric and label of the alerts and the dashboard exists', async (t) => {
  const { app, call, db, url } = await startWithMetrics(t)
  await call(null, 'GET /api/me')
  t.teardown(startHourlyJobs({ jobs: db }, 90, app.log))
  const text = await (await fetch(url)).text()
  // Prometheus itself adds `up`, and the labels of a target.
  const labels = new Map([['up', new Set<string>()]])
  for (const [, name = '', selector = ''] of text.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)) {
    const known = labels.get(name) ?? new Set()
    for (const [, label = ''] of selector.matchAll(/(\w+)="/g)) known.add(label)
    labels.set(name, known)
  }
  const dashboard = JSON.parse(readDocument('grafana-dashboard.json')) as Dashboard
  const panels = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
  t.ok(dashboard.schemaVersion >= 39 && dashboard.panels.every(({ title, gridPos }) => title && gridPos))
  t.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length, 'ids are unique')
  const variables = dashboard.templating.list.map(({ name }) => name)
  t.same(variables, ['datasource', 'job', 'instance'])
  for (const expression of [readDocument('prometheus-alerts.yml'), ...panels]) {
    const selectors = [...expression.matchAll(/(\w+)\{([^}]*)\}/g)]
    t.ok(selectors.length > 0, expression)
    for (const [, name = '', selector = ''] of selectors) {
      const selected = [...selector.matchAll(/(\w+)(?:=~?|!=|!~)"/g)].map(([, label = '']) => label)
      const known = labels.get(name)
      t.ok(known, name)
      t.same(
        selected.filter((label) => !['job', 'instance'].includes(label) && !known?.has(label)),
        [],
        `${name}: labels`,
      )
    }
  }
})

type Dashboard = {
  schemaVersion: number
  panels: { id: number; title: string; gridPos: object; targets: { expr: string }[] }[]
  templating: { list: { name: string }[] }
}

function readDocument(name: string): string {
  return readFileSync(join(import.meta.dirname, '../../docs', name), 'utf8')
}

await t.test('without METRICS_PORT there are no metrics', async (t) => {
  const { app, log } = await startReplica(t)
  t.equal(app.requestEndListeners.length, 1, 'only the log')
  t.notOk(log.some(({ msg }) => String(msg).startsWith('Metrics at')))
})

await t.test('a process serves metrics until it exits, and reports a port in use', async (t) => {
  const DATABASE_URL = await createDatabase(t)
  const first = start(t, 'server', [], { DATABASE_URL, PORT: '0', METRICS_PORT: '0' })
  await listening(first)
  const [, url = ''] = await first.shows(/Metrics at (http:[^"]+)/)
  t.ok((await read(url)).has('process_start_time_seconds'))
  const METRICS_PORT = new URL(url).port
  const second = start(t, 'server', [], { DATABASE_URL, PORT: '0', METRICS_PORT })
  t.equal((await second.ended).code, 1)
  t.match(second.output.stderr, /^kener-api: METRICS_PORT [^\n]*EADDRINUSE[^\n]*\n$/)
  first.child.kill('SIGTERM')
  t.same(await first.ended, { code: 0, signal: null })
  await t.rejects(fetch(url))
})
