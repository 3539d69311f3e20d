import type { RouteOptions } from 'fastify'
import { sql } from 'kysely'
import t from 'tap'
import { lockRequest, removeExpiredRecords } from '../src/idempotency/repository.ts'
import {
  createDatabase,
  isErrorReply,
  isWaitingForLock,
  newKey,
  type Replica,
  type Reply,
  startReplica,
  times,
  waitUntil,
} from './helper.ts'

const paths = new Set<string>()
const url = await createDatabase(t)
const replica = await startReplica(t, {
  url,
  extend: (app) => {
    app.addHook('onRoute', ({ method, url }: RouteOptions) => {
      if ([method].flat().includes('POST') && url.startsWith('/api')) paths.add(url)
    })
  },
})
const other = await startReplica(t, { url })
const { db } = replica
const { token: admin } = await newKey(replica)
for (const tag of ['web', 'api']) await replica.call(admin, 'POST /api/monitors', { tag, name: tag })

type Options = {
  token?: string
  at?: Pick<Replica, 'call'>
  body?: unknown
  headers?: Record<string, string>
}

/** Sends a POST request with an Idempotency-Key. */
function post(path: string, key: string, { token = admin, at = replica, body, headers }: Options = {}) {
  return at.call(token, `POST ${path}`, body, { headers: { 'idempotency-key': key, ...headers } })
}

/** Returns the numbers of rows that requests write. */
async function written(): Promise<unknown> {
  const tables = ['monitors', 'monitor_hours', 'incidents', 'incident_comments', 'maintenances', 'api_keys']
  const counts = [...tables, 'kener_monitors', 'audit_events', 'idempotency_records'].map(
    (table) => sql`(select count(*) from ${sql.table(table)})`,
  )
  const { rows } = await sql`select array[${sql.join(counts)}] as counts`.execute(db)
  return rows
}

const createdIncident = await replica.call(admin, 'POST /api/incidents', { title: 'First' })
const incident = String(createdIncident.json.data.id)
const monitors = [{ monitor_tag: 'web', impact: 'DOWN' }]
const when = { starts_at: '2999-01-01T00:00:00Z', duration_seconds: 60 }

/** Returns the last minutes. */
function minutes(count: number): string[] {
  return Array.from({ length: count }, (_, index) => new Date(Date.now() - index * 60_000).toISOString())
}

/** A request to each POST route, except those whose response contains a secret. */
const requests: [path: string, body: object, status: number][] = [
  ['/api/monitors', { tag: 'new', name: 'New' }, 201],
  ['/api/monitors/web/data', { status: 'UP' }, 200],
  ['/api/incidents', { title: 'I', monitors, comment: 'C' }, 201],
  [`/api/incidents/${incident}/comments`, { comment: 'C' }, 201],
  ['/api/maintenances', { title: 'M', ...when, rrule: 'FREQ=DAILY;COUNT=2', monitors: [] }, 201],
  ['/api/v4/monitors', { tag: 'v4', name: 'V4' }, 201],
  ['/api/v4/incidents', { title: 'I', start_date_time: 1_700_000_000 }, 201],
  [`/api/v4/incidents/${incident}/comments`, { comment: 'C', state: 'INVESTIGATING' }, 201],
  [
    '/api/v4/maintenances',
    { title: 'M', start_date_time: 9_000_000_000, rrule: 'FREQ=DAILY;COUNT=2', duration_seconds: 60 },
    201,
  ],
  ['/api/monitors', { tag: 'web', name: 'Taken' }, 409],
  ['/api/incidents', { titel: 'Typo' }, 400],
  ['/api/incidents', { title: 'I', monitors: [{ monitor_tag: 'none', impact: 'DOWN' }] }, 400],
  ['/api/incidents/999/comments', { comment: 'C' }, 404],
  ['/api/monitors/none/data', { status: 'UP' }, 404],
  ['/api/v4/monitors', { tag: 'web', name: 'Taken' }, 400],
  ['/api/v4/incidents', {}, 400],
]

await t.test(
  'the same request again gets the same status, body and ETag from every replica, and writes nothing',
  async (t) => {
    for (const [index, [path, body, status]] of requests.entries()) {
      const name = `${path} ${status}`
      const key = `repeated-${index}`
      const first = await post(path, key, { body })
      t.equal(first.statusCode, status, `${name}: ${first.body}`)
      t.equal(first.headers['idempotency-replayed'], undefined, name)
      const before = await written()
      for (const at of [replica, other]) {
        const again = await post(path, key, { body, at })
        t.match(again, { statusCode: status, body: first.body }, name)
        t.equal(again.headers['idempotency-replayed'], 'true', name)
        for (const header of ['content-type', 'etag'])
          t.equal(again.headers[header], first.headers[header], name)
        t.match(again.headers['x-ratelimit-remaining'], /\d/, name)
      }
      t.same(await written(), before, name)
    }
  },
)

