import { sql } from 'kysely'
import t from 'tap'
import { isWaitingForLock, newKey, shareReplica, times, waitUntil } from './helper.ts'
import { fails, newYear, start } from './kener.ts'

const share = shareReplica(t)

await t.test('monitors: a Kener client can create, read, update and delete them', async (t) => {
  const { kener } = await start(await share())
  t.same(await kener.listMonitors(), [])
  const created = await kener.createMonitor({ tag: ' earth ', name: ' Earth ' })
  t.match(
    created,
    {
      tag: 'earth',
      name: 'Earth',
      description: null,
      image: null,
      cron: '* * * * *',
      default_status: 'UP',
      status: 'ACTIVE',
      category_name: null,
      monitor_type: 'API',
      type_data: {},
      include_degraded_in_downtime: 'NO',
      is_hidden: 'NO',
      confirmation_threshold: 1,
      external_url: null,
    },
    "omitted fields have Kener's defaults",
  )
  t.match(created.monitor_settings_json, { uptime_formula_numerator: 'up + maintenance + degraded' })
  t.same(await kener.getMonitor('earth'), created)

  const full = {
    tag: 'moon',
    name: 'Moon',
    description: 'It goes around',
    image: '/moon.png',
    cron: '*/5 * * * *',
    default_status: 'NO_DATA',
    status: 'INACTIVE',
    category_name: 'Bodies',
    monitor_type: 'SSL',
    type_data: { z: 1, a: { deep: [true, null, 1.5, 'é💡'] } },
    include_degraded_in_downtime: 'YES',
    is_hidden: 'YES',
    confirmation_threshold: 5,
    monitor_settings_json: { uptime_formula_numerator: 'up' },
    external_url: 'https://www.example.com/moon',
  }
  const moon = await kener.createMonitor(full)
  t.match(moon, full, 'all fields are returned')
  t.equal(JSON.stringify(moon.type_data), JSON.stringify(full.type_data), 'the order of keys is kept')
  t.same(
    (await kener.listMonitors()).map(({ tag }) => tag),
    ['moon', 'earth'],
    'newest first',
  )

  const changed = await kener.updateMonitor('moon', { name: 'Luna', type_data: { a: 2, b: 3 } })
  t.match(changed, { ...full, name: 'Luna', type_data: {} }, 'omitted fields are kept')
  t.same(changed.type_data, { z: 1, a: 2, b: 3 }, 'objects are merged')
  t.match(
    await kener.updateMonitor('moon', { include_degraded_in_downtime: 'NO', confirmation_threshold: null }),
    { include_degraded_in_downtime: 'NO', confirmation_threshold: 1 },
    'Kener ignores the first; null is the default',
  )
  const cleared = {
    ...{ description: null, image: null, cron: null, category_name: '', external_url: '' },
    ...{ type_data: null, monitor_settings_json: null, status: null, default_status: null, is_hidden: null },
  }
  t.match(await kener.updateMonitor('moon', cleared), {
    ...{ description: null, image: null, cron: null, category_name: '', external_url: '' },
    ...{ type_data: {}, status: 'ACTIVE', default_status: 'UP', is_hidden: 'NO' },
  })
  const before = await kener.getMonitor('moon')
  const after = await kener.updateMonitor('moon', before)
  t.same({ ...after, updated_at: before.updated_at }, before, 'a response can be sent back')

  t.equal(await kener.deleteMonitor('moon'), "Monitor 'moon' deleted successfully")
  await fails(t, kener.deleteMonitor('moon'), 404, 'NOT_FOUND', 'again')
  await fails(t, kener.getMonitor('moon'), 404, 'NOT_FOUND', 'reading')
  await fails(t, kener.updateMonitor('moon', { name: 'M' }), 404, 'NOT_FOUND', 'updating')
})

