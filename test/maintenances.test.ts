import { sql } from 'kysely'
import t from 'tap'
import { isErrorReply, isWaitingForLock, shareReplica, waitUntil } from './helper.ts'
import { alreadyOngoing, day, generateDueEvents, hour, inAnHour, iso, minute, start } from './maintenances.ts'

const share = shareReplica(t)

await t.test('a maintenance that occurs once has its monitors and one event', async (t) => {
  const { make, events, call, key } = await start(await share())
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

await t.test('a rejected request stores nothing', async (t) => {
  const { db, make, call, key } = await start(await share())
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
  const { db, make, call, key } = await start(await share())
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
  const { make, call, key } = await start(await share())
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
    const { db, make, call, key, events } = await start(await share())
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
  const { make, call, key } = await start(await share())
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
  const { make, call } = await start(await share())
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
  const { call, key, db, make, events } = await start(await share())
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
  const { db, call, key, make } = await start(await share())
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
  const { call, key, db, make } = await start(await share())
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
