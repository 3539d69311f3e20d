import { sql } from 'kysely'
import t from 'tap'
import { createDatabase, isErrorReply, shareReplica, startReplica, times, waitUntil } from './helper.ts'
import { alreadyOngoing, day, generateDueEvents, hour, iso, minute, start } from './maintenances.ts'
import { listening, start as startProcess } from './process.ts'

const share = shareReplica(t)

await t.test('a recurring maintenance has the events of 7 days, and at least one future event', async (t) => {
  const { make, events } = await start(await share())
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
  const { db, make, events, pass } = await start(await startReplica(t, { url }))
  const other = await start(await startReplica(t, { url }))
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
  const { db, make, events, pass } = await start(await share())
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
  const { make, events, pass } = await start(await startReplica(t, { url }))
  const { id } = await make({ rrule: 'FREQ=DAILY' })
  await pass(id, 2 * day)
  const before = (await events(id)).length
  const shortHours = `
    const realSetTimeout = setTimeout
    globalThis.setTimeout = (run, ms, ...rest) => realSetTimeout(run, ms === 3_600_000 ? 50 : ms, ...rest)`
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
  const { db, make, events, pass, call, key } = await start(await share())
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
  const { db, make, events, pass, call, key } = await start(await share())
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
  const { make, events, pass, call, key } = await start(await share())
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
  const { make, events, pass, call, key } = await start(await share())
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
  const { make, events, call, key } = await start(await share())
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
  const { make, events, pass, call, key } = await start(await share())
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
  const { make, events, call, key } = await start(await share())
  const { id } = await make({ ...alreadyOngoing(), rrule: 'FREQ=DAILY' })
  await call(key, `PATCH /api/maintenances/${id}`, { rrule: null, starts_at: iso(Date.now() - 5 * minute) })
  t.match(await events(id), [{ state: 'ONGOING' }])
  t.equal((await events(id)).length, 1)
})

await t.test('an update of other fields keeps the events', async (t) => {
  const { make, events, call, key } = await start(await share())
  const created = await make({ rrule: 'FREQ=DAILY', monitors: [{ monitor_tag: 'api', impact: 'UP' }] })
  const generated = await events(created.id)
  const changes = { title: 'New', description: 'Text', monitors: [{ monitor_tag: 'web', impact: 'DOWN' }] }
  const changed = (await call(key, `PATCH /api/maintenances/${created.id}`, changes)).json.data
  t.same(changed, { ...created, ...changes, updated_at: changed.updated_at })
  t.same(await events(created.id), generated)
  t.same((await call(key, `PATCH /api/maintenances/${created.id}`, { monitors: [] })).json.data.monitors, [])
})

await t.test('the state of an event depends on the clock of the database', async (t) => {
  const { db, make, call, key } = await start(await share())
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
  const { db, make, events, call, key } = await start(await share())
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
  const { make, events, call, key } = await start(await share())
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
  const { make, events, call, key } = await start(await share())
  const [one, other] = [await make(), await make()]
  const [event] = await events(one.id)
  const elsewhere = `/api/maintenances/${other.id}/events/${event?.id}` as const
  const span = { starts_at: iso(Date.now()), ends_at: iso(Date.now() + hour) }
  isErrorReply(t, await call(key, `PATCH ${elsewhere}`, { state: 'CANCELLED' }), 404, 'NOT_FOUND', 'close')
  isErrorReply(t, await call(key, `PATCH ${elsewhere}`, span), 404, 'NOT_FOUND', 'move')
  isErrorReply(t, await call(key, `DELETE ${elsewhere}`), 404, 'NOT_FOUND', 'delete')
  t.same(await events(one.id), [event])
})
