import { sql } from 'kysely'
import t, { type Test } from 'tap'
import * as eventGeneration from '../src/maintenances/event-generation.ts'
import {
  createDatabase,
  isErrorReply,
  isWaitingForLock,
  newKey,
  type Replica,
  startReplica,
  times,
  waitUntil,
} from './helper.ts'
import { listening, start as startProcess } from './process.ts'

type ReceivedEvent = { id: number; starts_at: string; ends_at: string; state: string }

/** Fails if a rule cannot be evaluated. */
function generateDueEvents(db: Replica['db']): Promise<void> {
  return eventGeneration.generateDueEvents(db, (error) => {
    throw error
  })
}

async function start(t: Test, url?: string) {
  const replica = await startReplica(t, url === undefined ? {} : { url })
  const { call, db } = replica
  const { token: key } = await newKey(replica)
  for (const tag of ['api', 'web']) await call(key, `PUT /api/monitors/${tag}`, { name: tag })
  async function make(body: object = {}) {
    const reply = await call(key, 'POST /api/maintenances', { ...inAnHour(), title: 'Upgrade', ...body })
    if (reply.statusCode !== 201) throw new Error(reply.body)
    return reply.json.data
  }
  const events = async (id: number): Promise<ReceivedEvent[]> =>
    (await call(key, `GET /api/maintenances/${id}/events?limit=100`)).json.data
  /** Simulates the passing of time by shifting all times of a maintenance into the past. */
  async function pass(id: number, milliseconds: number): Promise<void> {
    const elapsed = sql`${milliseconds} * interval '1 ms'`
    await db.transaction().execute(async (trx) => {
      await sql`
        update maintenances set starts_at = starts_at - ${elapsed}, generated_until = generated_until - ${elapsed}
        where id = ${id}`.execute(trx)
      // Shifts in two steps, because PostgreSQL checks after each row that occurrences are unique.
      for (const shift of [sql`- interval '999 days'`, sql`+ interval '999 days' - ${elapsed}`]) {
        await sql`
          update maintenance_events set occurrence = occurrence ${shift} where maintenance_id = ${id}`.execute(
          trx,
        )
      }
      await sql`
        update maintenance_events set starts_at = starts_at - ${elapsed}, ends_at = ends_at - ${elapsed}
        where maintenance_id = ${id}`.execute(trx)
    })
  }
  return { ...replica, key, make, events, pass }
}

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