await t.test('every POST route has the header, or its response contains a secret', async (t) => {
  t.ok(paths.size > 10)
  for (const path of paths) {
    // A new key, because some of these routes revoke the calling key.
    const { token, id } = await newKey(replica)
    const target = path
      .replace(':id', path.startsWith('/api/keys') ? id : incident)
      .replace(/:[a-z_]+/, 'web')
    const reply = await post(target, 'sweep', { token, body: { name: 'n', permissions: ['admin'] } })
    const record = await db
      .selectFrom('idempotency_records')
      .selectAll()
      .orderBy('expires_at', 'desc')
      .executeTakeFirst()
    const isSecret = /"(key|url)":"/.test(reply.body)
    t.match(record, { status: reply.statusCode, body: isSecret ? null : reply.body }, path)
  }
})

await t.test('the Idempotency-Key is scoped to the key, the path, and POST', async (t) => {
  const body = { comment: 'scoped' }
  const second = (await newKey(replica)).token
  const path = `/api/incidents/${incident}/comments`
  const another = String((await replica.call(admin, 'POST /api/incidents', { title: 'I' })).json.data.id)
  const replies = [
    await post(path, 'scoped', { body }),
    await post(path, 'scoped', { body, token: second }),
    await post(path, 'Scoped', { body }),
    await post(`/api/incidents/${another}/comments`, 'scoped', { body }),
  ]
  for (const { statusCode, headers } of replies) {
    t.match(
      { statusCode, replayed: headers['idempotency-replayed'] },
      { statusCode: 201, replayed: undefined },
    )
  }
  t.equal(new Set(replies.map(({ json }) => json.data.id)).size, replies.length)
  const headers = { 'idempotency-key': 'scoped' }
  for (const name of ['first', 'second']) {
    const patched = await replica.call(admin, 'PATCH /api/monitors/web', { name }, { headers })
    t.equal(patched.json.data.name, name, 'other methods ignore it')
  }
})

await t.test('other content is 422, but not the same values in another order', async (t) => {
  const path = '/api/incidents'
  const json = { 'content-type': 'application/json' }
  const first = await post(path, 'content', { body: '{"title":"T","state":"MONITORING"}', headers: json })
  const same = ['{ "state": "MONITORING",\n "title": "\\u0054" }', '{"title":"T","state":"MONITORING"}']
  for (const body of same) {
    t.match(await post(path, 'content', { body, headers: json }), { statusCode: 201, body: first.body })
  }
  const before = await written()
  for (const body of [
    { title: 'T' },
    { title: 'T', state: 'MONITORING', comment: null },
    {},
    undefined,
    [],
  ]) {
    isErrorReply(
      t,
      await post(path, 'content', { body }),
      422,
      'IDEMPOTENCY_KEY_REUSED',
      JSON.stringify(body),
    )
  }
  t.same(await written(), before)

  const { token, id } = await newKey(replica)
  t.ok(token)
  const revoke = `/api/keys/${id}/revoke`
  const revoked = await post(revoke, 'empty')
  for (const body of [{}, null, undefined]) {
    t.match(
      await post(revoke, 'empty', { body }),
      { statusCode: 200, body: revoked.body },
      'all are no content',
    )
  }
  const v4 = { body: { title: 'I', start_date_time: 1_700_000_000 } }
  await post('/api/v4/incidents?a=1', 'query', v4)
  isErrorReply(t, await post('/api/v4/incidents?a=2', 'query', v4), 422, 'IDEMPOTENCY_KEY_REUSED', 'a query')
})

await t.test('an Idempotency-Key has 1 to 255 visible ASCII characters', async (t) => {
  const body = { title: 'T' }
  for (const key of ['', 'x'.repeat(256), 'a b', 'é', '\u007f', 'a,\tb']) {
    const reply = await post('/api/incidents', key, { body })
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', JSON.stringify(key))
    t.match(reply.json.error.message, /Idempotency-Key/)
  }
  t.equal((await post('/api/v4/incidents', ' ', { body: {} })).json.error.code, 'BAD_REQUEST')
  for (const key of ['x'.repeat(255), '"~!', '0']) {
    t.equal((await post('/api/incidents', key, { body })).statusCode, 201)
  }
})

