import { type Kysely, sql } from 'kysely'
import t, { type Test } from 'tap'
import type { Config } from '../src/config.ts'
import { pipelineTransaction } from '../src/database/pipeline.ts'
import type { Tables } from '../src/database/schema.ts'
import { sumSpans } from '../src/monitors/uptime.ts'
import { writeCurrentReports } from '../src/reports/current-hour.ts'
import { type Report, writeReports } from '../src/reports/repository.ts'
import { removeOldMinutes } from '../src/reports/retention.ts'
import { readSeries } from '../src/reports/series.ts'
import {
  isErrorReply,
  isWaitingForLock,
  newKey,
  type Replica,
  shareReplica,
  startReplica,
  times,
} from './helper.ts'

const share = shareReplica(t)

/** @param config starts a replica for this test alone */
async function start(t: Test, config?: Partial<Config>): Promise<Replica & { key: string }> {
  const replica = config ? await startReplica(t, { config }) : await share()
  const { token } = await newKey(replica)
  await replica.call(token, 'POST /api/monitors', { tag: 'm', name: 'M' })
  return { ...replica, key: token }
}

const minuteMs = 60_000
const iso = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`
const thisMinute = () => Math.floor(Date.now() / minuteMs) * minuteMs

/** Asserts that the hourly and daily buckets match the minutes, from `from` on. */
async function totalsMatchMinutes(
  t: Test,
  { call, key }: { call: Replica['call']; key: string },
  { tag = 'm', from = '1970-01-01T00:00:00Z' } = {},
) {
  const all = async (interval: string) => {
    const buckets: Record<string, number>[] = []
    let cursor: string | null = null
    do {
      const query = `interval=${interval}&from=${from}&limit=10000${cursor ? `&cursor=${cursor}` : ''}`
      const { json } = await call(key, `GET /api/monitors/${tag}/data?${query}`)
      if (!json.data) throw new Error(JSON.stringify(json))
      buckets.push(...json.data)
      cursor = json.pagination.next_cursor
    } while (cursor)
    return buckets
  }
  const minutes = await all('minute')
  for (const [interval, length] of [
    ['hour', 13],
    ['day', 10],
  ] as const) {
    const expected = new Map<string, Record<string, number>>()
    for (const bucket of minutes) {
      const name = String(bucket.timestamp).slice(0, length)
      const totals = expected.get(name) ?? {
        up: 0,
        degraded: 0,
        down: 0,
        maintenance: 0,
        latency: 0,
        latencies: 0,
      }
      for (const column of ['up', 'degraded', 'down', 'maintenance'])
        totals[column] = (totals[column] ?? 0) + (bucket[column] ?? 0)
      if (typeof bucket.latency_ms === 'number') {
        totals.latency = (totals.latency ?? 0) + bucket.latency_ms
        totals.latencies = (totals.latencies ?? 0) + 1
      }
      expected.set(name, totals)
    }
    const buckets = await all(interval)
    t.same(
      buckets.map(({ timestamp }) => String(timestamp).slice(0, length)),
      [...expected.keys()],
      `${interval}: timestamps`,
    )
    // Filters first, because thousands of assertions take longer than the reads.
    const different = buckets.filter((bucket) => {
      const totals = expected.get(String(bucket.timestamp).slice(0, length)) ?? {}
      const mean = totals.latencies ? (totals.latency ?? 0) / totals.latencies : null
      return (
        ['up', 'degraded', 'down', 'maintenance'].some((column) => bucket[column] !== totals[column]) ||
        bucket.latency_ms !== mean
      )
    })
    t.same(different, [], `${interval}: totals`)
  }
}

await t.test('a report without a time is for the current minute, and determines the status', async (t) => {
  const { call, key } = await start(t)
  const before = thisMinute()
  const reply = await call(key, 'POST /api/monitors/m/data', { status: 'UP', latency_ms: 42 })
  t.equal(reply.statusCode, 200)
  t.same(reply.json, { success: true, data: { written: 1 } })
  const { json } = await call(key, 'GET /api/monitors/m')
  t.match(json.data, { status: 'UP', status_source: 'report', last_report: { status: 'UP', latency_ms: 42 } })
  t.ok([iso(before), iso(before + minuteMs)].includes(json.data.last_report.timestamp))
  const data = await call(key, 'GET /api/monitors/m/data')
  t.same(data.json.data, [
    {
      timestamp: json.data.last_report.timestamp,
      up: 1,
      degraded: 0,
      down: 0,
      maintenance: 0,
      uptime: 1,
      latency_ms: 42,
    },
  ])
})

await t.test(
  'the last report of a minute wins; a late report about an older minute does not change the status',
  async (t) => {
    const { call, key } = await start(t)
    const now = thisMinute()
    const report = (minutesAgo: number, status: string, more = {}) =>
      call(key, 'POST /api/monitors/m/data', {
        status,
        timestamp: iso(now - minutesAgo * minuteMs + 30_000),
        ...more,
      })
    await report(1, 'DOWN', { latency_ms: 9 })
    await report(1, 'DEGRADED')
    await report(10, 'MAINTENANCE')
    const { json } = await call(key, 'GET /api/monitors/m')
    t.match(json.data, {
      status: 'DEGRADED',
      last_report: { timestamp: iso(now - minuteMs), latency_ms: null },
    })
    const data = await call(key, 'GET /api/monitors/m/data')
    t.match(data.json.data, [
      { timestamp: iso(now - 10 * minuteMs), maintenance: 1 },
      { timestamp: iso(now - minuteMs), degraded: 1, down: 0, latency_ms: null },
    ])
  },
)

await t.test('many points are written all or none', async (t) => {
  const { call, key, db } = await start(t)
  const now = thisMinute()
  const points = Array.from({ length: 10_000 }, (_, index) => ({
    status: (['UP', 'DEGRADED', 'DOWN', 'MAINTENANCE'] as const)[index % 4],
    latency_ms: index,
    timestamp: iso(now - index * minuteMs),
  }))
  const invalid: [path: string, body: unknown][] = [
    ['/points/9999/status', { points: [...points.slice(1), { status: 'NO_DATA' }] }],
    [
      '/points/9999/timestamp',
      { points: [...points.slice(1), { status: 'UP', timestamp: iso(now + 7 * minuteMs) }] },
    ],
    ['/points', { points: [...points, points[0]] }],
    ['/points', { points: [] }],
    ['', {}],
    ['/timestamp', { status: 'UP', timestamp: iso(now + 7 * minuteMs) }],
    ['/latency_ms', { status: 'UP', latency_ms: -1 }],
    ['/latency_ms', { status: 'UP', latency_ms: '5' }],
    ['/points', { status: 'UP', points: points.slice(0, 2) }],
    ['/status', { timestamp: iso(now) }],
  ]
  for (const [path, body] of invalid) {
    const reply = await call(key, 'POST /api/monitors/m/data', body)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', path)
    t.ok(
      reply.json.error.details.some((detail: { path: string }) => detail.path === path),
      reply.body.slice(0, 300),
    )
  }
  t.same(await db.selectFrom('monitor_hours').select('hour').execute(), [], 'nothing is written')
  t.match((await call(key, 'GET /api/monitors/m')).json.data, { last_report: null })

  t.equal((await call(key, 'POST /api/monitors/m/data', { points })).json.data.written, 10_000)
  t.equal(
    (await call(key, 'POST /api/monitors/m/data', { points: points.slice(0, 500) })).json.data.written,
    500,
  )
  const twice = { points: [points[0], points[0]] }
  t.equal(
    (await call(key, 'POST /api/monitors/m/data', twice)).json.data.written,
    1,
    'a minute is counted once',
  )
  const ahead = await call(key, 'POST /api/monitors/m/data', {
    status: 'UP',
    timestamp: iso(thisMinute() + 5 * minuteMs),
  })
  t.equal(ahead.statusCode, 200, '5 minutes ahead are allowed')
  isErrorReply(
    t,
    await call(key, 'POST /api/monitors/none/data', { status: 'UP' }),
    404,
    'NOT_FOUND',
    'an unknown monitor',
  )
  await totalsMatchMinutes(t, { call, key })
})

await t.test('PUT fills every minute of [from, to)', async (t) => {
  const { call, key } = await start(t)
  const fill = (from: string, to: string, status: string, more = {}) =>
    call(key, 'PUT /api/monitors/m/data', { from, to, status, ...more })
  t.equal(
    (await fill('2026-01-01T00:30:00Z', '2026-01-03T10:15:00Z', 'UP', { latency_ms: 7 })).json.data.written,
    3_465,
  )
  t.equal((await fill('2026-01-01T23:50:00Z', '2026-01-02T00:10:00Z', 'DOWN')).json.data.written, 20)
  t.equal((await fill('2025-01-01T00:00:00Z', '2026-01-01T00:00:00Z', 'DEGRADED')).json.data.written, 525_600)
  const year = await call(key, 'GET /api/monitors/m/data?interval=day&to=2026-01-01T00:00:00Z')
  t.equal(year.json.data.length, 365)
  t.ok(year.json.data.every(({ degraded }: { degraded: number }) => degraded === 1_440))
  await totalsMatchMinutes(t, { call, key }, { from: '2025-12-25T00:00:00Z' })
  const days = await call(key, 'GET /api/monitors/m/data?interval=day&from=2026-01-01T00:00:00Z')
  t.match(days.json.data, [
    { timestamp: '2026-01-01T00:00:00Z', up: 1_400, down: 10, uptime: 1_400 / 1_410, latency_ms: 7 },
    { timestamp: '2026-01-02T00:00:00Z', up: 1_430, down: 10 },
    { timestamp: '2026-01-03T00:00:00Z', up: 615, down: 0 },
  ])
  const invalid: [string, string, string][] = [
    ['2026-01-02T00:00:00Z', '2026-01-01T00:00:00Z', 'UP'],
    ['2026-01-01T00:00:10Z', '2026-01-01T00:00:50Z', 'UP'],
    ['2024-01-01T00:00:00Z', '2025-01-02T00:01:00Z', 'UP'],
    ['2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z', 'NO_DATA'],
    [iso(Date.now()), iso(Date.now() + 3_600_000), 'UP'],
  ]
  for (const [from, to, status] of invalid) {
    isErrorReply(t, await fill(from, to, status), 400, 'INVALID_REQUEST', `${from} ${to} ${status}`)
  }
})

await t.test(
  'points in a thousand different hours are all written, and the last point of a minute wins',
  async (t) => {
    const { call, key } = await start(t)
    const hours = Array.from({ length: 1_000 }, (_, age) => iso(thisMinute() - age * 60 * minuteMs))
    const points = [
      ...hours.map((timestamp) => ({ timestamp, status: 'DOWN' })),
      ...hours.map((timestamp) => ({ timestamp, status: 'UP' })),
    ]
    const { json } = await call(key, 'POST /api/monitors/m/data', { points })
    t.equal(json.data.written, 1_000)
    const read = await call(key, 'GET /api/monitors/m/data?limit=10000')
    t.equal(read.json.data.length, 1_000)
    t.ok(read.json.data.every(({ up, down }: { up: number; down: number }) => up === 1 && down === 0))
    await totalsMatchMinutes(t, { call, key })
    t.match((await call(key, 'GET /api/monitors/m')).json.data, {
      status: 'UP',
      last_report: { timestamp: hours[0] },
    })
  },
)

await t.test('buckets of minutes, hours and days contain exactly the minutes of [from, to)', async (t) => {
  const { call, key } = await start(t)
  await call(key, 'PUT /api/monitors/m/data', {
    from: '2026-02-01T00:00:00Z',
    to: '2026-02-05T00:00:00Z',
    status: 'UP',
  })
  const spans = [
    ['2026-02-01T10:20:00Z', '2026-02-01T10:40:00Z'],
    ['2026-02-01T10:20:00Z', '2026-02-01T12:00:00Z'],
    ['2026-02-01T23:00:00Z', '2026-02-02T01:30:00Z'],
    ['2026-02-01T12:34:00Z', '2026-02-04T05:06:00Z'],
    ['2026-01-31T12:00:00Z', '2026-02-02T00:00:00Z'],
    ['2026-02-04T23:59:00Z', '2026-03-01T00:00:00Z'],
    ['2026-02-02T00:00:00Z', '2026-02-02T00:00:00Z'],
  ] as const
  const first = Date.parse('2026-02-01T00:00:00Z')
  const end = Date.parse('2026-02-05T00:00:00Z')
  for (const [from, to] of spans) {
    const expected = Math.max(
      0,
      (Math.min(Date.parse(to), end) - Math.max(Date.parse(from), first)) / minuteMs,
    )
    for (const interval of ['minute', 'hour', 'day']) {
      const query = `from=${from}&to=${to}&interval=${interval}&limit=10000`
      const { json } = await call(key, `GET /api/monitors/m/data?${query}`)
      const total = json.data.reduce((sum: number, { up }: { up: number }) => sum + up, 0)
      t.equal(total, expected, `${interval} ${from} ${to}`)
    }
  }
  for (const list of ['monitors/m/data', 'incidents'] as const) {
    const reply = await call(key, `GET /api/${list}?from=2026-02-02T00:00:00Z&to=2026-02-01T00:00:00Z`)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', `${list}: to before from`)
  }
})

await t.test('data pages without skipping or repeating, in every interval', async (t) => {
  const { call, key } = await start(t)
  const base = Date.parse('2026-03-01T00:00:00Z')
  const minutes = Array.from({ length: 300 }, (_, index) => base + ((index * index * 37) % 9_000) * minuteMs)
  await call(key, 'POST /api/monitors/m/data', {
    points: minutes.map((at) => ({ status: 'UP', timestamp: iso(at) })),
  })
  for (const [interval, sizes, span] of [
    ['minute', [1, 7, 100], minuteMs],
    ['hour', [1, 7, 100], 60 * minuteMs],
    ['day', [1, 3, 100], 1440 * minuteMs],
  ] as const) {
    const expected = [...new Set(minutes.map((at) => Math.floor(at / span) * span))]
      .sort((a, b) => a - b)
      .map(iso)
    for (const limit of sizes) {
      if (limit === 1 && interval === 'minute') continue
      const seen: string[] = []
      let cursor: string | null = null
      do {
        const query = `interval=${interval}&limit=${limit}${cursor ? `&cursor=${cursor}` : ''}`
        const { json } = await call(key, `GET /api/monitors/m/data?${query}`)
        t.ok(json.data.length <= limit)
        seen.push(...json.data.map(({ timestamp }: { timestamp: string }) => timestamp))
        cursor = json.pagination.next_cursor
      } while (cursor)
      t.same(seen, expected, `${interval} by ${limit}`)
    }
  }
})

await t.test('totals match the minutes after rewrites, out of order and concurrent', async (t) => {
  const { call, key } = await start(t)
  await call(key, 'POST /api/monitors', { tag: 'n', name: 'N' })
  const base = Date.parse('2026-04-01T22:00:00Z')
  const statuses = ['UP', 'DEGRADED', 'DOWN', 'MAINTENANCE']
  // Writes every minute of four hours several times, across midnight, in a fixed order.
  await times(60, async (index) => {
    const tag = index % 3 === 0 ? 'n' : 'm'
    const at = (step: number) => base + ((index * 53 + step * 17) % 240) * minuteMs
    const status = statuses[index % 4]
    if (index % 10 === 9) {
      await call(key, `PUT /api/monitors/${tag}/data`, {
        from: iso(at(0)),
        to: iso(at(0) + 45 * minuteMs),
        status,
      })
    } else if (index % 2 === 0) {
      const points = Array.from({ length: index + 90 }, (_, step) => ({
        status: statuses[(index + step) % 4],
        timestamp: iso(at(step)),
        ...(step % 3 && { latency_ms: step }),
      }))
      await call(key, `POST /api/monitors/${tag}/data`, { points })
    } else {
      await call(key, `POST /api/monitors/${tag}/data`, { status, timestamp: iso(at(0)), latency_ms: index })
    }
  })
  await totalsMatchMinutes(t, { call, key })
  await totalsMatchMinutes(t, { call, key }, { tag: 'n' })
})

await t.test(
  'a report about the current hour that the database applies has the same result as others',
  async (t) => {
    const { db, call, key } = await start(t)
    for (const tag of ['one', 'many']) await call(key, 'POST /api/monitors', { tag, name: tag })
    const statuses = ['UP', 'DEGRADED', 'DOWN', 'MAINTENANCE'] as const
    const hour = Math.floor(Date.now() / (60 * minuteMs))
    const reports = Array.from({ length: 40 }, (_, index): Report => ({
      // Some are in another hour, or too far ahead.
      from: hour * 60 + ((index * 7) % 66),
      second: index,
      status: statuses[(index * 5) % 4] ?? 'UP',
      latency_ms: index % 3 === 0 ? null : index % 5 === 0 ? 86_400_000 : index * 1000,
    }))
    const writeOther = (tag: string, report: Report) => writeReports(db, [{ tag, reports: [report] }], 'skip')
    for (const report of reports) {
      const [other] = await writeOther('many', report)
      const [current] = await writeCurrentReports(db, [{ tag: 'one', reports: [report] }])
      t.same(current ?? (await writeOther('one', report))[0], other)
    }
    const { rows } = await sql<{ stored: unknown[] }>`
      select (
        select array_agg(to_jsonb(hours) - 'monitor_id' order by hour) from monitor_hours as hours where monitor_id = id
      ) || (
        select array_agg(to_jsonb(days) - 'monitor_id' order by day) from monitor_days as days where monitor_id = id
      ) || (
        select to_jsonb(last) - 'monitor_id' - 'totals_hour' from last_reports as last where monitor_id = id
      ) as stored
      from monitors where tag in ('one', 'many')`.execute(db)
    t.same(rows[0], rows[1])

    const write = (...tags: string[]) =>
      writeCurrentReports(
        db,
        tags.map((tag) => ({ tag, reports: [{ status: 'UP', latency_ms: 1 }] })),
      )
    let results: unknown[] = []
    // The first report of an hour is written as others are, and an hour may begin between two statements.
    for (let tries = 0; tries < 2 && results[0] === undefined; tries++) {
      await writeOther('one', { status: 'UP', latency_ms: null })
      results = await write('one', 'one', 'none', 'm')
    }
    const written = { outcome: 'written', minutes: 1 }
    t.same(results, [written, written, undefined, undefined])

    await db.transaction().execute(async (locker) => {
      await locker.selectFrom('monitors').select('id').where('tag', '=', 'one').forNoKeyUpdate().execute()
      t.same(await write('one'), [undefined], 'not while its monitor is locked')
    })
    await sql`update last_reports set past_hour = totals_hour`.execute(db)
    t.same(await write('one'), [undefined], 'not after a report of the previous release')
    await sql`update last_reports set past_hour = null, totals_hour = totals_hour - 1`.execute(db)
    t.same(await write('one'), [undefined], 'not if the spans of uptime have moved')
  },
)

await t.test('an error in a pipelined transaction rolls all of it back', async (t) => {
  const { db } = await share()
  const add = (minute: number, last: string) =>
    pipelineTransaction(db, async (trx) => {
      await sql`insert into traffic (minute, requests) values (${minute}, 1)`.execute(trx)
      return { result: undefined, pending: sql.raw(last).execute(trx) }
    })
  await t.rejects(add(1, 'select 1 / 0'), { code: '22012' })
  await add(2, 'select 1')
  t.same(await db.selectFrom('traffic').select('minute').where('minute', '<', 3).execute(), [{ minute: 2 }])
})

await t.test('a rejected report does not affect the other reports of its batch', async (t) => {
  const { call, key } = await start(t)
  await call(key, 'POST /api/monitors', { tag: 'late', name: 'Late' })
  const replies = await times(30, (index) => {
    const tag = ['m', 'late', 'none'][index % 3]
    // The last minute that a time can name.
    const timestamp = tag === 'late' ? '9999-12-31T23:59:59Z' : iso(thisMinute() - index * minuteMs)
    return call(key, `POST /api/monitors/${tag}/data`, { status: 'UP', timestamp })
  })
  const expected = [200, 400, 404]
  replies.forEach(({ statusCode }, index) => {
    t.equal(statusCode, expected[index % 3])
  })
  t.equal((await call(key, 'GET /api/monitors/m/data')).json.data.length, 10)
})

await t.test(
  'uptime covers four periods, and counts degraded minutes as the monitor is configured',
  async (t) => {
    const { call, key } = await start(t)
    const now = thisMinute()
    const day = 1440 * minuteMs
    const report = (ago: number, status: string) => ({ status, timestamp: iso(now - ago) })
    const points = [
      ...[1, 2, 3].map((minute) => report(minute * minuteMs, 'UP')),
      report(4 * minuteMs, 'DOWN'),
      report(5 * minuteMs, 'MAINTENANCE'),
      report(6 * minuteMs, 'DEGRADED'),
      report(3 * day, 'DOWN'),
      report(20 * day, 'DOWN'),
      report(80 * day, 'DOWN'),
      report(100 * day, 'DOWN'),
    ]
    await call(key, 'POST /api/monitors/m/data', { points })
    const uptime = async () => (await call(key, 'GET /api/monitors/m')).json.data.uptime
    t.same(await uptime(), { '24h': 5 / 6, '7d': 5 / 7, '30d': 5 / 8, '90d': 5 / 9 })
    await call(key, 'PATCH /api/monitors/m', { degraded_counts_as_down: true })
    t.same(await uptime(), { '24h': 4 / 6, '7d': 4 / 7, '30d': 4 / 8, '90d': 4 / 9 })
  },
)

await t.test('a stale report no longer determines the status: a dead man’s switch', async (t) => {
  const { call, key } = await start(t)
  await call(key, 'PATCH /api/monitors/m', { default_status: 'DOWN', stale_after_seconds: 120 })
  const status = async () => (await call(key, 'GET /api/monitors/m')).json.data
  t.match(await status(), { status: 'DOWN', status_source: 'default' })
  const old = iso(Date.now() - 200_000)
  await call(key, 'POST /api/monitors/m/data', { status: 'UP', timestamp: old })
  t.match(await status(), { status: 'DOWN', status_source: 'default', last_report: { status: 'UP' } })
  await call(key, 'POST /api/monitors/m/data', { status: 'UP' })
  t.match(await status(), { status: 'UP', status_source: 'report' })
  await call(key, 'PATCH /api/monitors/m', { stale_after_seconds: null })
  t.match(await status(), { status: 'UP', status_source: 'report' })
})

await t.test('the age of a report is counted from its second, not from its minute', async (t) => {
  const { call, key } = await start(t)
  await call(key, 'PATCH /api/monitors/m', { default_status: 'DOWN', stale_after_seconds: 30 })
  const source = async () => (await call(key, 'GET /api/monitors/m')).json.data.status_source
  const report = (secondsAgo: number) =>
    call(key, 'POST /api/monitors/m/data', { status: 'UP', timestamp: iso(Date.now() - secondsAgo * 1000) })
  await report(40)
  t.equal(await source(), 'default')
  await report(15)
  t.equal(await source(), 'report')
  await call(key, 'PATCH /api/monitors/m', { stale_after_seconds: 10 })
  t.equal(await source(), 'default')
  await call(key, 'POST /api/monitors/m/data', { status: 'UP' })
  t.equal(await source(), 'report')
})

await t.test(
  'a report by a release that stores only the minute does not look younger than it is',
  async (t) => {
    const { call, key, db } = await start(t)
    await call(key, 'PATCH /api/monitors/m', { stale_after_seconds: 179 })
    await call(key, 'POST /api/monitors/m/data', { status: 'UP' })
    await sql`update last_reports set reported_at = minute * 60::bigint + 59, second = 59`.execute(db)
    await sql`update last_reports set minute = minute - 3`.execute(db)
    t.equal((await call(key, 'GET /api/monitors/m')).json.data.status_source, 'default')
  },
)

await t.test(
  'minutes are deleted after their retention, by one replica at a time; the daily totals stay',
  async (t) => {
    const { call, key, db } = await start(t)
    const day = 1440 * minuteMs
    const points = [1, 5, 89, 92, 300].map((days) => ({
      status: 'UP',
      timestamp: iso(thisMinute() - days * day),
    }))
    await call(key, 'POST /api/monitors/m/data', { points })
    const counts = await Promise.all(Array.from({ length: 4 }, () => removeOldMinutes(db, 90)))
    t.equal(
      counts.reduce((sum, count) => sum + count, 0),
      2,
    )
    const read = async (interval: string) =>
      (await call(key, `GET /api/monitors/m/data?interval=${interval}`)).json.data.length as number
    t.equal(await read('minute'), 3)
    t.equal(await read('day'), 5)
  },
)

await t.test('retention skips a locked monitor, and deletes its hours on the next run', async (t) => {
  const { db, call, key } = await start(t)
  const points = [100, 200].map((days) => ({
    status: 'UP',
    timestamp: iso(thisMinute() - days * 1440 * minuteMs),
  }))
  await call(key, 'POST /api/monitors/m/data', { points })
  await call(key, 'POST /api/monitors', { tag: 'busy', name: 'busy' })
  await call(key, 'POST /api/monitors/busy/data', { points })
  const writer = await db.startTransaction().execute()
  await writer.selectFrom('monitors').select('id').where('tag', '=', 'busy').forNoKeyUpdate().execute()
  t.equal(await removeOldMinutes(db, 90), 2)
  await writer.commit().execute()
  t.equal(await removeOldMinutes(db, 90), 2)
})

await t.test('a report about an hour that retention has removed is not counted again', async (t) => {
  const { db, call, key } = await start(t)
  const midnight = Math.floor(Date.now() / 86_400_000) * 86_400_000 - 100 * 86_400_000
  const report = (hour: number, status: string) =>
    call(key, 'POST /api/monitors/m/data', { status, timestamp: iso(midnight + hour * 3_600_000) })
  const readDay = async () => (await call(key, 'GET /api/monitors/m/data?interval=day')).json.data
  for (const hour of [0, 23]) await report(hour, 'UP')
  t.equal(await removeOldMinutes(db, 90), 2)
  for (const hour of [0, 23]) t.equal((await report(hour, 'DOWN')).json.data.written, 1)
  t.match(await readDay(), [{ up: 2, down: 0 }])
  await report(1, 'DOWN')
  t.match(await readDay(), [{ up: 2, down: 1 }], 'an hour of the same day that was never reported')
  const year = { from: iso(midnight), to: iso(midnight + 2 * 86_400_000), status: 'DEGRADED', latency_ms: 1 }
  await call(key, 'PUT /api/monitors/m/data', year)
  t.match(await readDay(), [{ up: 2, down: 0, degraded: 22 * 60 }, { degraded: 1440 }], 'nor by a fill')
})

await t.test('a long report never scans the table of hours, also while the table is small', async (t) => {
  const { db, call, key } = await start(t, { databasePoolMax: 1 })
  const from = iso(thisMinute() - 40 * 1440 * minuteMs)
  const fill = { from, to: iso(thisMinute()), status: 'UP', latency_ms: 5 }
  const before = await countScans(db)
  await call(key, 'PUT /api/monitors/m/data', fill)
  const after = await countScans(db)
  t.equal(after.table, before.table)
  t.ok(after.index > before.index, 'it uses the primary key')
})

await t.test('retention never scans the table of hours', async (t) => {
  const { db, call, key } = await start(t, { databasePoolMax: 1 })
  const points = [100, 200].map((days) => ({
    status: 'UP',
    timestamp: iso(thisMinute() - days * 1440 * minuteMs),
  }))
  await call(key, 'POST /api/monitors/m/data', { points })
  const before = await countScans(db)
  t.equal(await removeOldMinutes(db, 90), 2)
  const after = await countScans(db)
  t.equal(after.table, before.table)
  t.ok(after.index > before.index, 'it uses the primary key')
})

async function countScans(db: Kysely<Tables>): Promise<{ table: number; index: number }> {
  await sql`select pg_stat_force_next_flush()`.execute(db)
  const { rows } = await sql<{ table: number; index: number }>`
    select seq_scan::integer as table, idx_scan::integer as index
    from pg_stat_user_tables where relname = 'monitor_hours'`.execute(db)
  return rows[0] ?? { table: 0, index: 0 }
}

await t.test('a locked monitor delays reports about this monitor, and no others', async (t) => {
  const { db, call, key } = await start(t)
  for (const tag of ['busy', 'free']) await call(key, 'POST /api/monitors', { tag, name: tag })
  const report = (tag: string) => call(key, `POST /api/monitors/${tag}/data`, { status: 'UP' })
  const writer = await db.startTransaction().execute()
  await writer.selectFrom('monitors').select('id').where('tag', '=', 'busy').forNoKeyUpdate().execute()
  let answered = 0
  const waiting = times(30, async () => {
    const reply = await report('busy')
    answered++
    return reply
  })
  for (let round = 0; round < 20; round++) {
    const free = await times(30, () => report('free'))
    t.ok(free.every(({ statusCode }) => statusCode === 200))
    isErrorReply(t, await report('unknown'), 404, 'NOT_FOUND', 'an unknown monitor')
    t.notOk(await isWaitingForLock(db), 'no connection waits for the lock')
  }
  t.equal(answered, 0, 'the reports about the locked monitor wait')
  await writer.commit().execute()
  t.ok((await waiting).every(({ statusCode }) => statusCode === 200))
})

for (const table of ['monitor_hours', 'monitor_days', 'last_reports'] as const) {
  await t.test(`a locked row of ${table} delays reports about its monitor, and no others`, async (t) => {
    const { db, call, key } = await start(t)
    for (const tag of ['busy', 'free', 'new']) await call(key, 'POST /api/monitors', { tag, name: tag })
    const timestamp = iso(thisMinute())
    const report = (tag: string) => call(key, `POST /api/monitors/${tag}/data`, { status: 'UP', timestamp })
    await report('busy')
    const locker = await db.startTransaction().execute()
    await sql`select from ${sql.table(table)} for update`.execute(locker)
    let answered = 0
    const waiting = times(10, async () => {
      const reply = await report('busy')
      answered++
      return reply
    })
    for (let round = 0; round < 5; round++) {
      const others = await times(20, (index) => report(index % 2 ? 'free' : 'new'))
      t.ok(others.every(({ statusCode }) => statusCode === 200))
      isErrorReply(t, await report('unknown'), 404, 'NOT_FOUND', 'an unknown monitor')
      if (round > 0) t.notOk(await isWaitingForLock(db), 'no connection waits for the lock')
    }
    t.equal(answered, 0, 'the reports about its monitor wait')
    await locker.commit().execute()
    t.ok((await waiting).every(({ statusCode }) => statusCode === 200))
    const { rows } = await sql<{ up: number }>`select up from monitor_days order by monitor_id`.execute(db)
    t.same(
      rows.map(({ up }) => up),
      [1, 1, 1],
      'each report is counted once',
    )
  })
}

/** Returns the number of hours that this connection has read, with those of earlier transactions. */
async function readHours(trx: Replica['db']): Promise<number> {
  const { rows } = await sql<{ hours: number }>`
    select idx_tup_fetch::integer as hours from pg_stat_xact_user_tables where relname = 'monitor_hours'`.execute(
    trx,
  )
  return rows[0]?.hours ?? 0
}

await t.test('a page reads few more hours than it returns, however long the period is', async (t) => {
  const { call, key, db } = await start(t)
  const [from, to] = [iso(thisMinute() - 30 * 1440 * minuteMs), iso(thisMinute())]
  await call(key, 'PUT /api/monitors/m/data', { from, to, status: 'UP' })
  for (const [limit, hoursMax] of [
    [2, 5],
    [120, 10],
    [10_000, 400],
  ] as const) {
    await db.transaction().execute(async (trx) => {
      // On a table that was never analyzed, a plan that reads all of it may be preferred.
      await sql`set local enable_seqscan = off`.execute(trx)
      await sql`set local enable_bitmapscan = off`.execute(trx)
      const page = { from: 0, to: 2 ** 31, interval: 'minute', limit } as const
      const before = await readHours(trx)
      t.equal((await readSeries(trx, 'm', page)).length, limit)
      const hours = (await readHours(trx)) - before
      t.ok(hours > 0 && hours <= hoursMax, `${hours} hours for ${limit} minutes`)
    })
  }
})

await t.test('the stored totals of uptime follow all reports', async (t) => {
  const replica = await startReplica(t)
  const { call, db } = replica
  const { token: key } = await newKey(replica)
  await call(key, 'PUT /api/monitors/one', { name: 'One' })
  const now = Date.now()
  const time = (minutesAgo: number) => `${new Date(now - minutesAgo * 60_000).toISOString().slice(0, 19)}Z`
  const report = (status: string, minutesAgo: number) =>
    call(key, 'POST /api/monitors/one/data', { status, timestamp: time(minutesAgo) })
  const fill = (status: string, fromDaysAgo: number, toDaysAgo: number) =>
    call(key, 'PUT /api/monitors/one/data', {
      from: time(fromDaysAgo * 1440),
      to: time(toDaysAgo * 1440),
      status,
      latency_ms: null,
    })
  const writes: [name: string, write: () => Promise<unknown>][] = [
    ['the first report', () => report('UP', 0)],
    ['100 days', () => fill('UP', 100, 0)],
    ['an earlier hour', () => report('DOWN', 180)],
    ['yesterday', () => report('DOWN', 1440)],
    ['days of all spans', () => fill('DOWN', 60, 5)],
    [
      'a minute of a month ago',
      () =>
        call(key, `PATCH /api/v4/monitors/one/data/${Math.floor(now / 1000) - 30 * 86_400}`, {
          status: 'DEGRADED',
        }),
    ],
  ]
  for (const [name, write] of writes) {
    await write()
    const uptime = async () => (await call(key, 'GET /api/monitors/one')).json.data.uptime
    const stored = await uptime()
    // As a report of the previous release does.
    await db
      .updateTable('last_reports')
      .set({ past_hour: sql`totals_hour` })
      .execute()
    t.same(stored, await uptime(), name)
    await db.updateTable('last_reports').set({ past_hour: null }).execute()
  }

  await sql`
    update last_reports set totals_hour = totals_hour - 1,
      totals = ${sumSpans(sql`last_reports.monitor_id`, sql`(last_reports.totals_hour - 1)`)}`.execute(db)
  await report('UP', 0)
  const moved = (await call(key, 'GET /api/monitors/one')).json.data.uptime
  await sql`update last_reports set past_hour = totals_hour`.execute(db)
  t.same(
    moved,
    (await call(key, 'GET /api/monitors/one')).json.data.uptime,
    'the first report of the next hour',
  )

  await report('UP', 0)
  await db
    .updateTable('last_reports')
    .set({ totals: Array<number>(16).fill(10_000_000) })
    .execute()
  const uptime30d = async () =>
    Math.round((await call(key, 'GET /api/monitors/one')).json.data.uptime['30d'] * 100)
  t.equal(await uptime30d(), 75, 'the stored totals are used')

  await db
    .updateTable('last_reports')
    .set({ past_hour: sql`totals_hour` })
    .execute()
  await report('UP', 0)
  t.not(await uptime30d(), 75, 'totals are summed again after a report of the previous release')
})