const iso = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`
const inAnHour = () => ({ starts_at: iso(Date.now() + 2 * hour), duration_seconds: 3600 })
const alreadyOngoing = () => ({ starts_at: iso(Date.now() - 10 * minute), duration_seconds: 3600 })

await t.test('a maintenance that occurs once has its monitors and one event', async (t) => {
  const { make, events, call, key } = await start(t)
  const when = inAnHour()
  const created = await make({
    ...when,
    description: 'Down for a while',
    monitors: [{ monitor_tag: 'web' }, { monitor_tag: 'api', impact: 'DOWN' }],
  })
  const ends_at = iso(Date.parse(when.starts_at) + hour)
  t.match(created, {
    id: 1,
    title: 'Upgrade',
    description: 'Down for a while',
    ...when,
    rrule: null,
    enabled: true,
    monitors: [
      { monitor_tag: 'api', impact: 'DOWN' },
      { monitor_tag: 'web', impact: 'MAINTENANCE' },
    ],
    next_event: { starts_at: when.starts_at, ends_at, state: 'SCHEDULED' },
  })
  const [event, ...others] = await events(created.id)
  t.match(event, { ...created.next_event, maintenance_id: created.id })
  t.same(others, [])
  t.same((await call(key, 'GET /api/maintenances/1')).json.data, created)
  t.equal((await make({ rrule: 'FREQ=MINUTELY;COUNT=1' })).rrule, null, 'the rule for a single occurrence')

  const past = await make({ starts_at: '2020-01-01T00:00:00Z' })
  t.equal(past.next_event, null)
  t.match(
    await events(past.id),
    [{ starts_at: '2020-01-01T00:00:00Z', state: 'COMPLETED' }],
    'an event in the past is recorded',
  )
})

await t.test('a recurring maintenance has the events of 7 days, and at least one future event', async (t) => {
  const { make, events } = await start(t)
  const now = Date.now()
  const daily = await make({ starts_at: iso(now - 40 * day - 10 * minute), rrule: 'FREQ=DAILY' })
  t.equal(daily.rrule, 'FREQ=DAILY')
  t.equal(daily.next_event.state, 'ONGOING')
  const starts = (await events(daily.id)).map(({ starts_at }) => starts_at)
  t.same(
    starts,
    [0, 1, 2, 3, 4, 5, 6, 7].map((days) => iso(now - 10 * minute + days * day)),
    'the ongoing event and those of the next 7 days',
  )
  const rare = await make({ starts_at: iso(now - day), rrule: 'FREQ=DAILY;INTERVAL=30' })
  t.match(await events(rare.id), [{ starts_at: iso(now + 29 * day), state: 'SCHEDULED' }])
  const ended = await make({ starts_at: iso(now - 9 * day), rrule: 'FREQ=DAILY;COUNT=3' })
  t.same(await events(ended.id), [], 'occurrences that have ended get no event')
})

await t.test('due events are generated once each, even if several replicas generate them', async (t) => {
  const url = await createDatabase(t)
  const { db, make, events, pass } = await start(t, url)
  const other = await start(t, url)
  const created = await times(5, () => make({ starts_at: iso(Date.now() + hour), rrule: 'FREQ=DAILY' }))
  const once = await make()
  const disabled = await make({ rrule: 'FREQ=DAILY', enabled: false })
  for (const { id } of [...created, once, disabled]) await pass(id, 3 * day)
  await Promise.all([db, other.db, db, other.db].map(generateDueEvents))
  for (const { id, starts_at } of created) {
    const generated = await events(id)
    t.same(
      generated.map((event) => event.starts_at),
      Array.from({ length: 10 }, (_, days) => iso(Date.parse(starts_at) + (days - 3) * day)),
    )
    t.same(
      generated.map(({ state }) => state),
      [...Array(3).fill('COMPLETED'), 'READY', ...Array(6).fill('SCHEDULED')],
    )
  }
  t.equal((await events(once.id)).length, 1)
  t.equal((await events(disabled.id)).length, 0)
  await pass(created[0].id, 100 * day)
  await generateDueEvents(db)
  t.equal((await events(created[0].id)).length, 10 + 7, 'missed events are not generated')
  await generateDueEvents(db)
  t.equal((await events(created[0].id)).length, 10 + 7)
})

await t.test('a maintenance that another replica has locked is skipped', async (t) => {
  const { db, make, events, pass } = await start(t)
  const [busy, free] = [await make({ rrule: 'FREQ=DAILY' }), await make({ rrule: 'FREQ=DAILY' })]
  for (const { id } of [busy, free]) await pass(id, day)
  const before = (await events(busy.id)).length
  const lock = await db.startTransaction().execute()
  await lock.selectFrom('maintenances').select('id').where('id', '=', busy.id).forUpdate().execute()
  await generateDueEvents(db)
  t.equal((await events(busy.id)).length, before)
  t.equal((await events(free.id)).length, before + 1)
  await lock.commit().execute()
  await generateDueEvents(db)
  t.equal((await events(busy.id)).length, before + 1)
})

await t.test('the process generates events at start and every hour', async (t) => {
  const url = await createDatabase(t)
  const { make, events, pass } = await start(t, url)
  const { id } = await make({ rrule: 'FREQ=DAILY' })
  await pass(id, 2 * day)
  const before = (await events(id)).length
  const shortHours = `
    const realSetInterval = setInterval
    globalThis.setInterval = (run, ms, ...rest) => realSetInterval(run, ms === 3_600_000 ? 50 : ms, ...rest)`
  const server = startProcess(t, 'server', [], {
    ...{ DATABASE_URL: url, PORT: '0' },
    NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(shortHours)}`,
  })
  await listening(server)
  await waitUntil(async () => (await events(id)).length === before + 2)
  await pass(id, day)
  await waitUntil(async () => (await events(id)).length === before + 3)
  server.child.kill('SIGTERM')
  t.equal((await server.ended).code, 0)
})

await t.test('an event that was deleted or moved is not generated again', async (t) => {
  const { db, make, events, pass, call, key } = await start(t)
  const { id } = await make({ rrule: 'FREQ=DAILY' })
  const [first, second, ...rest] = await events(id)
  const path = `/api/maintenances/${id}/events` as const
  t.equal((await call(key, `DELETE ${path}/${first?.id}`)).statusCode, 204)
  const moved = { starts_at: iso(Date.now() + 20 * day), ends_at: iso(Date.now() + 21 * day) }
  t.match((await call(key, `PATCH ${path}/${second?.id}`, moved)).json.data, { ...moved, state: 'SCHEDULED' })
  await db.updateTable('maintenances').set({ enabled: false }).execute()
  await call(key, `PATCH /api/maintenances/${id}`, { enabled: true, title: 'Renamed' })
  await generateDueEvents(db)
  t.same(
    (await events(id)).map((event) => event.id),
    [...rest, second].map((event) => event?.id),
  )
  await pass(id, day)
  await generateDueEvents(db)
  t.equal((await events(id)).length, rest.length + 2, 'further events are generated')
})