await t.test('while the first request is in flight, others are 409 with Retry-After', async (t) => {
  const path = `/api/incidents/${incident}/comments`
  const body = { comment: 'in flight' }
  const isInFlight = (reply: Reply, name: string) => {
    isErrorReply(t, reply, 409, 'CONFLICT', name)
    t.equal(reply.headers['retry-after'], '1', name)
  }
  let first: Promise<Reply> | undefined
  await db.transaction().execute(async (trx) => {
    await sql`select from incidents where id = ${Number(incident)} for update`.execute(trx)
    first = post(path, 'flight', { body })
    await waitUntil(() => isWaitingForLock(db))
    // More than the requests of a key that run at the same time.
    const repeated = await times(5, () => post(path, 'flight', { body }))
    for (const reply of repeated) isInFlight(reply, 'in the same replica')
  })
  const created = await first
  t.equal(created?.statusCode, 201)
  t.equal((await post(path, 'flight', { body })).body, created?.body)

  const found = sql<{
    id: Buffer
  }>`delete from idempotency_records where body = ${created?.body} returning id`
  const [record] = (await found.execute(db)).rows
  await db.transaction().execute(async (trx) => {
    t.ok(await lockRequest(trx, record?.id ?? Buffer.alloc(0)))
    for (const at of [replica, other])
      isInFlight(await post(path, 'flight', { body, at }), 'in another replica')
  })
  t.equal((await post(path, 'flight', { body })).statusCode, 201, 'the 409 was not stored')
})

await t.test('a created key is not stored: the repeated request is 409 with its id', async (t) => {
  const { token, id } = await newKey(replica)
  const overlap = { overlap_seconds: 600 }
  const cases: [path: string, body: object][] = [
    ['/api/keys', { name: 'n', permissions: ['read:monitors'] }],
    [`/api/keys/${(await newKey(replica)).id}/rotate`, overlap],
    ['/api/me/rotate', overlap],
  ]
  for (const [path, body] of cases) {
    const created = await post(path, 'secret', { token, body })
    t.equal(created.statusCode, 201, path)
    const before = await written()
    const again = await post(path, 'secret', { token, body, at: other })
    isErrorReply(t, again, 409, 'CONFLICT', path)
    t.ok(again.json.error.message.includes(created.json.data.id), again.body)
    t.notOk(again.body.includes(created.json.data.key))
    t.same(await written(), before)
  }
  t.ok(id)
})

await t.test('a response that is too large is not stored: the repeated request is 409', async (t) => {
  const body = { tag: 'large', name: 'L', type_data: { text: 'é'.repeat(40_000) } }
  t.equal((await post('/api/v4/monitors', 'large', { body })).statusCode, 201)
  const again = await post('/api/v4/monitors', 'large', { body })
  isErrorReply(t, again, 409, 'CONFLICT', 'large')
  t.match(again.json.error.message, /too large/)
})

await t.test('401, 403 and 429 take precedence, and are not stored', async (t) => {
  const { token, id } = await newKey(replica, { permissions: ['read:incidents'] })
  const set = (values: object) => db.updateTable('api_keys').set(values).where('id', '=', id).execute()
  const send = () => post('/api/incidents', 'access', { token, body: { title: 'T' } })
  t.equal((await send()).statusCode, 403)
  await set({ permissions: ['write:incidents'] })
  const first = await send()
  t.equal(first.statusCode, 201)
  await set({ permissions: ['read:incidents'] })
  t.equal((await send()).statusCode, 403)
  await set({ permissions: ['write:incidents'], rate_limit: 1 })
  await waitUntil(async () => (await send()).statusCode === 429)
  await set({ rate_limit: null })
  t.match(await send(), { statusCode: 201, body: first.body })
  await set({ revoked_at: new Date() })
  isErrorReply(t, await send(), 401, 'KEY_REVOKED', 'a revoked key')
})

