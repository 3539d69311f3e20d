import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { type Permission, permissions } from '../src/permissions.ts'
import { isErrorReply, newKey, type Replica, startReplica, times, waitForRoomInMinute } from './helper.ts'
import { createKenerClient, KenerError } from './kener-client.ts'

type Kener = ReturnType<typeof createKenerClient>

async function start(t: Test): Promise<Replica & { key: string; kener: Kener }> {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  return { ...replica, key: token, kener: createKenerClient(replica, token) }
}

/** Returns the start of the current minute, in seconds since 1970. */
const thisMinute = () => Math.floor(Date.now() / 60_000) * 60
const newYear = Date.UTC(2026, 0, 1) / 1000

async function fails(t: Test, response: Promise<unknown>, status: number, code: string, name: string) {
  const error = await response.then(
    () => undefined,
    (error: unknown) => error,
  )
  t.ok(error instanceof KenerError, `${name}: is rejected (${String(error)})`)
  t.match(error, { status, code }, name)
}

await t.test('monitors: a Kener client can create, read, update and delete them', async (t) => {
  const { kener } = await start(t)
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

await t.test('an explicit null is returned as null', async (t) => {
  const { kener, call, key } = await start(t)
  t.equal((await kener.createMonitor({ tag: 'null', name: 'N', cron: null })).cron, null)
  await call(key, 'POST /api/monitors', { tag: 'own', name: 'O' })
  t.match(await kener.getMonitor('own'), {
    cron: '* * * * *',
    monitor_type: 'NONE',
    default_status: 'NO_DATA',
  })
})

await t.test('monitors are filtered as in Kener', async (t) => {
  const { kener, call, key } = await start(t)
  await kener.createMonitor({ tag: 'a', name: 'A', status: 'INACTIVE', category_name: 'C' })
  await kener.createMonitor({ tag: 'b', name: 'B', is_hidden: 'YES', monitor_type: 'TCP' })
  await call(key, 'POST /api/monitors', { tag: 'c', name: 'C' })
  const tags = async (filter: Record<string, string>) =>
    (await kener.listMonitors(filter)).map(({ tag }) => tag)
  t.same(await tags({ status: 'INACTIVE' }), ['a'])
  t.same(await tags({ status: 'ACTIVE' }), ['c', 'b'])
  t.same(await tags({ category_name: 'C' }), ['a'])
  t.same(await tags({ category_name: 'All Categories' }), ['c', 'b', 'a'])
  t.same(await tags({ is_hidden: 'YES' }), ['b'])
  t.same(await tags({ is_hidden: 'NO', status: 'ACTIVE' }), ['c'])
  t.same(await tags({ monitor_type: 'TCP' }), ['b'])
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
  const { kener } = await start(t)
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
  const { kener, statements } = await start(t)
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
    const { kener } = await start(t)
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

await t.test('incidents: a Kener client can create, read, update and delete them', async (t) => {
  const { kener } = await start(t)
  for (const tag of ['a', 'b']) await kener.createMonitor({ tag, name: tag })
  const created = await kener.createIncident({
    title: ' Slow ',
    start_date_time: newYear + 59,
    monitors: [{ monitor_tag: 'b' }, { monitor_tag: 'a', impact: 'UP' }],
  })
  t.match(created, {
    title: 'Slow',
    start_date_time: newYear,
    end_date_time: null,
    state: 'INVESTIGATING',
    incident_type: 'INCIDENT',
    incident_source: 'API',
    monitors: [
      { monitor_tag: 'a', impact: 'UP' },
      { monitor_tag: 'b', impact: 'DOWN' },
    ],
  })
  t.same(await kener.getIncident(created.id), created)
  t.equal(
    new URL(created.url).pathname,
    `/api/v4/incidents/${created.id}`,
    'the url is that of the incident in the API',
  )

  const changed = await kener.updateIncident(created.id, {
    title: 'Slower',
    monitors: [{ monitor_tag: 'a', impact: null }],
  })
  t.match(changed, {
    title: 'Slower',
    start_date_time: newYear,
    monitors: [{ monitor_tag: 'a', impact: 'DOWN' }],
  })
  t.match(await kener.updateIncident(created.id, { end_date_time: newYear + 3_659 }), {
    ...{ end_date_time: newYear + 3_600, state: 'INVESTIGATING' },
  })
  t.equal((await kener.updateIncident(created.id, { end_date_time: null })).end_date_time, null)
  t.same((await kener.updateIncident(created.id, { monitors: [] })).monitors, [])
  const planned = { title: 'P', start_date_time: newYear, end_date_time: newYear + 60 }
  t.match(await kener.createIncident(planned), { end_date_time: newYear + 60, state: 'INVESTIGATING' })
  t.equal(
    (await kener.createIncident({ ...planned, end_date_time: 0 })).end_date_time,
    null,
    '0 means no end',
  )

  t.equal(await kener.deleteIncident(created.id), `Incident with id '${created.id}' deleted successfully`)
  await fails(t, kener.deleteIncident(created.id), 404, 'NOT_FOUND', 'again')
  await fails(t, kener.getIncident(created.id), 404, 'NOT_FOUND', 'reading')
  await fails(t, kener.updateIncident(created.id, { title: 'T' }), 404, 'NOT_FOUND', 'updating')
  await fails(t, kener.listComments(created.id), 404, 'NOT_FOUND', 'listing comments')
  await fails(
    t,
    kener.createComment(created.id, { comment: 'C', state: 'RESOLVED' }),
    404,
    'NOT_FOUND',
    'commenting',
  )
})

await t.test('incidents are filtered by start and by monitor', async (t) => {
  const { kener } = await start(t)
  for (const tag of ['a', 'b', 'c']) await kener.createMonitor({ tag, name: tag })
  for (const [index, tags] of [...[['a'], ['b'], ['a', 'b'], []].entries()].reverse()) {
    const monitors = tags.map((monitor_tag) => ({ monitor_tag, impact: 'DEGRADED' }))
    await kener.createIncident({ title: String(index), start_date_time: newYear + index * 3_600, monitors })
  }
  const titles = async (filter: Record<string, string | number>) =>
    (await kener.listIncidents(filter)).map(({ title }) => title).join('')
  t.equal(await titles({}), '0123', 'newest first')
  t.equal(await titles({ start_ts: newYear + 3_600 }), '123')
  t.equal(await titles({ end_ts: newYear + 3_600 }), '01', 'the end is inclusive')
  t.equal(await titles({ start_ts: newYear + 1, end_ts: newYear + 7_200 }), '12')
  t.equal(await titles({ monitor_tags: 'a' }), '02')
  t.equal(await titles({ monitor_tags: 'a, b' }), '012')
  t.equal(await titles({ monitor_tags: 'c,unknown' }), '')
  t.equal(await titles({ start_ts: '', end_ts: '', monitor_tags: '' }), '0123', 'empty filters are ignored')
  await fails(t, kener.listIncidents({ start_ts: '1abc' }), 400, 'BAD_REQUEST', 'not a number')
})

await t.test('comments: a new comment sets the state of the incident, an update does not', async (t) => {
  const { kener } = await start(t)
  const { id } = await kener.createIncident({ title: 'T', start_date_time: newYear })
  const first = await kener.createComment(id, {
    comment: ' C ',
    state: 'IDENTIFIED',
    timestamp: newYear + 119,
  })
  t.match(first, { incident_id: id, comment: 'C', state: 'IDENTIFIED', timestamp: newYear + 60 })
  t.equal((await kener.getIncident(id)).state, 'IDENTIFIED')
  const before = thisMinute()
  const second = await kener.createComment(id, { comment: 'D', state: 'RESOLVED', timestamp: null })
  t.ok([before, thisMinute()].includes(second.timestamp), 'the default time is the current minute')
  t.match(await kener.getIncident(id), { state: 'RESOLVED', end_date_time: second.timestamp })
  t.same(await kener.listComments(id), [second, first], 'newest first')

  const updated = await kener.updateComment(id, first.id, {
    comment: 'E',
    state: 'MONITORING',
    timestamp: newYear + 1,
  })
  t.match(updated, { id: first.id, comment: 'E', state: 'MONITORING', timestamp: newYear })
  t.ok(updated.updated_at > first.updated_at)
  t.equal(updated.created_at, first.created_at)
  t.same(await kener.getComment(id, first.id), updated)
  t.equal((await kener.getIncident(id)).state, 'RESOLVED')

  await kener.createComment(id, { comment: 'Again', state: 'INVESTIGATING' })
  t.match(
    await kener.getIncident(id),
    { state: 'INVESTIGATING', end_date_time: null },
    'the incident is open again',
  )
  const other = await kener.createIncident({ title: 'O', start_date_time: newYear })
  await fails(t, kener.getComment(other.id, first.id), 404, 'NOT_FOUND', 'of another incident')
  t.equal(await kener.deleteComment(id, first.id), `Comment with id '${first.id}' deleted successfully`)
  await fails(t, kener.deleteComment(id, first.id), 404, 'NOT_FOUND', 'again')
  await fails(t, kener.getComment(id, first.id), 404, 'NOT_FOUND', 'reading')
  await fails(t, kener.updateComment(id, first.id, { comment: 'F' }), 404, 'NOT_FOUND', 'updating')
})

await t.test('RESOLVED ends an incident that has a planned end', async (t) => {
  const { kener } = await start(t)
  const planned = { title: 'T', start_date_time: newYear, end_date_time: thisMinute() + 86_400 }
  const { id } = await kener.createIncident(planned)
  await kener.createComment(id, { comment: 'Over', state: 'RESOLVED', timestamp: newYear + 600 })
  t.equal((await kener.getIncident(id)).end_date_time, newYear + 600)
})

const once = 'FREQ=MINUTELY;COUNT=1'
const hour = 3_600

await t.test('maintenances: a Kener client can create, read, update and delete them', async (t) => {
  const { kener } = await start(t)
  for (const tag of ['a', 'b']) await kener.createMonitor({ tag, name: tag })
  const soon = thisMinute() + 24 * hour
  const created = await kener.createMaintenance({
    ...{
      title: ' Upgrade ',
      start_date_time: soon + 59,
      rrule: once,
      duration_seconds: hour,
      status: 'ignored',
    },
    monitors: [{ monitor_tag: 'b', impact: 'DOWN' }, { monitor_tag: 'a' }],
  })
  t.match(created, {
    ...{ title: 'Upgrade', description: null, start_date_time: soon, rrule: once, duration_seconds: hour },
    status: 'ACTIVE',
    monitors: [
      { monitor_tag: 'a', impact: 'MAINTENANCE' },
      { monitor_tag: 'b', impact: 'DOWN' },
    ],
  })
  t.same(await kener.getMaintenance(created.id), created)
  t.equal(
    new URL(created.url).pathname,
    `/api/v4/maintenances/${created.id}`,
    'the url is that of the maintenance in the API',
  )
  const weekly = {
    title: 'W',
    start_date_time: newYear,
    rrule: ' FREQ=WEEKLY;BYDAY=TH ',
    duration_seconds: 60,
  }
  const other = await kener.createMaintenance({ ...weekly, description: 'D' })
  t.match(other, { rrule: 'FREQ=WEEKLY;BYDAY=TH', description: 'D', monitors: [] })

  t.match(
    await kener.updateMaintenance(created.id, {
      status: 'INACTIVE',
      monitors: [{ monitor_tag: 'a', impact: 'UP' }],
    }),
    { title: 'Upgrade', status: 'INACTIVE', monitors: [{ monitor_tag: 'a', impact: 'UP' }] },
  )
  const ids = async (filter: Record<string, string>) =>
    (await kener.listMaintenances(filter)).map(({ id }) => id)
  t.same(await ids({}), [other.id, created.id], 'newest first')
  t.same(await ids({ status: 'ACTIVE' }), [other.id])
  t.same(await ids({ status: 'INACTIVE', monitor_tag: 'a' }), [created.id])
  t.same(await ids({ monitor_tag: 'b' }), [])
  t.same(await ids({ status: '', monitor_tag: '' }), [other.id, created.id])
  await fails(t, kener.listMaintenances({ status: 'JUNK' }), 400, 'BAD_REQUEST', 'unknown status')

  t.equal(
    await kener.deleteMaintenance(created.id),
    `Maintenance with id '${created.id}' deleted successfully`,
  )
  await fails(t, kener.deleteMaintenance(created.id), 404, 'NOT_FOUND', 'again')
  await fails(t, kener.getMaintenance(created.id), 404, 'NOT_FOUND', 'reading')
  await fails(t, kener.updateMaintenance(created.id, { title: 'T' }), 404, 'NOT_FOUND', 'updating')
  await fails(t, kener.listEvents(created.id), 404, 'NOT_FOUND', 'listing events')
  await fails(t, kener.getEvent(created.id, 1), 404, 'NOT_FOUND', 'reading an event')
})

await t.test(
  'events: they are generated by the rule, and each can be moved, closed and deleted',
  async (t) => {
    const { kener } = await start(t)
    const begin = thisMinute()
    const daily = {
      title: 'D',
      start_date_time: begin - hour,
      rrule: 'FREQ=DAILY',
      duration_seconds: 2 * hour,
    }
    const { id } = await kener.createMaintenance(daily)
    const { events, page, limit } = await kener.listEvents(id)
    t.same([page, limit], [1, 20])
    t.ok(events.length >= 7, 'events of a week')
    t.same(
      events.map(({ start_date_time, end_date_time }) => [start_date_time, end_date_time]),
      events.map((_, index) => [begin - hour + index * 24 * hour, begin + hour + index * 24 * hour]),
    )
    t.same(
      events.slice(0, 2).map(({ status }) => status),
      ['ONGOING', 'SCHEDULED'],
    )
    const [first, second, third] = events.map((event) => event.id) as [number, number, number]
    t.same(await kener.getEvent(id, first), events[0])
    t.same((await kener.listEvents(id, { page: 2, limit: 2 })).events, events.slice(2, 4))
    t.match(
      await kener.listEvents(id, { page: 0, limit: 1_000 }),
      { page: 1, limit: 100 },
      'values out of bounds are clamped',
    )
    t.match(await kener.listEvents(id, { page: 0, limit: 0 }), { page: 1, limit: 20 }, '0 is the default')
    t.same((await kener.listEvents(id, { page: 99 })).events, [])

    t.match(await kener.updateEvent(id, second, { status: 'CANCELLED' }), {
      ...{ status: 'CANCELLED', start_date_time: begin + 23 * hour, end_date_time: begin + 25 * hour },
    })
    await fails(
      t,
      kener.updateEvent(id, second, { status: 'COMPLETED' }),
      400,
      'BAD_REQUEST',
      'a cancelled event',
    )
    await fails(
      t,
      kener.updateEvent(id, third, { status: 'COMPLETED' }),
      400,
      'BAD_REQUEST',
      'an event that has not started',
    )
    const completed = await kener.updateEvent(id, first, { status: 'COMPLETED' })
    t.equal(completed.status, 'COMPLETED')
    t.ok(completed.end_date_time < begin + hour, 'the event ends now')
    const moved = { start_date_time: begin + 90 * hour + 30, end_date_time: begin + 91 * hour + 30 }
    t.match(await kener.updateEvent(id, third, moved), {
      ...{ start_date_time: begin + 90 * hour, end_date_time: begin + 91 * hour, status: 'SCHEDULED' },
    })
    t.equal(await kener.deleteEvent(id, third), `Event with id '${third}' deleted successfully`)
    await fails(t, kener.deleteEvent(id, third), 404, 'NOT_FOUND', 'again')
    await fails(t, kener.updateEvent(id, third, moved), 404, 'NOT_FOUND', 'moving')
    await fails(t, kener.updateEvent(id, third, { status: 'CANCELLED' }), 404, 'NOT_FOUND', 'closing')
    const other = await kener.createMaintenance(daily)
    await fails(t, kener.getEvent(other.id, first), 404, 'NOT_FOUND', 'of another maintenance')

    await kener.updateMaintenance(id, { title: 'E' })
    t.same(
      (await kener.listEvents(id)).events.map((event) => event.id),
      events.map((event) => event.id).filter((event) => event !== third),
      'a deleted event is not generated again',
    )
  },
)

await t.test('the events of all maintenances are listed together', async (t) => {
  const { kener } = await start(t)
  for (const tag of ['a', 'b']) await kener.createMonitor({ tag, name: tag })
  // An event that starts in the current second could be upcoming or ongoing.
  const begin = thisMinute() - 60
  const make = async (title: string, inHours: number, tags: string[]) =>
    kener.createMaintenance({
      ...{ title, start_date_time: begin + inHours * hour, rrule: once, duration_seconds: hour },
      monitors: tags.map((monitor_tag) => ({ monitor_tag })),
    })
  await make('past', -5, ['a'])
  const now = await make('now', 0, ['a'])
  await make('late', 50, ['a', 'b'])
  await make('soon', 2, ['b'])
  const titles = async (filter: Record<string, string | number>) => {
    const { events, total } = await kener.listAllEvents(filter)
    return `${events.map((event) => event.maintenance_title).join()} of ${total}`
  }
  t.equal(await titles({}), 'soon,late of 2', 'from now')
  t.equal(await titles({ event_start_date_time: begin - 24 * hour }), 'past,now,soon,late of 4')
  t.equal(await titles({ event_start_date_time: begin, limit: 1, page: 2 }), 'soon of 3')
  t.equal(await titles({ event_start_date_time: begin, page: 9 }), ' of 3')
  t.equal(await titles({ monitors: 'b' }), 'soon,late of 2')
  t.equal(await titles({ event_start_date_time: 1, monitors: 'a, b' }), 'past,now,soon,late of 4')
  t.equal(await titles({ monitors: 'unknown' }), ' of 0')
  t.equal(await titles({ monitors: ',' }), 'soon,late of 2', 'an empty list of tags')
  t.equal(await titles({ event_start_date_time: 1, event_status: 'ongoing' }), 'now of 1')
  t.equal(await titles({ event_start_date_time: 1, event_status: 'COMPLETED' }), 'past of 1')
  t.equal(await titles({ event_start_date_time: 1, maintenance_id: now.id, start_ts: 'ignored' }), 'now of 1')
  t.match((await kener.listAllEvents({ monitors: 'a' })).events[0], {
    ...{
      event_start_date_time: begin + 50 * hour,
      event_end_date_time: begin + 51 * hour,
      event_status: 'SCHEDULED',
    },
    ...{ maintenance_title: 'late', maintenance_status: 'ACTIVE', maintenance_rrule: once },
    maintenance_duration_seconds: hour,
    monitors: [
      { monitor_tag: 'a', impact: 'MAINTENANCE' },
      { monitor_tag: 'b', impact: 'MAINTENANCE' },
    ],
  })
  for (const filter of [
    { event_status: 'JUNK' },
    { event_start_date_time: '1abc' },
    { page: 'x' },
    { maintenance_id: '1abc' },
  ]) {
    await fails(t, kener.listAllEvents(filter), 400, 'BAD_REQUEST', JSON.stringify(filter))
  }
})

await t.test('an ongoing maintenance overrides the status of its monitors in both formats', async (t) => {
  const { kener, call, key } = await start(t)
  await kener.createMonitor({ tag: 'm', name: 'M' })
  await kener.updatePoint('m', thisMinute(), { status: 'DOWN' })
  const { id } = await kener.createMaintenance({
    ...{ title: 'Now', start_date_time: thisMinute(), rrule: once, duration_seconds: hour },
    monitors: [{ monitor_tag: 'm' }],
  })
  const status = async () => (await call(key, 'GET /api/monitors/m')).json.data
  t.match(await status(), {
    status: 'MAINTENANCE',
    status_source: 'maintenance',
    last_report: { status: 'DOWN' },
  })
  t.match((await call(null, 'GET /api/status')).json.data, {
    ...{ status: 'MAINTENANCE', monitors: [{ tag: 'm', status: 'MAINTENANCE' }] },
    maintenances: [
      { id, title: 'Now', state: 'ONGOING', monitors: [{ monitor_tag: 'm', impact: 'MAINTENANCE' }] },
    ],
  })
  t.match((await call(key, `GET /api/maintenances/${id}`)).json.data, {
    title: 'Now',
    rrule: null,
    enabled: true,
  })
  const [event] = (await kener.listEvents(id)).events
  await kener.updateEvent(id, event?.id ?? 0, { status: 'CANCELLED' })
  t.match(await status(), { status: 'DOWN', status_source: 'report' }, 'the maintenance is cancelled')

  const own = await call(key, 'POST /api/maintenances', {
    ...{ title: 'Own', starts_at: '2026-01-01T00:00:00Z', duration_seconds: 600, rrule: 'FREQ=DAILY' },
    monitors: [{ monitor_tag: 'm', impact: 'DEGRADED' }],
  })
  t.match(await kener.getMaintenance(own.json.data.id), {
    ...{
      title: 'Own',
      start_date_time: newYear,
      rrule: 'FREQ=DAILY',
      duration_seconds: 600,
      status: 'ACTIVE',
    },
    monitors: [{ monitor_tag: 'm', impact: 'DEGRADED' }],
  })
})

await t.test('sending back a maintenance unchanged moves no event', async (t) => {
  const { kener, call, key } = await start(t)
  const own = { title: 'T', starts_at: '2026-01-01T00:00:30Z', duration_seconds: hour, rrule: 'FREQ=DAILY' }
  const { id } = (await call(key, 'POST /api/maintenances', own)).json.data
  const { events } = await kener.listEvents(id)
  const read = await kener.getMaintenance(id)
  t.same({ ...(await kener.updateMaintenance(id, read)), updated_at: read.updated_at }, read)
  t.same((await kener.listEvents(id)).events, events)
})

await t.test('extra fields are bounded, and so are the values of a body', async (t) => {
  const { kener, call, key } = await start(t)
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
  t.equal((await kener.updateMonitor('m', { type_data: { a: 1, b: 'x'.repeat(6_000) } })).type_data.a, 1)
  await kener.createMonitor({ tag: 'wide', name: 'W', ignored: Array(30_000).fill(1) })
  const reply = await call(key, 'DELETE /api/v4/monitors/wide', { ignored: true })
  t.equal(reply.statusCode, 200, 'the body of a DELETE is ignored too')
})

await t.test('invalid input is rejected with 400, and nothing is stored', async (t) => {
  const { kener, call, key, db } = await start(t)
  await kener.createMonitor({ tag: 'm', name: 'M', type_data: { a: 1 } })
  await kener.fillData('m', { start_ts: newYear, end_ts: newYear + 60, status: 'UP', latency: 1 })
  const { id } = await kener.createIncident({ title: 'T', start_date_time: newYear })
  await kener.createComment(id, { comment: 'C', state: 'IDENTIFIED' })
  // In the future, so that its event has not ended, whatever the day of the test.
  const weekly = {
    ...{ title: 'T', start_date_time: Date.UTC(2999, 0) / 1000, rrule: 'FREQ=WEEKLY;BYDAY=SU' },
    duration_seconds: 60,
  }
  const planned = await kener.createMaintenance(weekly)
  const [event] = (await kener.listEvents(planned.id)).events
  const count = async () => {
    const tables = [
      ...(['monitors', 'kener_monitors', 'monitor_hours', 'incidents', 'incident_comments'] as const),
      ...(['maintenances', 'maintenance_monitors', 'maintenance_events'] as const),
    ]
    return Promise.all(tables.map((table) => db.selectFrom(table).selectAll().execute()))
  }
  const before = await count()

  const monitor = { tag: 'n', name: 'N' }
  const incident = { title: 'T', start_date_time: newYear }
  const fill = { start_ts: newYear, end_ts: newYear + 60, status: 'UP', latency: 1 }
  const comment = { comment: 'C', state: 'IDENTIFIED' }
  const deep = JSON.parse('['.repeat(40) + ']'.repeat(40)) as unknown
  const cases: [route: 'POST /monitors', bodies: unknown[]][] = (
    [
      [
        'POST /monitors',
        [
          ...[null, [], 'x', 1, {}, { tag: 'n' }, { name: 'N' }, { ...monitor, tag: 'm' }],
          ...['', ' ', 'N', 'é', '-n', 'a b', '../m', 5, null, 'x'.repeat(256)].map((tag) => ({
            ...monitor,
            tag,
          })),
          ...['', '  ', null, 5, 'x'.repeat(256)].map((name) => ({ ...monitor, name })),
          ...['JUNK', 'active', '', 1, true].map((status) => ({ ...monitor, status })),
          ...['NONE', 'up', 0].map((default_status) => ({ ...monitor, default_status })),
          ...['yes', true, 1].map((is_hidden) => ({ ...monitor, is_hidden })),
          ...['no', false].map((value) => ({ ...monitor, include_degraded_in_downtime: value })),
          ...[0, 61, 1.5, '5', true].map((value) => ({ ...monitor, confirmation_threshold: value })),
          ...['{}', [], 1, deep, { a: deep }, { 'a\0': 1 }, { a: 'b\0' }, { '\ud800': 1 }].map(
            (type_data) => ({
              ...monitor,
              type_data,
            }),
          ),
          ...['JUNK', 'api', ''].map((monitor_type) => ({ ...monitor, monitor_type })),
          ...['javascript:alert(1)', 'x', 5].map((external_url) => ({ ...monitor, external_url })),
          ...[5, {}].map((cron) => ({ ...monitor, cron })),
        ],
      ],
      [
        'PATCH /monitors/m',
        [
          null,
          [],
          { name: '' },
          { name: null },
          { status: 'JUNK' },
          { type_data: 'x' },
          { type_data: { a: deep } },
        ],
      ],
      [
        'PATCH /monitors/m/data',
        [
          ...[
            null,
            {},
            { ...fill, start_ts: undefined },
            { ...fill, status: undefined },
            { ...fill, latency: null },
          ],
          ...[newYear, newYear - 1, '1', null, 1e300].map((end_ts) => ({ ...fill, end_ts })),
          ...['MAINTENANCE', 'NO_DATA', 'up', null].map((status) => ({ ...fill, status })),
          ...[-1, '5', 1e12].map((latency) => ({ ...fill, latency })),
          ...[-1, '5'].map((deviation) => ({ ...fill, deviation })),
          { ...fill, start_ts: newYear - 3 * 366 * 86_400 },
          { ...fill, end_ts: thisMinute() + 3_600 },
        ],
      ],
      [`PATCH /monitors/m/data/${newYear}`, [null, { status: 'JUNK' }, { latency: -1 }, { latency: '1' }]],
      [`PATCH /monitors/m/data/${thisMinute() + 3_600}`, [{ status: 'UP' }]],
      ['PATCH /monitors/m/data/1abc', [{ status: 'UP' }]],
      [
        'POST /incidents',
        [
          ...[null, [], {}, { title: 'T' }, { start_date_time: newYear }],
          ...['', ' ', null, 5].map((title) => ({ ...incident, title })),
          ...['1', null, -1, 1e300].map((start_date_time) => ({ ...incident, start_date_time })),
          ...[newYear - 60, '5', -1].map((end_date_time) => ({ ...incident, end_date_time })),
          ...[
            null,
            {},
            'm',
            ['m'],
            [null],
            [{}],
            [{ monitor_tag: 'unknown' }],
            [{ monitor_tag: 'm' }, { monitor_tag: 'unknown' }],
            [{ monitor_tag: 'm' }, { monitor_tag: 'm' }],
            [{ monitor_tag: 'm', impact: 'JUNK' }],
          ].map((monitors) => ({ ...incident, monitors })),
        ],
      ],
      [
        `PATCH /incidents/${id}`,
        [
          ...[null, { title: '' }, { title: null }, { start_date_time: null }, { start_date_time: '5' }],
          ...[
            { end_date_time: newYear - 60 },
            { start_date_time: newYear + 120, end_date_time: newYear + 60 },
          ],
          ...[{ monitors: null }, { title: 'New', monitors: [{ monitor_tag: 'unknown' }] }],
        ],
      ],
      ['PATCH /incidents/1abc', [{ title: 'T' }]],
      [
        `POST /incidents/${id}/comments`,
        [
          ...[null, {}, { comment: 'C' }, { state: 'RESOLVED' }],
          ...['', ' ', null, 5].map((text) => ({ ...comment, comment: text })),
          ...['JUNK', 'resolved', null, 5].map((state) => ({ ...comment, state })),
          ...['1', -1, 1e300].map((timestamp) => ({ ...comment, timestamp })),
        ],
      ],
      [`PATCH /incidents/${id}/comments/1`, [null, { comment: '' }, { state: 'JUNK' }, { timestamp: 'x' }]],
      [`PATCH /incidents/${id}/comments/1abc`, [{ comment: 'C' }]],
      [
        'POST /maintenances',
        [
          ...[null, [], {}, { title: 'T' }],
          ...['', ' ', null, 5].map((title) => ({ ...weekly, title })),
          ...['1', null, -1, 1e300].map((start_date_time) => ({ ...weekly, start_date_time })),
          ...[
            '',
            ' ',
            'JUNK',
            'FREQ=ONCE',
            'BYDAY=MO',
            'FREQ=WEEKLY;BYDAY=',
            'FREQ=DAILY;JUNK=1',
            null,
            5,
          ].map((rrule) => ({ ...weekly, rrule })),
          ...[
            'FREQ=SECONDLY',
            'FREQ=MINUTELY',
            'FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30',
            'FREQ=DAILY\nEXDATE:20260101',
          ].map((rrule) => ({ ...weekly, rrule })),
          ...[0, -1, 1.5, '60', null, 1e300].map((duration_seconds) => ({ ...weekly, duration_seconds })),
          ...[null, {}, ['m'], [{ monitor_tag: 'unknown' }], [{ monitor_tag: 'm', impact: 'JUNK' }]].map(
            (monitors) => ({
              ...weekly,
              monitors,
            }),
          ),
          { ...weekly, monitors: [{ monitor_tag: 'm' }, { monitor_tag: 'm' }] },
        ],
      ],
      [
        `PATCH /maintenances/${planned.id}`,
        [
          ...[
            null,
            { title: '' },
            { rrule: 'JUNK' },
            { status: 'JUNK' },
            { status: null },
            { duration_seconds: 0 },
          ],
          ...[{ start_date_time: 'x' }, { title: 'New', monitors: [{ monitor_tag: 'unknown' }] }],
        ],
      ],
      ['PATCH /maintenances/1abc', [{ title: 'T' }]],
      [
        `PATCH /maintenances/${planned.id}/events/${event?.id}`,
        [
          ...[null, {}, { status: 'JUNK' }, { status: 'ONGOING' }, { status: 'COMPLETED' }],
          ...[
            { start_date_time: newYear },
            { end_date_time: newYear },
            { start_date_time: newYear, end_date_time: newYear },
          ],
          ...[
            { start_date_time: newYear + 1, end_date_time: newYear + 59 },
            { start_date_time: 'x', end_date_time: 5 },
          ],
          { status: 'CANCELLED', start_date_time: newYear, end_date_time: newYear + 60 },
        ],
      ],
      [`PATCH /maintenances/${planned.id}/events/1abc`, [{ status: 'CANCELLED' }]],
    ] as [string, unknown[]][]
  ).map(([route, bodies]) => [route as 'POST /monitors', bodies])
  for (const [route, bodies] of cases) {
    const [method, path] = route.split(' ') as ['POST', string]
    for (const body of bodies) {
      const reply = await call(key, `${method} /api/v4${path}`, undefined, {
        headers: { 'content-type': 'application/json' },
        payload: JSON.stringify(body),
      })
      isErrorReply(t, reply, 400, 'BAD_REQUEST', `${route} ${JSON.stringify(body).slice(0, 100)}`)
      t.ok(reply.json.error.message.length > 5, 'has a message')
    }
  }
  for (const path of [
    'incidents/1abc',
    'incidents/0',
    'incidents/-1',
    'incidents/1.5',
    'incidents/1/comments/x',
    'maintenances/1abc',
    'maintenances/1/events/x',
  ]) {
    isErrorReply(t, await call(key, `GET /api/v4/${path}`), 400, 'BAD_REQUEST', path)
    isErrorReply(t, await call(key, `DELETE /api/v4/${path}`), 400, 'BAD_REQUEST', path)
  }
  for (const query of [
    '',
    '?start_ts=1',
    '?end_ts=1',
    '?start_ts=x&end_ts=1',
    '?start_ts=60&end_ts=60',
    '?start_ts=-1&end_ts=60',
  ]) {
    isErrorReply(t, await call(key, `GET /api/v4/monitors/m/data${query}`), 400, 'BAD_REQUEST', query)
  }
  t.same(await count(), before, 'nothing was stored')
})

await t.test('resources created in one format are correct in the other', async (t) => {
  const { kener, call, key } = await start(t)
  await kener.createMonitor({
    ...{ tag: 'kener', name: 'Kener', status: 'INACTIVE', is_hidden: 'YES', category_name: 'C' },
    ...{
      include_degraded_in_downtime: 'YES',
      default_status: 'DOWN',
      external_url: 'https://e.test',
      image: '/i.png',
    },
  })
  t.match((await call(key, 'GET /api/monitors/kener')).json.data, {
    ...{ tag: 'kener', name: 'Kener', enabled: false, hidden: true, category_name: 'C' },
    ...{ degraded_counts_as_down: true, default_status: 'DOWN', external_url: 'https://e.test' },
    ...{ stale_after_seconds: null, status: 'DOWN', status_source: 'default' },
  })
  const put = await call(key, 'PUT /api/monitors/kener', { name: 'Now own', stale_after_seconds: 60 })
  t.equal(put.statusCode, 200)
  t.match(await kener.getMonitor('kener'), {
    name: 'Now own',
    status: 'ACTIVE',
    is_hidden: 'NO',
    image: '/i.png',
  })
  await kener.updateMonitor('kener', { name: 'Kener again' })
  t.match((await call(key, 'GET /api/monitors/kener')).json.data, {
    name: 'Kener again',
    stale_after_seconds: 60,
  })

  await call(key, 'POST /api/monitors', {
    tag: 'own',
    name: 'Own',
    hidden: true,
    degraded_counts_as_down: true,
  })
  t.match(await kener.getMonitor('own'), {
    is_hidden: 'YES',
    include_degraded_in_downtime: 'YES',
    status: 'ACTIVE',
  })

  await call(key, 'POST /api/monitors/own/data', {
    points: ['UP', 'DEGRADED', 'DOWN', 'MAINTENANCE'].map((status, minute) => ({
      ...{ status, timestamp: `2026-01-01T00:0${minute}:30Z`, latency_ms: minute === 0 ? 12 : null },
    })),
  })
  t.same(
    (await kener.getData('own', newYear, newYear + 600)).map(({ status, latency }) => [status, latency]),
    [
      ['UP', 12],
      ['DEGRADED', 0],
      ['DOWN', 0],
      ['MAINTENANCE', 0],
    ],
  )
  await kener.updatePoint('own', newYear, { status: 'DOWN', latency: 99 })
  t.match((await call(key, 'GET /api/monitors/own/data?interval=hour')).json.data, [
    { down: 2, latency_ms: 99 },
  ])
  await kener.updatePoint('own', thisMinute(), { status: 'DEGRADED' })
  t.match((await call(key, 'GET /api/monitors/own')).json.data, {
    status: 'DEGRADED',
    status_source: 'report',
  })

  const kenerIncident = await kener.createIncident({
    ...{ title: 'Kener', start_date_time: newYear },
    monitors: [
      { monitor_tag: 'own', impact: 'DOWN' },
      { monitor_tag: 'kener', impact: 'UP' },
    ],
  })
  t.match((await call(key, `GET /api/incidents/${kenerIncident.id}`)).json.data, {
    ...{ title: 'Kener', state: 'INVESTIGATING', started_at: '2026-01-01T00:00:00Z', ended_at: null },
    monitors: [{ monitor_tag: 'own', impact: 'DOWN' }],
  })
  const { length } = (await call(key, `GET /api/incidents/${kenerIncident.id}`)).json.data.monitors
  t.equal(length, 1, 'a monitor with the impact UP is not affected')
  t.match((await call(key, 'GET /api/monitors/own')).json.data, {
    status: 'DOWN',
    status_source: 'incident',
  })
  t.match((await call(key, 'GET /api/monitors/kener')).json.data, {
    status: 'NO_DATA',
    status_source: 'default',
  })
  await kener.createComment(kenerIncident.id, { comment: 'Over', state: 'RESOLVED', timestamp: newYear + 60 })
  const { data } = (await call(key, `GET /api/incidents/${kenerIncident.id}`)).json
  t.match(data, { state: 'RESOLVED', ended_at: '2026-01-01T00:01:00Z' })
  t.match(data.comments, [{ comment: 'Over', state: 'RESOLVED', timestamp: '2026-01-01T00:01:00Z' }])

  const own = await call(key, 'POST /api/incidents', {
    ...{ title: 'Own', started_at: '2026-01-01T00:00:30Z', comment: 'We look' },
    monitors: [{ monitor_tag: 'own', impact: 'MAINTENANCE' }],
  })
  t.match(await kener.getIncident(own.json.data.id), {
    ...{ title: 'Own', start_date_time: newYear + 30, end_date_time: null },
    monitors: [{ monitor_tag: 'own', impact: 'MAINTENANCE' }],
  })
  t.match(await kener.listComments(own.json.data.id), [{ comment: 'We look', state: 'INVESTIGATING' }])
  await kener.deleteMonitor('own')
  isErrorReply(t, await call(key, 'GET /api/monitors/own'), 404, 'NOT_FOUND', 'deleted in both formats')
})

await t.test('each route requires the permission of the corresponding route of /api', async (t) => {
  const replica = await startReplica(t)
  const expected: [permission: Permission, ...routes: string[]][] = [
    ['read:monitors', 'GET /monitors', 'GET /monitors/m', 'GET /monitors/m/data', 'GET /monitors/m/data/60'],
    [
      'write:monitors',
      'POST /monitors',
      'PATCH /monitors/m',
      'PATCH /monitors/m/data',
      'PATCH /monitors/m/data/60',
    ],
    ['delete:monitors', 'DELETE /monitors/m'],
    [
      'read:incidents',
      'GET /incidents',
      'GET /incidents/1',
      'GET /incidents/1/comments',
      'GET /incidents/1/comments/1',
      ...['GET /maintenances', 'GET /maintenances/1', 'GET /maintenances/events'],
      ...['GET /maintenances/1/events', 'GET /maintenances/1/events/1'],
    ],
    [
      'write:incidents',
      ...['POST /incidents', 'PATCH /incidents/1', 'POST /incidents/1/comments'],
      ...['PATCH /incidents/1/comments/1', 'DELETE /incidents/1/comments/1'],
      ...['POST /maintenances', 'PATCH /maintenances/1', 'PATCH /maintenances/1/events/1'],
    ],
    ['admin', 'DELETE /incidents/1', 'DELETE /maintenances/1', 'DELETE /maintenances/1/events/1'],
  ]
  for (const [permission, ...routes] of expected) {
    const having = await newKey(replica, { permissions: [permission] })
    const lacking = await newKey(replica, {
      permissions: permissions.filter((other) => other !== permission && other !== 'admin'),
    })
    for (const route of routes) {
      const path = route.replace(' ', ' /api/v4') as 'GET /api'
      isErrorReply(t, await replica.call(lacking.token, path), 403, 'FORBIDDEN', route)
      t.notOk(
        [401, 403, 405].includes((await replica.call(having.token, path)).statusCode),
        `${route}: permission is sufficient`,
      )
      isErrorReply(t, await replica.call(null, path), 401, 'UNAUTHORIZED', route)
    }
  }
})

await t.test('rate limits and their headers are those of /api', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica, { rateLimit: 2 })
  await waitForRoomInMinute()
  const [first, second, third] = [
    await replica.call(token, 'GET /api/v4/monitors'),
    await replica.call(token, 'GET /api/me'),
    await replica.call(token, 'GET /api/v4/monitors'),
  ]
  t.match(first.headers, { 'x-ratelimit-limit': '2', 'x-ratelimit-remaining': '1' })
  t.match(second.headers, { 'x-ratelimit-remaining': '0' }, 'one quota for both formats')
  isErrorReply(t, third, 429, 'RATE_LIMIT_EXCEEDED', 'the third request')
  t.match(third.headers, { 'x-ratelimit-remaining': '0', 'retry-after': /^\d+$/ })
})

await t.test('a JSON body is accepted with any Content-Type, as in Kener', async (t) => {
  const { call, key, kener } = await start(t)
  const names = [
    'application/json; charset=utf-8',
    'application/x-www-form-urlencoded',
    'text/plain',
    undefined,
  ]
  for (const [index, name] of names.entries()) {
    const reply = await call(key, 'POST /api/v4/monitors', undefined, {
      headers: name === undefined ? {} : { 'content-type': name },
      payload: Buffer.from(JSON.stringify({ tag: `m${index}`, name: 'M', unknown: 1 })),
    })
    t.equal(reply.statusCode, 201, String(name))
  }
  t.equal((await kener.listMonitors()).length, names.length)
  const broken = { headers: { 'content-type': 'text/plain' }, payload: '{"tag":' }
  isErrorReply(t, await call(key, 'POST /api/v4/monitors', undefined, broken), 400, 'BAD_REQUEST', 'not JSON')
  const zipped = { headers: { 'content-encoding': 'gzip' }, payload: 'x' }
  isErrorReply(
    t,
    await call(key, 'POST /api/v4/monitors', undefined, zipped),
    415,
    'UNSUPPORTED_MEDIA_TYPE',
    'compressed',
  )
})

await t.test('the number of statements of a list does not depend on its length', async (t) => {
  const { kener, db, statements } = await start(t)
  for (const tag of ['a', 'b']) await kener.createMonitor({ tag, name: tag })
  await times(30, (index) =>
    kener.createIncident({
      ...{ title: String(index), start_date_time: newYear },
      monitors: [{ monitor_tag: 'a' }, { monitor_tag: 'b' }],
    }),
  )
  const { id } = await kener.createIncident({ title: 'T', start_date_time: newYear })
  await times(30, () => kener.createComment(id, { comment: 'C', state: 'IDENTIFIED' }))
  const daily = { title: 'T', start_date_time: newYear, rrule: 'FREQ=DAILY', duration_seconds: 60 }
  for (const monitor_tag of ['a', 'b'])
    await kener.createMaintenance({ ...daily, monitors: [{ monitor_tag }] })
  await db.selectFrom('monitors').select('id').execute()
  for (const [name, list, most] of [
    ['monitors', () => kener.listMonitors(), 1],
    ['incidents', () => kener.listIncidents(), 1],
    ['comments', () => kener.listComments(id), 2],
    ['maintenances', () => kener.listMaintenances(), 1],
    ['events', async () => (await kener.listAllEvents()).events, 3],
  ] as const) {
    statements.length = 0
    t.ok((await list()).length >= 2)
    const own = statements.filter((statement) => !/rate_counters|traffic/.test(statement))
    t.ok(own.length <= most, `${name}: ${own.length} statements`)
  }
})

await t.test('paths of Kener that are not served are 404', async (t) => {
  const { call, key } = await start(t)
  for (const path of [
    '',
    '/',
    '/pages',
    '/pages/~home',
    '/site',
    '/site/title',
    '/monitors/m/alert-configs',
  ]) {
    isErrorReply(t, await call(key, `GET /api/v4${path}`), 404, 'NOT_FOUND', path)
    isErrorReply(t, await call(null, `GET /api/v4${path}`), 401, 'UNAUTHORIZED', `${path} without a key`)
  }
  const reply = await call(key, 'PUT /api/v4/monitors/m', {})
  isErrorReply(t, reply, 405, 'METHOD_NOT_ALLOWED', 'as in Kener')
  t.match(reply.headers.allow, /GET/)
})

await t.test('lists of any length are complete and ordered, and are read in pages', async (t) => {
  const { kener, db, statements } = await start(t)
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