await t.test('events that a disabled maintenance missed are not generated later', async (t) => {
  const { db, make, events, pass, call, key } = await start(t)
  const created = await make({ rrule: 'FREQ=DAILY', enabled: false })
  t.same(await events(created.id), [])
  await call(key, `PATCH /api/maintenances/${created.id}`, { enabled: true })
  const generated = await events(created.id)
  t.equal(generated.length, 7)
  await call(key, `PATCH /api/maintenances/${created.id}`, { enabled: false })
  await pass(created.id, 20 * day)
  await generateDueEvents(db)
  t.equal((await events(created.id)).length, 7)
  await call(key, `PATCH /api/maintenances/${created.id}`, { enabled: true })
  const all = await events(created.id)
  t.equal(all.length, 14)
  t.ok(
    all.slice(7).every(({ ends_at }) => Date.parse(ends_at) > Date.now()),
    'only events that have not ended',
  )
})

await t.test('a new schedule replaces future events, and keeps past and ongoing ones', async (t) => {
  const { make, events, pass, call, key } = await start(t)
  const { id } = await make({ ...alreadyOngoing(), rrule: 'FREQ=DAILY' })
  await pass(id, 2 * day)
  const path = `/api/maintenances/${id}` as const
  const [ended, , ongoing, next, cancelled] = await events(id)
  t.equal((await call(key, `PATCH ${path}/events/${cancelled?.id}`, { state: 'CANCELLED' })).statusCode, 200)
  t.equal(
    (await call(key, `PATCH ${path}`, { title: 'Same schedule', rrule: 'FREQ=DAILY' })).json.data.title,
    'Same schedule',
  )
  t.equal((await events(id))[3]?.id, next?.id, 'an unchanged schedule keeps its events')

  const starts_at = iso(Date.now() - 3 * day - 20 * minute)
  t.equal((await call(key, `PATCH ${path}`, { starts_at, duration_seconds: 7200 })).statusCode, 200)
  const after = await events(id)
  t.same(after.filter((event) => event.id === ended?.id)[0], ended, 'ended events are kept')
  t.same(after.filter((event) => event.id === ongoing?.id)[0], ongoing, 'ongoing events are kept')
  t.match(after.filter((event) => event.id === cancelled?.id)[0], { state: 'CANCELLED' })
  t.notOk(after.some((event) => event.id === next?.id))
  t.equal(after.filter(({ state }) => state === 'ONGOING').length, 1, 'no second ongoing event is generated')
  const fresh = after.filter((event) => event.id > Number(cancelled?.id) && event.state !== 'COMPLETED')
  for (const { starts_at: start, ends_at: end } of fresh
    .filter(({ state }) => state === 'SCHEDULED')
    .slice(-5)) {
    t.equal(Date.parse(end) - Date.parse(start), 2 * hour)
    t.equal(start.slice(11), starts_at.slice(11))
  }
  await call(key, `PATCH ${path}`, { rrule: 'FREQ=DAILY;INTERVAL=30' })
  t.equal((await events(id)).filter(({ state }) => state === 'SCHEDULED').length, 1)
})

await t.test('a new schedule replaces a single ongoing event, but not one that has ended', async (t) => {
  const { make, events, pass, call, key } = await start(t)
  const { id } = await make(alreadyOngoing())
  const path = `/api/maintenances/${id}` as const
  const later = iso(Date.now() + day)
  t.match((await call(key, `PATCH ${path}`, { starts_at: later })).json.data.next_event, {
    starts_at: later,
  })
  t.equal((await events(id)).length, 1)
  await pass(id, 2 * day)
  await call(key, `PATCH ${path}`, { starts_at: later })
  t.match(await events(id), [{ state: 'COMPLETED' }, { starts_at: later, state: 'SCHEDULED' }])
  await call(key, `PATCH ${path}`, { rrule: 'FREQ=DAILY' })
  t.equal((await events(id)).length, 1 + 7)
  await call(key, `PATCH ${path}`, { rrule: null })
  t.equal((await events(id)).length, 1 + 1)
})