await t.test(
  'a response is repeated only if the key may still use all monitors that it could use',
  async (t) => {
    const { token, id } = await newKey(replica, {
      permissions: ['write:incidents'],
      monitors: ['web', 'ap*'],
    })
    const bind = (tags: string[] | null) =>
      db.updateTable('api_keys').set({ monitors: tags }).where('id', '=', id).execute()
    const body = { title: 'Scope', monitors }
    const created = await post('/api/incidents', 'scope', { token, body })
    const path = `/api/incidents/${String(created.json.data.id)}/comments`
    const commented = await post(path, 'scope', { token, body: { comment: 'C' } })
    const comment = () => post(path, 'scope', { token, body: { comment: 'C' } })
    await bind(['ap*'])
    isErrorReply(
      t,
      await post('/api/incidents', 'scope', { token, body }),
      403,
      'FORBIDDEN',
      'a monitor in the body',
    )
    const withheld = await comment()
    isErrorReply(t, withheld, 409, 'CONFLICT', 'a monitor of the incident')
    t.notMatch(withheld.body, /comment/)
    await bind(['web', 'a*'])
    t.match(await comment(), { statusCode: 201, body: commented.body })
    await bind(null)
    t.match(await comment(), { statusCode: 201, body: commented.body })
    await db.updateTable('idempotency_records').set({ monitors: null }).execute()
    await bind(['web', 'a*'])
    t.equal((await comment()).statusCode, 409)
  },
)

await t.test('every POST route writes in the transaction of its record', async (t) => {
  const { id } = await newKey(replica)
  const self = (await newKey(replica)).token
  const writes: [path: string, body: object, token?: string][] = [
    ['/api/monitors', { tag: 'failing', name: 'N' }],
    ['/api/monitors/api/data', { status: 'UP' }],
    ['/api/monitors/api/data', { points: minutes(200).map((timestamp) => ({ status: 'UP', timestamp })) }],
    ['/api/monitors/web/heartbeat', {}],
    ['/api/incidents', { title: 'I', monitors, comment: 'C' }],
    [`/api/incidents/${incident}/comments`, { comment: 'C' }],
    ['/api/maintenances', { title: 'M', ...when }],
    ['/api/keys', { name: 'n', permissions: ['admin'] }],
    [`/api/keys/${id}/rotate`, {}],
    [`/api/keys/${id}/revoke`, {}],
    ['/api/me/rotate', {}, self],
    ['/api/me/revoke', {}, self],
    ['/api/v4/monitors', { tag: 'failing', name: 'N' }],
    ['/api/v4/incidents', { title: 'I', start_date_time: 1_700_000_000 }],
    [`/api/v4/incidents/${incident}/comments`, { comment: 'C', state: 'RESOLVED' }],
    ['/api/v4/maintenances', { title: 'M', start_date_time: 9e9, rrule: 'FREQ=DAILY', duration_seconds: 60 }],
  ]
  const isTested = (route: string) => {
    const pattern = new RegExp(`^${route.replace(/:[a-z_]+/g, '[^/]+')}$`)
    return writes.some(([path]) => pattern.test(path) || pattern.test(`${path}/`))
  }
  t.same(
    [...paths].filter((route) => !isTested(route)),
    [],
    'every route has a write here',
  )
  await sql`
    create function fail() returns trigger language plpgsql as 'begin raise exception ''failed''; end'`.execute(
    db,
  )
  await sql`
    create constraint trigger fail after insert on idempotency_records deferrable initially deferred
    for each row when (new.status < 400) execute function fail()`.execute(db)
  const before = await written()
  for (const [index, [path, body, token = admin]] of writes.entries()) {
    const reply = await post(path, `failing-${index}`, { token, body })
    isErrorReply(t, reply, 500, 'INTERNAL_ERROR', `the commit of ${path} fails`)
    t.same(await written(), before, `${path} has written nothing`)
  }
  await sql`drop function fail() cascade`.execute(db)
  const [[path, body]] = writes as [[string, object]]
  t.equal((await post(path, 'failing-0', { body })).statusCode, 201, 'a repetition is handled')
  t.equal((await post(path, 'failing-0', { body })).headers['idempotency-replayed'], 'true')
})

await t.test('a record is stored for 24 hours, and then deleted', async (t) => {
  const body = { title: 'Expiring' }
  const first = await post('/api/incidents', 'expiring', { body })
  const { rows } = await sql<{ hours: number }>`
    select extract(epoch from max(expires_at) - now()) / 3600 as hours from idempotency_records`.execute(db)
  t.ok(Number(rows[0]?.hours) > 23.9 && Number(rows[0]?.hours) <= 24)
  const expire = () => sql`update idempotency_records set expires_at = now()`.execute(db)
  await expire()
  const second = await post('/api/incidents', 'expiring', { body })
  t.equal(second.statusCode, 201)
  t.not(second.json.data.id, first.json.data.id)
  t.equal((await post('/api/incidents', 'expiring', { body })).body, second.body)
  await removeExpiredRecords(db)
  const left = await db.selectFrom('idempotency_records').select('body').execute()
  t.same(left, [{ body: second.body }])
  await expire()
  await removeExpiredRecords(db)
  t.same(await db.selectFrom('idempotency_records').select('body').execute(), [])
})