await t.test('settings are merged into the default formulas by an update only', async (t) => {
  const { kener, call, key } = await start(await share())
  const formulas = {
    uptime_formula_numerator: 'up + maintenance + degraded',
    uptime_formula_denominator: 'up + down + degraded + maintenance',
  }
  await call(key, 'POST /api/monitors', { tag: 'own', name: 'O' })
  const update = (settings: object | null) => kener.updateMonitor('own', { monitor_settings_json: settings })
  t.same((await update({ a: 1 })).monitor_settings_json, { ...formulas, a: 1 })
  t.same((await update(null)).monitor_settings_json, formulas)
  t.same((await update({ uptime_formula_numerator: 'up' })).monitor_settings_json, {
    ...formulas,
    uptime_formula_numerator: 'up',
  })
  for (const settings of [{}, { a: 1 }]) {
    const tag = `new${Object.keys(settings).length}`
    const created = await kener.createMonitor({ tag, name: 'N', monitor_settings_json: settings })
    t.same(created.monitor_settings_json, settings, 'as sent')
  }
})

await t.test('settings, which may contain secrets, are shown only to keys that may write them', async (t) => {
  const replica = await share()
  const { kener } = await start(replica)
  const settings = { type_data: { token: 'hush' }, monitor_settings_json: { a: 1 } }
  await kener.createMonitor({ tag: 'm', name: 'M', ...settings })
  const cases = [
    [['read:monitors'], { type_data: {}, monitor_settings_json: {} }],
    [['read:monitors', 'delete:monitors', 'write:incidents'], { type_data: {}, monitor_settings_json: {} }],
    [['read:monitors', 'write:monitors'], settings],
    [['admin'], settings],
  ] as const
  for (const [permissions, expected] of cases) {
    const { token } = await newKey(replica, { permissions: [...permissions] })
    const one = (await replica.call(token, 'GET /api/v4/monitors/m')).json.monitor
    const [listed] = (await replica.call(token, 'GET /api/v4/monitors')).json.monitors
    for (const { type_data, monitor_settings_json } of [one, listed]) {
      t.same({ type_data, monitor_settings_json }, expected, permissions.join())
    }
  }
  const { token: writer } = await newKey(replica, { permissions: ['write:monitors'] })
  const changed = await replica.call(writer, 'PATCH /api/v4/monitors/m', { type_data: {} })
  t.same(changed.json.monitor.type_data, settings.type_data, 'what a reader got can be sent back')
})

await t.test('an explicit null is returned as null', async (t) => {
  const { kener, call, key } = await start(await share())
  t.equal((await kener.createMonitor({ tag: 'null', name: 'N', cron: null })).cron, null)
  await call(key, 'POST /api/monitors', { tag: 'own', name: 'O' })
  t.match(await kener.getMonitor('own'), {
    cron: '* * * * *',
    monitor_type: 'NONE',
    default_status: 'NO_DATA',
  })
})

await t.test('monitors are filtered as in Kener', async (t) => {
  const { kener, call, key } = await start(await share())
  await kener.createMonitor({ tag: 'a', name: 'A', status: 'INACTIVE', category_name: 'C' })
  await kener.createMonitor({ tag: 'b', name: 'B', is_hidden: 'YES', monitor_type: 'A later type' })
  await call(key, 'POST /api/monitors', { tag: 'c', name: 'C' })
  const tags = async (filter: Record<string, string>) =>
    (await kener.listMonitors(filter)).map(({ tag }) => tag)
  t.same(await tags({ status: 'INACTIVE' }), ['a'])
  t.same(await tags({ status: 'ACTIVE' }), ['c', 'b'])
  t.same(await tags({ category_name: 'C' }), ['a'])
  t.same(await tags({ category_name: 'All Categories' }), ['c', 'b', 'a'])
  t.same(await tags({ is_hidden: 'YES' }), ['b'])
  t.same(await tags({ is_hidden: 'NO', status: 'ACTIVE' }), ['c'])
  t.same(await tags({ monitor_type: 'A later type' }), ['b'])
  t.same(await tags({ monitor_type: 'NONE' }), ['c'])
  t.same(await tags({ status: '', category_name: '', monitor_type: '', is_hidden: '', other: 'x' }), [
    'c',
    'b',
    'a',
  ])
  await fails(t, kener.listMonitors({ status: 'UP' }), 400, 'BAD_REQUEST', 'unknown status')
  await fails(t, kener.listMonitors({ is_hidden: 'yes' }), 400, 'BAD_REQUEST', 'lower case')
})