await t.test('a new schedule does not restore an event that was closed or deleted', async (t) => {
  const { make, events, call, key } = await start(t)
  const later = iso(Date.now() - 9 * minute)
  const ongoingOf = async (id: number) => (await events(id)).filter(({ state }) => state === 'ONGOING')
  for (const change of [
    { starts_at: later },
    { duration_seconds: 5400 },
    { rrule: 'FREQ=DAILY;INTERVAL=2' },
  ]) {
    for (const end of ['PATCH', 'DELETE'] as const) {
      const { id } = await make({ ...alreadyOngoing(), rrule: 'FREQ=DAILY' })
      const [event] = await ongoingOf(id)
      await call(
        key,
        `${end} /api/maintenances/${id}/events/${event?.id}`,
        end === 'PATCH' ? { state: 'COMPLETED' } : undefined,
      )
      await call(key, `PATCH /api/maintenances/${id}`, change)
      t.same(await ongoingOf(id), [], `${end}, then ${JSON.stringify(change)}`)
    }
  }
  const { id } = await make(alreadyOngoing())
  await call(key, `DELETE /api/maintenances/${id}/events/${(await events(id))[0]?.id}`)
  await call(key, `PATCH /api/maintenances/${id}`, { duration_seconds: 5400 })
  t.same(await events(id), [], 'a longer duration does not restore a deleted event')
})

await t.test('a new duration changes the future events that were not moved', async (t) => {
  const { make, events, pass, call, key } = await start(t)
  const { id } = await make({ ...alreadyOngoing(), rrule: 'FREQ=DAILY' })
  const [ongoing, deleted, moved, ...rest] = await events(id)
  const path = `/api/maintenances/${id}/events` as const
  await call(key, `DELETE ${path}/${deleted?.id}`)
  const times = { starts_at: iso(Date.now() + 20 * day), ends_at: iso(Date.now() + 21 * day) }
  await call(key, `PATCH ${path}/${moved?.id}`, times)
  await call(key, `PATCH /api/maintenances/${id}`, { duration_seconds: 7200 })
  const after = await events(id)
  t.same(
    after.map((event) => event.id),
    [ongoing, ...rest, moved].map((event) => event?.id),
  )
  t.same(after[0], ongoing, 'an ongoing event keeps its duration')
  t.match(after.at(-1), times)
  for (const { starts_at, ends_at } of after.slice(1, -1)) {
    t.equal(Date.parse(ends_at) - Date.parse(starts_at), 2 * hour)
  }

  const once = await make(alreadyOngoing())
  await pass(once.id, 2 * hour)
  t.match(await events(once.id), [{ state: 'COMPLETED' }])
  const longer = await call(key, `PATCH /api/maintenances/${once.id}`, { duration_seconds: 4 * 3600 })
  t.match(
    longer.json.data,
    { next_event: { state: 'ONGOING' } },
    'a longer duration reopens the event of a maintenance that occurs once',
  )
  t.equal((await events(once.id)).length, 1)
})

await t.test('a recurring maintenance that becomes a single occurrence has one ongoing event', async (t) => {
  const { make, events, call, key } = await start(t)
  const { id } = await make({ ...alreadyOngoing(), rrule: 'FREQ=DAILY' })
  await call(key, `PATCH /api/maintenances/${id}`, { rrule: null, starts_at: iso(Date.now() - 5 * minute) })
  t.match(await events(id), [{ state: 'ONGOING' }])
  t.equal((await events(id)).length, 1)
})

await t.test('an update of other fields keeps the events', async (t) => {
  const { make, events, call, key } = await start(t)
  const created = await make({ rrule: 'FREQ=DAILY', monitors: [{ monitor_tag: 'api', impact: 'UP' }] })
  const generated = await events(created.id)
  const changes = { title: 'New', description: 'Text', monitors: [{ monitor_tag: 'web', impact: 'DOWN' }] }
  const changed = (await call(key, `PATCH /api/maintenances/${created.id}`, changes)).json.data
  t.same(changed, { ...created, ...changes, updated_at: changed.updated_at })
  t.same(await events(created.id), generated)
  t.same((await call(key, `PATCH /api/maintenances/${created.id}`, { monitors: [] })).json.data.monitors, [])
})

await t.test('the state of an event depends on the clock of the database', async (t) => {
  const { db, make, call, key } = await start(t)
  const { id } = await make()
  const cases: [starts: number, ends: number, state: string][] = [
    [61 * minute, 90 * minute, 'SCHEDULED'],
    [59 * minute, 90 * minute, 'READY'],
    [-minute, minute, 'ONGOING'],
    [-2 * minute, -minute, 'COMPLETED'],
  ]
  for (const [starts, ends, state] of cases) {
    await sql`
      update maintenance_events set starts_at = now() + ${starts} * interval '1 ms', ends_at = now() + ${ends} * interval '1 ms'
      `.execute(db)
    const [event] = (await call(key, `GET /api/maintenances/${id}/events`)).json.data
    t.equal(event.state, state)
    const { next_event: next } = (await call(key, `GET /api/maintenances/${id}`)).json.data
    t.equal(next?.state ?? null, state === 'COMPLETED' ? null : state)
  }
})

