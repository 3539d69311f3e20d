import { sql } from 'kysely'
import t from 'tap'
import { createUsageCounter } from '../src/keys/usage-counter.ts'
import { rollUpUsage } from '../src/keys/usage-retention.ts'
import { readUsage } from '../src/keys/usage.ts'
import { isErrorReply, newKey, type Replica, shareReplica, startReplica } from './helper.ts'
import { logIn } from './visitor.ts'

const start = shareReplica(t)

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const thisHour = () => Math.floor(Date.now() / hourMs)
const iso = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`

/** Reads the usage of the last day, added up, because an hour may end meanwhile. */
async function usageOf({ db, app }: Replica, id: string) {
  await app.keyUsage.flush()
  const buckets = await readUsage(db, id, { interval: 'day' })
  const used: Record<string, number> = {}
  const add = (name: string, requests: number) => {
    if (requests > 0) used[name] = (used[name] ?? 0) + requests
  }
  for (const { requests, by_permission, rejected } of buckets) {
    add('requests', requests)
    for (const [name, count] of Object.entries({ ...by_permission, ...rejected })) add(name, count)
  }
  return used
}

await t.test(
  'requests of a key are counted by the permission of their route, and by rejection',
  async (t) => {
    const replica = await start()
    const { call, db, app } = replica
    const key = await newKey({ db }, { permissions: ['read:monitors', 'write:incidents'], rateLimit: 8 })
    await call(key.token, 'GET /api/me')
    await call(key.token, 'GET /api/nothing')
    await call(key.token, 'GET /api/monitors')
    await call(key.token, 'HEAD /api/monitors/none')
    await call(key.token, 'POST /api/incidents', {})
    await call(key.token, 'GET /api/v4/monitors')
    await call(key.token, 'GET /api/keys')
    await call(key.token, 'DELETE /api/monitors/none')
    await call(null, 'GET /api/status')
    await call('kener_x', 'GET /api/me')
    t.same(await usageOf(replica, key.id), {
      requests: 8,
      'read:monitors': 3,
      'write:incidents': 1,
      forbidden: 2,
    })
    const limited = await newKey({ db }, { rateLimit: 1 })
    // The windows of at most two minutes.
    for (let count = 0; count < 4; count++) await call(limited.token, 'GET /api/keys')
    const { rate_limited: rejected = 0, admin = 0, ...rest } = await usageOf(replica, limited.id)
    t.same([rest, rejected + admin, rejected >= 2], [{ requests: 4 }, 4, true])

    const elsewhere = await newKey({ db }, { allowedIps: ['192.0.2.1'] })
    await call(elsewhere.token, 'GET /api/keys')
    t.same(await usageOf(replica, elsewhere.id), { requests: 1, forbidden: 1 }, 'from another address')
    const bound = await newKey({ db }, { permissions: ['write:monitors'], monitors: ['a'] })
    await call(bound.token, 'PUT /api/monitors/b', { name: 'B' })
    await call(bound.token, 'POST /api/monitors', { tag: 'b', name: 'B' })
    t.same(await usageOf(replica, bound.id), { requests: 2, forbidden: 2 }, 'for another monitor')

    const operator = await newKey({ db })
    const visitor = await logIn(app, operator.token)
    await visitor.get('/manage')
    t.same(await usageOf(replica, operator.id), { requests: 2, admin: 1 }, 'a log-in, and the overview')
    const reader = await newKey({ db }, { permissions: ['read:monitors', 'read:incidents'] })
    const reading = await logIn(app, reader.token)
    for (const page of ['monitors', 'incidents', 'incidents', 'settings/api-keys'])
      await reading.get(`/manage/${page}`)
    t.same(
      await usageOf(replica, reader.id),
      { requests: 4, 'read:monitors': 1, 'read:incidents': 2, forbidden: 1 },
      'pages of the panel',
    )
  },
)

await t.test('usage is listed by hour and by day, with what this process has not written yet', async (t) => {
  const { call, db } = await start()
  const admin = await newKey({ db })
  const { id } = await newKey({ db })
  const list = async (query: string) => {
    const { json, statusCode } = await call(admin.token, `GET /api/keys/${id}/usage?${query}`)
    t.equal(statusCode, 200, query)
    return json as { data: { timestamp: string; requests: number }[]; pagination: { next_cursor: string } }
  }
  const rows = async (query: string) =>
    (await list(query)).data.map(({ timestamp, requests }) => [timestamp, requests])
  const hour = thisHour()
  const day = Math.floor(hour / 24)
  // Noon of the day before, so that no test runs into another day.
  const noon = (day - 1) * 24 + 12
  const add = (hours: Record<number, number>) =>
    sql`insert into key_usage_hours select hour::integer, ${id}, n::integer, 0, 0, 0, 0, 0, 0, 0, 1
      from json_each_text(${JSON.stringify(hours)}) as _ (hour, n)`.execute(db)
  await add({ [noon - 1]: 1, [noon]: 2, [noon + 1]: 3, [noon - 24]: 4, [noon - 24 * 40]: 5 })
  await sql`insert into key_usage_days values (${day - 200}, ${id}, 6, 0, 0, 0, 0, 0, 0, 0, 0)`.execute(db)
  const at = (hours: number) => iso(hours * hourMs)

  const from = `from=${at(noon - 24)}`
  const whole = `${from}&to=${at(noon + 24)}`
  t.same(await rows(whole), [
    [at(noon - 24), 5],
    [at(noon - 1), 2],
    [at(noon), 3],
    [at(noon + 1), 4],
  ])
  t.same(await rows(`from=${iso(noon * hourMs + 1_800_000)}&to=${iso((noon + 1) * hourMs + 1_000)}`), [
    [at(noon), 3],
    [at(noon + 1), 4],
  ])
  t.same(await rows(`from=${at(noon)}&to=${at(noon)}`), [])
  t.same(await rows('interval=day'), [
    [iso((day - 2) * dayMs), 5],
    [iso((day - 1) * dayMs), 9],
  ])
  t.same(await rows(`interval=day&from=1970-01-01T00:00:00Z&to=9999-12-31T23:59:59Z`), [
    [iso((day - 200) * dayMs), 6],
    [iso((day - 41) * dayMs), 6],
    [iso((day - 2) * dayMs), 5],
    [iso((day - 1) * dayMs), 9],
  ])
  const first = await list(`${whole}&limit=3`)
  t.equal(first.data.length, 3)
  t.same(await rows(`${whole}&limit=3&cursor=${first.pagination.next_cursor}`), [[at(noon + 1), 4]])

  const [own] = (await call(admin.token, `GET /api/keys/${admin.id}/usage`)).json.data.slice(-1)
  t.match(own, { by_permission: { admin: Number }, rejected: { forbidden: 0, rate_limited: 0 } })
  t.ok(Date.parse(own.timestamp) >= hour * hourMs, 'the current hour')

  for (const query of [
    'interval=minute',
    'limit=0',
    'from=x',
    `from=${at(noon)}&to=${at(noon - 1)}`,
    `cursor=${first.pagination.next_cursor}&interval=day`,
    'since=1',
  ]) {
    const reply = await call(admin.token, `GET /api/keys/${id}/usage?${query}`)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', query)
  }
  isErrorReply(t, await call(admin.token, 'GET /api/keys/none/usage'), 404, 'NOT_FOUND', 'an unknown key')
})

await t.test('counts of several processes add up, also if they write at the same time', async (t) => {
  const { db } = await start()
  const counters = [1, 2, 3].map(() => createUsageCounter(db, (error) => t.error(error)))
  for (let round = 0; round < 5; round++) {
    for (const [index, { count }] of counters.entries()) {
      // In different orders.
      const ids = Array.from({ length: 200 }, (_, id) => `k${(id * (index + 1) * 7) % 200}`)
      for (const id of ids) count(id, 'read_monitors')
    }
    await Promise.all(counters.map(({ flush }) => flush()))
  }
  const { rows } = await sql`
    select sum(read_monitors)::integer as sum, count(distinct key_id)::integer as keys from key_usage_hours`.execute(
    db,
  )
  t.same(rows, [{ sum: 3_000, keys: 200 }])
})

await t.test('counts are kept while they cannot be written', async (t) => {
  const { db } = await start()
  const errors: unknown[] = []
  const { count, flush } = createUsageCounter(db, (error) => errors.push(error))
  await sql`alter table key_usage_hours rename to gone`.execute(db)
  count('a', 'admin')
  await flush()
  count('a', 'admin')
  count('b', 'forbidden')
  await Promise.all([flush(), flush()])
  await sql`alter table gone rename to key_usage_hours`.execute(db)
  t.ok(errors.length >= 2)
  await flush()
  await flush()
  const { rows } = await sql`select key_id, admin, forbidden from key_usage_hours order by key_id`.execute(db)
  t.same(rows, [
    { key_id: 'a', admin: 2, forbidden: 0 },
    { key_id: 'b', admin: 0, forbidden: 1 },
  ])
})

await t.test('counts are written at shutdown, while the database is still open', async (t) => {
  const { app, call, db } = await startReplica(t)
  const { token, id } = await newKey({ db })
  await call(token, 'GET /api/me')
  await app.close()
  t.same(await db.selectFrom('key_usage_hours').select(['key_id', 'no_permission']).execute(), [
    { key_id: id, no_permission: 1 },
  ])
})

await t.test('hours are rolled up by day after 90 days, and days are deleted after 400', async (t) => {
  const { db } = await start()
  const day = Math.floor(thisHour() / 24)
  const hours = [90, 91, 92].flatMap((age) => [0, 23].map((hour) => (day - age) * 24 + hour))
  await sql`insert into key_usage_hours
    select hour, key_id, 1, 0, 0, 0, 0, 0, 0, 0, 2 from unnest(${hours}::integer[]) as hour, unnest(array['a', 'b']) as key_id
    `.execute(db)
  await sql`insert into key_usage_days select day, 'a', 5, 0, 0, 0, 0, 0, 0, 0, 0
    from unnest(array[${day - 91}, ${day - 400}, ${day - 401}]::integer[]) as day`.execute(db)
  // Two replicas at the same time, and once more.
  await Promise.all([rollUpUsage(db), rollUpUsage(db)])
  await rollUpUsage(db)
  const left = await sql<{ hours: string }>`select distinct hour from key_usage_hours order by hour`.execute(
    db,
  )
  t.same(left.rows, [{ hour: hours[0] }, { hour: hours[1] }], 'the hours of the last 90 days')
  const { rows } = await sql`
    select ${day}::integer - day as age, key_id, read_monitors::integer as n, rate_limited::integer as rejected
    from key_usage_days order by day, key_id`.execute(db)
  t.same(rows, [
    { age: 400, key_id: 'a', n: 5, rejected: 0 },
    { age: 92, key_id: 'a', n: 2, rejected: 4 },
    { age: 92, key_id: 'b', n: 2, rejected: 4 },
    { age: 91, key_id: 'a', n: 7, rejected: 4 },
    { age: 91, key_id: 'b', n: 2, rejected: 4 },
  ])
})