await t.test('data: minutes can be filled, read, and updated one by one', async (t) => {
  const { kener } = await start(await share())
  await kener.createMonitor({ tag: 'm', name: 'M' })
  const fill = { start_ts: newYear + 30, end_ts: newYear + 630, status: 'UP', latency: 100.4 }
  t.equal(await kener.fillData('m', fill), 10, 'bounds are rounded down, and the end is exclusive')
  const data = await kener.getData('m', newYear + 59, newYear + 6_000)
  t.same(
    data,
    Array.from({ length: 10 }, (_, index) => {
      return { monitor_tag: 'm', timestamp: newYear + index * 60, status: 'UP', latency: 100, type: 'MANUAL' }
    }),
  )
  t.equal(
    await kener.fillData('m', { ...fill, start_ts: newYear + 10, end_ts: newYear + 20 }),
    1,
    'less than a minute counts as one',
  )
  await fails(
    t,
    kener.getData('m', newYear + 10, newYear + 20),
    400,
    'BAD_REQUEST',
    'reading less than a minute',
  )

  t.same(await kener.getPoint('m', newYear + 61.0), data[1])
  await fails(t, kener.getPoint('m', newYear - 60), 404, 'NOT_FOUND', 'no report')
  t.match(await kener.updatePoint('m', newYear + 65, { status: 'DOWN' }), {
    ...{ timestamp: newYear + 60, status: 'DOWN', latency: 100 },
  })
  t.match(await kener.updatePoint('m', newYear + 60, { latency: 7.6 }), { status: 'DOWN', latency: 8 })
  t.match(await kener.updatePoint('m', newYear - 60, {}), { status: 'UP', latency: 0 }, 'the default status')
  await kener.updateMonitor('m', { default_status: 'DEGRADED' })
  t.match(await kener.updatePoint('m', newYear - 120, { latency: 5 }), { status: 'DEGRADED', latency: 5 })
  t.equal((await kener.getData('m', 0, 253_402_300_799)).length, 12, 'all minutes')

  t.equal(await kener.fillData('m', { ...fill, deviation: 50, end_ts: newYear + 360_000 }), 6_000)
  const latencies = (await kener.getData('m', newYear, newYear + 360_000)).map(({ latency }) => latency)
  t.equal(latencies.length, 6_000)
  t.same([Math.min(...latencies), Math.max(...latencies)], [50, 150], 'latencies cover the whole deviation')
  t.ok(new Set(latencies).size > 90, 'each minute has its own latency')
  t.equal(await kener.fillData('m', { ...fill, latency: 1, deviation: 5 }), 10)
  t.ok(
    (await kener.getData('m', newYear, newYear + 600)).every(({ latency }) => latency >= 0),
    'latencies are not negative',
  )
})

await t.test('a long period is read page by page', async (t) => {
  const { kener, statements } = await start(await share())
  await kener.createMonitor({ tag: 'm', name: 'M' })
  const days = 30
  const written = await kener.fillData('m', {
    ...{ start_ts: newYear, end_ts: newYear + days * 86_400, status: 'UP', latency: 1 },
  })
  t.equal(written, days * 1440)
  await kener.updatePoint('m', newYear + 400 * 60, { status: 'DOWN' })
  await kener.updatePoint('m', 60, { status: 'DEGRADED' })
  statements.length = 0
  const data = await kener.getData('m', 0, newYear + 400 * 86_400)
  t.ok(statements.length < 12, `${statements.length} statements`)
  t.equal(data.length, written + 1)
  t.same(
    data.slice(1).map(({ timestamp }) => timestamp),
    Array.from({ length: written }, (_, index) => newYear + index * 60),
    'every minute once, ascending',
  )
  t.same(
    data.filter(({ status }) => status !== 'UP').map(({ timestamp }) => timestamp),
    [60, newYear + 400 * 60],
  )
})