await t.test('an event can be closed from some states, and is 409 in others', async (t) => {
  const { db, make, events, call, key } = await start(t)
  const { id } = await make({ rrule: 'FREQ=DAILY' })
  const all = await events(id)
  const path = (index: number) => `/api/maintenances/${id}/events/${all[index]?.id}` as const
  const close = (index: number, state: string) => call(key, `PATCH ${path(index)}`, { state })
  const put = (index: number, starts: number, ends: number) =>
    sql`
      update maintenance_events set starts_at = date_trunc('second', now()) + ${starts} * interval '1 ms',
        ends_at = date_trunc('second', now()) + ${ends} * interval '1 ms' where id = ${all[index]?.id}`.execute(
      db,
    )

  isErrorReply(t, await close(0, 'COMPLETED'), 409, 'CONFLICT', 'SCHEDULED to COMPLETED')
  t.match((await close(0, 'CANCELLED')).json.data, { ...all[0], state: 'CANCELLED', updated_at: /Z$/ })
  for (const state of ['COMPLETED', 'CANCELLED']) {
    const rejected = await close(0, state)
    isErrorReply(t, rejected, 409, 'CONFLICT', `CANCELLED to ${state}`)
    t.match(rejected.json.error.message, /is CANCELLED/)
  }

  await put(1, 30 * minute, 90 * minute)
  isErrorReply(t, await close(1, 'COMPLETED'), 409, 'CONFLICT', 'READY to COMPLETED')
  t.match((await close(1, 'CANCELLED')).json.data.state, 'CANCELLED')

  await put(2, -30 * minute, 30 * minute)
  const completed = (await close(2, 'COMPLETED')).json.data
  t.equal(completed.state, 'COMPLETED')
  t.match(completed.ends_at, /:00Z$/, 'the end is a full minute')
  t.ok(Date.now() - Date.parse(completed.ends_at) < 2 * minute, 'the current minute')
  isErrorReply(t, await close(2, 'CANCELLED'), 409, 'CONFLICT', 'COMPLETED to CANCELLED')

  await put(3, -1_000, 30 * minute)
  const young = (await close(3, 'CANCELLED')).json.data
  t.equal(Date.parse(young.ends_at) - Date.parse(young.starts_at), minute, 'at least one minute')

  await put(4, -10_000, 20_000)
  const short = (await close(4, 'COMPLETED')).json.data
  t.equal(Date.parse(short.ends_at) - Date.parse(short.starts_at), 30_000, 'not longer than planned')

  await put(5, -30 * minute, -minute)
  for (const state of ['COMPLETED', 'CANCELLED']) {
    isErrorReply(t, await close(5, state), 409, 'CONFLICT', `ended, to ${state}`)
  }
})

await t.test('an event is either moved or closed, and must end after it starts', async (t) => {
  const { make, events, call, key } = await start(t)
  const { id } = await make()
  const [event] = await events(id)
  const path = `/api/maintenances/${id}/events/${event?.id}` as const
  const [starts_at, ends_at] = [iso(Date.now() + day), iso(Date.now() + 2 * day)]
  const bad = [
    {},
    { state: 'ONGOING' },
    { starts_at },
    { ends_at },
    { state: 'CANCELLED', starts_at },
    { state: 'CANCELLED', starts_at, ends_at },
    { starts_at, ends_at: starts_at },
    { starts_at: ends_at, ends_at: starts_at },
    { starts_at, ends_at, title: 'x' },
  ]
  for (const body of bad) {
    isErrorReply(t, await call(key, `PATCH ${path}`, body), 400, 'INVALID_REQUEST', JSON.stringify(body))
  }
  t.same(await events(id), [event])
  t.match((await call(key, `PATCH ${path}`, { starts_at, ends_at })).json.data, { starts_at, ends_at })
})

await t.test('an event of another maintenance is not found', async (t) => {
  const { make, events, call, key } = await start(t)
  const [one, other] = [await make(), await make()]
  const [event] = await events(one.id)
  const elsewhere = `/api/maintenances/${other.id}/events/${event?.id}` as const
  const span = { starts_at: iso(Date.now()), ends_at: iso(Date.now() + hour) }
  isErrorReply(t, await call(key, `PATCH ${elsewhere}`, { state: 'CANCELLED' }), 404, 'NOT_FOUND', 'close')
  isErrorReply(t, await call(key, `PATCH ${elsewhere}`, span), 404, 'NOT_FOUND', 'move')
  isErrorReply(t, await call(key, `DELETE ${elsewhere}`), 404, 'NOT_FOUND', 'delete')
  t.same(await events(one.id), [event])
})

await t.test('a rejected request stores nothing', async (t) => {
  const { db, make, call, key } = await start(t)
  const good = { title: 'm', ...inAnHour() }
  const bad: [path: string, body: object][] = [
    ['/title', { ...good, title: ' ' }],
    ['/starts_at', { ...good, starts_at: 'now' }],
    ['/starts_at', { title: 'm', duration_seconds: 60 }],
    ['/duration_seconds', { ...good, duration_seconds: 59 }],
    ['/duration_seconds', { ...good, duration_seconds: 31_536_001 }],
    ['/duration_seconds', { ...good, starts_at: '9999-12-31T23:59:59Z' }],
    ['/rrule', { ...good, rrule: 'FREQ=DAILY;FOO=1' }],
    ['/rrule', { ...good, rrule: 'FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30' }],
    ['/rrule', { ...good, rrule: 'x'.repeat(256) }],
    ['/monitors/1/monitor_tag', { ...good, monitors: [{ monitor_tag: 'api' }, { monitor_tag: 'none' }] }],
    ['/monitors/1/monitor_tag', { ...good, monitors: [{ monitor_tag: 'api' }, { monitor_tag: 'api' }] }],
    ['/monitors/0/impact', { ...good, monitors: [{ monitor_tag: 'api', impact: 'NO_DATA' }] }],
    ['/status', { ...good, status: 'ACTIVE' }],
  ]
  const isRejected = (reply: Awaited<ReturnType<typeof call>>, path: string, name: string) => {
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', name)
    t.ok(
      reply.json.error.details.some((detail: { path: string }) => detail.path === path),
      reply.body,
    )
  }
  for (const [path, body] of bad) {
    isRejected(await call(key, 'POST /api/maintenances', body), path, JSON.stringify(body))
  }
  t.same(await db.selectFrom('maintenances').select('id').execute(), [])

  const created = await make({ rrule: 'FREQ=DAILY;UNTIL=29990101', monitors: [{ monitor_tag: 'api' }] })
  const route = `PATCH /api/maintenances/${created.id}` as const
  const changes: [path: string, body: object][] = [
    ['/rrule', { title: 'x', rrule: 'FREQ=MINUTELY' }],
    ['/rrule', { title: 'x', starts_at: '3000-01-01T00:00:00Z' }],
    ['/monitors/0/monitor_tag', { title: 'x', rrule: null, monitors: [{ monitor_tag: 'none' }] }],
  ]
  for (const [path, body] of changes) isRejected(await call(key, route, body), path, JSON.stringify(body))
  t.same((await call(key, `GET /api/maintenances/${created.id}`)).json.data, created)
})

await t.test('unknown ids are 404, and deleting a maintenance deletes its events', async (t) => {
  const { db, make, call, key } = await start(t)
  const { id } = await make({ monitors: [{ monitor_tag: 'api' }] })
  t.equal((await call(key, `DELETE /api/maintenances/${id}`)).statusCode, 204)
  for (const route of [
    `GET /api/maintenances/${id}`,
    `DELETE /api/maintenances/${id}`,
    `GET /api/maintenances/${id}/events`,
    `DELETE /api/maintenances/${id}/events/1`,
  ] as const) {
    isErrorReply(t, await call(key, route), 404, 'NOT_FOUND', route)
  }
  isErrorReply(t, await call(key, `PATCH /api/maintenances/${id}`, { title: 'x' }), 404, 'NOT_FOUND', 'PATCH')
  t.same(await db.selectFrom('maintenance_events').select('id').execute(), [])
  t.equal((await call(key, 'DELETE /api/monitors/api')).statusCode, 204)
})

await t.test('lists have filters and pages: maintenances newest first, events soonest first', async (t) => {
  const { make, call, key } = await start(t)
  const starts = iso(Date.now() + 2 * hour)
  await make({ title: 'second', starts_at: starts, monitors: [{ monitor_tag: 'api' }] })
  await make({ title: 'first', starts_at: starts, enabled: false })
  await make({ title: 'last', starts_at: '2026-01-01T00:00:00Z', rrule: 'FREQ=DAILY' })
  const titles = async (query: string) =>
    (await call(key, `GET /api/maintenances?${query}`)).json.data.map(({ title }: { title: string }) => title)
  t.same(await titles(''), ['first', 'second', 'last'])
  t.same(await titles('enabled=false'), ['first'])
  t.same(await titles('enabled=true'), ['second', 'last'])
  t.same(await titles('monitor_tag=api'), ['second'])
  t.same(await titles('monitor_tag=none'), [])

  async function walk(path: string): Promise<{ title: string; starts_at: string }[]> {
    const seen = []
    let cursor: string | null = null
    do {
      const page = await call(key, `GET ${path}?limit=1${cursor ? `&cursor=${cursor}` : ''}`)
      seen.push(...page.json.data)
      cursor = page.json.pagination.next_cursor
    } while (cursor)
    return seen
  }
  t.same(
    (await walk('/api/maintenances')).map(({ title }) => title),
    ['first', 'second', 'last'],
  )
  const starts_at = (await walk('/api/maintenances/3/events')).map(({ starts_at }) => starts_at)
  t.same(starts_at, [...starts_at].sort())
  t.equal(starts_at.length, (await call(key, 'GET /api/maintenances/3/events')).json.data.length)
})