await t.test(
  'concurrent updates of different fields of a minute, or of an object, are all applied',
  async (t) => {
    const { kener } = await start(await share())
    await kener.createMonitor({ tag: 'm', name: 'M' })
    const minutes = Array.from({ length: 20 }, (_, index) => newYear + index * 60)
    await Promise.all(
      minutes.flatMap((minute) => [
        kener.updatePoint('m', minute, { status: 'DOWN' }),
        kener.updatePoint('m', minute, { latency: 9 }),
      ]),
    )
    for (const point of await kener.getData('m', newYear, newYear + 1_200)) {
      t.match(point, { status: 'DOWN', latency: 9 })
    }
    await times(20, (index) => kener.updateMonitor('m', { type_data: { [`field${index}`]: index } }))
    t.equal(Object.keys((await kener.getMonitor('m')).type_data).length, 20)
  },
)

await t.test('extra fields are bounded, and so are the values of a body', async (t) => {
  const { kener, call, key } = await start(await share())
  const big = (length: number) => ({ a: 'x'.repeat(length) })
  await kener.createMonitor({ tag: 'm', name: 'M', type_data: big(60_000) })
  await fails(
    t,
    kener.createMonitor({ tag: 'n', name: 'N', type_data: big(66_000) }),
    400,
    'BAD_REQUEST',
    'in one request',
  )
  await fails(
    t,
    kener.updateMonitor('m', { type_data: { b: 'x'.repeat(6_000) } }),
    400,
    'BAD_REQUEST',
    'in several requests',
  )
  t.same((await kener.getMonitor('m')).type_data, big(60_000))
  await kener.updateMonitor('m', { monitor_settings_json: { b: 'x'.repeat(6_000) }, image: '/m.png' })
  t.same((await kener.getMonitor('m')).type_data, big(60_000), 'only the fields that were sent count')
  t.equal((await kener.updateMonitor('m', { type_data: { a: 1, b: 'x'.repeat(6_000) } })).type_data.a, 1)
  await kener.createMonitor({ tag: 'wide', name: 'W', ignored: Array(30_000).fill(1) })
  const reply = await call(key, 'DELETE /api/v4/monitors/wide', { ignored: true })
  t.equal(reply.statusCode, 200, 'the body of a DELETE is ignored too')
})

await t.test('an update of a minute uses the default status that a concurrent update sets', async (t) => {
  const { kener, db } = await start(await share())
  await kener.createMonitor({ tag: 'm', name: 'M' })
  const other = await db.startTransaction().execute()
  await other.updateTable('monitors').set({ default_status: 'DOWN' }).execute()
  const pending = kener.updatePoint('m', newYear, { latency: 5 })
  await waitUntil(() => isWaitingForLock(db))
  await other.commit().execute()
  t.match(await pending, { status: 'DOWN', latency: 5 })
})

await t.test('lists of any length are complete and ordered, and are read in pages', async (t) => {
  const { kener, db, statements } = await start(await share())
  await sql`
    insert into monitors (tag, name, default_status, enabled, hidden, degraded_counts_as_down)
    select 'm' || number, 'M', 'UP', true, false, false from generate_series(1, 120) as number`.execute(db)
  statements.length = 0
  const tags = (await kener.listMonitors()).map(({ tag }) => tag)
  t.same(
    tags,
    Array.from({ length: 120 }, (_, index) => `m${120 - index}`),
  )
  t.equal(statements.filter((text) => text.includes('kener_monitors')).length, 3)

  await sql`
    insert into incidents (title, state, started_at)
    select 'Incident ' || number, 'INVESTIGATING', now() from generate_series(1, 1010) as number`.execute(db)
  const incidents = await kener.listIncidents()
  t.same(
    [incidents.length, incidents[0]?.title, incidents.at(-1)?.title],
    [1_000, 'Incident 1010', 'Incident 11'],
  )
})