await t.test(
  'the worst impact of ongoing maintenances and open incidents determines the status',
  async (t) => {
    const { db, make, call, key, events } = await start(t)
    await call(key, 'POST /api/monitors/api/data', { status: 'DOWN' })
    const status = async () => {
      const { data } = (await call(key, 'GET /api/monitors/api')).json
      return `${data.status} by ${data.status_source}`
    }
    const about = (impact?: string) => ({ monitors: [{ monitor_tag: 'api', ...(impact && { impact }) }] })
    const open = async (impact: string) =>
      (await call(key, 'POST /api/incidents', { title: impact, ...about(impact) })).json.data.id as number
    const resolve = (id: number) => call(key, `PATCH /api/incidents/${id}`, { state: 'RESOLVED' })
    const close = async (id: number, state: string) => {
      const [event] = await events(id)
      t.equal(
        (await call(key, `PATCH /api/maintenances/${id}/events/${event?.id}`, { state })).statusCode,
        200,
      )
    }

    await make(about('UP'))
    await make({ starts_at: iso(Date.now() - 2 * hour), duration_seconds: 3600, ...about() })
    await make({ ...alreadyOngoing(), enabled: false, ...about() })
    await make({ ...alreadyOngoing(), monitors: [{ monitor_tag: 'web' }] })
    t.equal(
      await status(),
      'DOWN by report',
      'future, ended and disabled maintenances, and those of other monitors, have no effect',
    )

    const up = await make({ ...alreadyOngoing(), ...about('UP') })
    t.equal(await status(), 'UP by maintenance')
    const degraded = await make({ ...alreadyOngoing(), ...about('DEGRADED') })
    t.equal(await status(), 'DEGRADED by maintenance')
    const usual = await make({ ...alreadyOngoing(), rrule: 'FREQ=DAILY', ...about() })
    t.equal(await status(), 'MAINTENANCE by maintenance')
    t.equal((await call(key, 'GET /api/monitors?status=MAINTENANCE')).json.data.length, 2)

    const lesser = await open('DEGRADED')
    t.equal(await status(), 'MAINTENANCE by maintenance', 'the worst impact of both')
    const equal = await open('MAINTENANCE')
    t.equal(await status(), 'MAINTENANCE by incident', 'for equal impacts, the source is the incident')
    const worse = await open('DOWN')
    t.equal(await status(), 'DOWN by incident')
    const down = await make({ ...alreadyOngoing(), ...about('DOWN') })
    await resolve(worse)
    t.equal(await status(), 'DOWN by maintenance')
    await close(down.id, 'COMPLETED')
    await resolve(equal)
    t.equal(await status(), 'MAINTENANCE by maintenance')
    await close(usual.id, 'CANCELLED')
    t.equal(await status(), 'DEGRADED by incident')
    await resolve(lesser)
    t.equal(await status(), 'DEGRADED by maintenance')
    await call(key, `PATCH /api/maintenances/${degraded.id}`, { enabled: false })
    t.equal(await status(), 'UP by maintenance')
    await call(key, `DELETE /api/maintenances/${up.id}`)
    t.equal(await status(), 'DOWN by report')

    const unimpaired = await open('DOWN')
    await db
      .updateTable('incident_monitors')
      .set({ impact: 'UP' })
      .where('incident_id', '=', unimpaired)
      .execute()
    t.equal(await status(), 'DOWN by report', 'an impact UP of an incident has no effect')
  },
)

await t.test('the public status has ongoing and upcoming maintenances of visible monitors', async (t) => {
  const { make, call, key } = await start(t)
  await call(key, 'POST /api/monitors', { tag: 'secret', name: 'S', hidden: true })
  await call(key, 'POST /api/monitors', { tag: 'retired', name: 'R', enabled: false })
  const about = (...tags: string[]) => ({ monitors: tags.map((monitor_tag) => ({ monitor_tag })) })
  const soon = iso(Date.now() + 3 * day)
  await make({ title: 'soon', starts_at: soon, description: 'Text', ...about('web', 'secret', 'api') })
  await make({ title: 'now', ...alreadyOngoing(), rrule: 'FREQ=DAILY' })
  await make({ title: 'hidden', ...about('secret', 'retired') })
  await make({ title: 'disabled', enabled: false })
  await make({ title: 'far', starts_at: iso(Date.now() + 8 * day) })
  await make({ title: 'ended', starts_at: '2026-01-01T00:00:00Z' })
  const cancelled = await make({ title: 'cancelled', ...about('api') })
  await call(key, `PATCH /api/maintenances/${cancelled.id}/events/${cancelled.next_event.id}`, {
    state: 'CANCELLED',
  })
  const { data } = (await call(null, 'GET /api/status')).json
  t.match(data.maintenances, [
    { title: 'now', description: null, state: 'ONGOING', monitors: [] },
    {
      id: 1,
      title: 'soon',
      description: 'Text',
      state: 'SCHEDULED',
      starts_at: soon,
      ends_at: iso(Date.parse(soon) + hour),
      monitors: [
        { monitor_tag: 'api', impact: 'MAINTENANCE' },
        { monitor_tag: 'web', impact: 'MAINTENANCE' },
      ],
    },
  ])
  t.equal(data.maintenances.length, 2)
  t.notMatch(JSON.stringify(data), /secret|retired/)
})

await t.test('the public status contains at most the next 100 maintenances', async (t) => {
  const { make, call } = await start(t)
  const shuffled = Array.from({ length: 101 }, (_, index) => (index * 10) % 101)
  for (const position of shuffled) {
    await make({ title: String(position), starts_at: iso(Date.now() + day + position * minute) })
  }
  const { data } = (await call(null, 'GET /api/status')).json
  t.same(
    data.maintenances.map(({ title }: { title: string }) => title),
    Array.from({ length: 100 }, (_, index) => String(index)),
  )
})

await t.test('an update compares its schedule with that of a concurrent update', async (t) => {
  const { call, key, db, make, events } = await start(t)
  const { id } = await make()
  const other = await db.startTransaction().execute()
  await sql`update maintenances set duration_seconds = 7200`.execute(other)
  await sql`update maintenance_events set ends_at = starts_at + interval '7200 s'`.execute(other)
  const pending = call(key, `PATCH /api/maintenances/${id}`, { duration_seconds: 10_800 })
  await waitUntil(() => isWaitingForLock(db))
  await other.commit().execute()
  t.equal((await pending).json.data.duration_seconds, 10_800)
  const [event] = await events(id)
  t.equal(Date.parse(event?.ends_at ?? '') - Date.parse(event?.starts_at ?? ''), 3 * hour)
})

await t.test('concurrent updates and deletes of a maintenance and its parts do not deadlock', async (t) => {
  const { db, call, key, make } = await start(t)
  for (let round = 0; round < 30; round++) {
    await call(key, 'POST /api/monitors', { tag: 'doomed', name: 'Doomed' })
    const affected = { monitors: [{ monitor_tag: 'doomed' }] }
    const { id, next_event: next } = await make({ rrule: 'FREQ=DAILY', ...affected })
    const path = `/api/maintenances/${id}` as const
    const replies = await Promise.all([
      call(key, `PATCH ${path}/events/${next.id}`, { state: 'CANCELLED' }),
      call(key, `PATCH ${path}`, { ...affected, duration_seconds: 120 }),
      ...(round % 2 ? [call(key, `DELETE ${path}`)] : []),
      call(key, 'DELETE /api/monitors/doomed'),
      generateDueEvents(db).then(() => call(key, 'GET /api/me')),
    ])
    for (const { statusCode, body } of replies) t.ok(statusCode < 500, body)
  }
})

await t.test('a monitor that is deleted concurrently is rejected as unknown', async (t) => {
  const { call, key, db, make } = await start(t)
  const body = { title: 'T', ...inAnHour(), monitors: [{ monitor_tag: 'web' }] }
  const { id } = await make()
  for (const route of ['POST /api/maintenances', `PATCH /api/maintenances/${id}`] as const) {
    const deletion = await db.startTransaction().execute()
    await deletion.deleteFrom('monitors').where('tag', '=', 'web').execute()
    const pending = call(key, route, body)
    await waitUntil(() => isWaitingForLock(db))
    await deletion.commit().execute()
    isErrorReply(t, await pending, 400, 'INVALID_REQUEST', route)
    t.match((await call(key, 'GET /api/maintenances')).json.data, [{ title: 'Upgrade' }])
    await call(key, 'POST /api/monitors', { tag: 'web', name: 'web' })
  }
})
