import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { permissions } from '../src/permissions.ts'
import {
  createDatabase,
  expire,
  isErrorReply,
  isWaitingForLock,
  newKey,
  type Replica,
  startReplica,
  waitUntil,
} from './helper.ts'

async function start(t: Test): Promise<Replica & { admin: string; adminId: string }> {
  const replica = await startReplica(t)
  const { token, id } = await newKey(replica, { name: 'root' })
  return { ...replica, admin: token, adminId: id }
}

const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/
const fields = [
  'id',
  'name',
  'permissions',
  'status',
  'rate_limit',
  'expires_at',
  'created_at',
  'last_used_at',
  'revoked_at',
  'rotated_from',
]

await t.test('GET /api/me describes the calling key', async (t) => {
  const { db, call } = await start(t)
  const { token, id } = await newKey(
    { db },
    { name: 'my-api-key', permissions: ['read:monitors', 'write:incidents'], rateLimit: 7 },
  )
  const reply = await call(token, 'GET /api/me')
  t.equal(reply.statusCode, 200)
  t.match(reply.json.data.created_at, time)
  t.same(reply.json, {
    success: true,
    data: {
      key_name: 'my-api-key',
      permissions: ['read:monitors', 'write:incidents'],
      created_at: reply.json.data.created_at,
      id,
      expires_at: null,
      rate_limit: 7,
    },
  })
})

await t.test('a created key is returned once, and is valid', async (t) => {
  const { call, admin, db } = await start(t)
  const wanted = {
    name: 'monitoring-service',
    permissions: ['read:monitors', 'write:incidents'],
    expires_at: '2999-01-01T02:00:00.9+02:00',
    rate_limit: 50,
  }
  const created = await call(admin, 'POST /api/keys', wanted)
  t.equal(created.statusCode, 201)
  t.equal(created.headers['cache-control'], 'no-store')
  const { key, ...rest } = created.json.data
  t.match(key, /^kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}$/)
  t.ok(key.startsWith(`kener_${String(rest.id)}_`))
  t.same(Object.keys(rest), fields)
  t.match(rest, {
    ...wanted,
    expires_at: '2999-01-01T00:00:00Z',
    status: 'active',
    last_used_at: null,
    revoked_at: null,
  })

  const me = await call(key, 'GET /api/me')
  t.equal(me.json.data.key_name, 'monitoring-service')
  t.equal(me.headers['x-ratelimit-limit'], '50')

  const read = await call(admin, `GET /api/keys/${String(rest.id)}`)
  t.same(Object.keys(read.json.data), fields)
  const list = await call(admin, 'GET /api/keys')
  for (const item of list.json.data) t.same(Object.keys(item), fields)
  const secret = key.slice(23)
  for (const reply of [read, list, me]) t.notOk(reply.body.includes(secret) || reply.body.includes('argon2'))
  const rows = JSON.stringify(await db.selectFrom('api_keys').selectAll().execute())
  t.notOk(rows.includes(secret), 'the database contains only a hash')
})

await t.test('a key with only a name and permissions never expires and has the default limit', async (t) => {
  const { call, admin } = await start(t)
  for (const more of [{}, { expires_at: null, rate_limit: null }]) {
    const { json } = await call(admin, 'POST /api/keys', {
      name: 'n',
      permissions: [...permissions],
      ...more,
    })
    t.match(json.data, { expires_at: null, rate_limit: null, permissions })
  }
})

await t.test(
  'the list is newest first, is filtered by status, and pages neither skip nor repeat keys',
  async (t) => {
    const { call, admin, adminId, db } = await start(t)
    const ids: string[] = []
    for (let count = 0; count < 25; count++) ids.unshift((await newKey({ db })).id)
    ids.push(adminId)
    const [expired = '', revoked = ''] = ids
    await expire({ db }, expired)
    await call(admin, `POST /api/keys/${revoked}/revoke`)

    const seen: string[] = []
    let cursor: string | null = ''
    do {
      const page = await call(admin, `GET /api/keys?limit=7${cursor ? `&cursor=${cursor}` : ''}`)
      seen.push(...page.json.data.map(({ id }: { id: string }) => id))
      // A new key is before the first page, and does not shift the other pages.
      await newKey({ db })
      cursor = page.json.pagination.next_cursor
    } while (cursor)
    t.same(seen, ids)

    const idsOf = async (query: string) => {
      const { json } = await call(admin, `GET /api/keys?${query}`)
      return json.data.map(({ id }: { id: string }) => id)
    }
    t.same(await idsOf('status=expired'), [expired])
    t.same(await idsOf('status=revoked'), [revoked])
    t.notOk((await idsOf('status=active&limit=100')).some((id: string) => id === expired || id === revoked))
  },
)

await t.test('the last page has no next_cursor, also when it is full', async (t) => {
  const { call, admin, db } = await start(t)
  await newKey({ db })
  t.equal((await call(admin, 'GET /api/keys?limit=2')).json.pagination.next_cursor, null)
  t.type((await call(admin, 'GET /api/keys?limit=1')).json.pagination.next_cursor, 'string')
})

await t.test('PATCH updates only the given fields', async (t) => {
  const { call, admin, db } = await start(t)
  const { id } = await newKey({ db }, { name: 'old', permissions: ['read:monitors'], rateLimit: 5 })
  const patch = async (body: object) => (await call(admin, `PATCH /api/keys/${id}`, body)).json.data
  const before = (await call(admin, `GET /api/keys/${id}`)).json.data
  t.same(await patch({}), before)
  t.same(await patch({ name: 'new' }), { ...before, name: 'new' })
  t.same(await patch({ permissions: ['admin'] }), { ...before, name: 'new', permissions: ['admin'] })
  t.match(await patch({ rate_limit: null }), { name: 'new', rate_limit: null })
  t.match(await patch({ expires_at: '2998-12-31T23:59:59Z' }), {
    expires_at: '2998-12-31T23:59:59Z',
    status: 'active',
  })
  t.match(await patch({ expires_at: '2020-01-01T00:00:00Z' }), { status: 'expired' })
  t.match(await patch({ expires_at: null }), { expires_at: null, status: 'active' })
})

await t.test('a revocation is irreversible and idempotent', async (t) => {
  const { call, admin, db } = await start(t)
  const { token, id } = await newKey({ db })
  const first = await call(admin, `POST /api/keys/${id}/revoke`)
  t.equal(first.statusCode, 200)
  t.match(first.json.data, { status: 'revoked', revoked_at: time })
  isErrorReply(t, await call(token, 'GET /api/me'), 401, 'KEY_REVOKED', 'the next request')
  const second = await call(admin, `POST /api/keys/${id}/revoke`, {})
  t.equal(second.statusCode, 200)
  t.same(second.json.data, first.json.data)
  isErrorReply(t, await call(admin, `PATCH /api/keys/${id}`, { name: 'x' }), 409, 'CONFLICT', 'a change')
  isErrorReply(
    t,
    await call(admin, `PATCH /api/keys/${id}`, { expires_at: null }),
    409,
    'CONFLICT',
    'an expiry',
  )
  isErrorReply(t, await call(admin, `POST /api/keys/${id}/rotate`), 409, 'CONFLICT', 'a rotation')
})

await t.test(
  'a successor has the attributes of the rotated key, which expires after the overlap, never later than before',
  async (t) => {
    const { call, admin, db } = await start(t)
    const inAnHour = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000)
    const old = await newKey(
      { db },
      { name: 'n', permissions: ['read:monitors'], rateLimit: 9, expiresAt: inAnHour },
    )
    const rotated = await call(admin, `POST /api/keys/${old.id}/rotate`, { overlap_seconds: 60 })
    t.equal(rotated.statusCode, 201)
    const { key, ...rest } = rotated.json.data
    t.same(Object.keys(rest), fields)
    const expires_at = `${inAnHour.toISOString().slice(0, 19)}Z`
    t.match(rest, {
      name: 'n',
      permissions: ['read:monitors'],
      rate_limit: 9,
      rotated_from: old.id,
      expires_at,
    })
    t.equal((await call(key, 'GET /api/me')).statusCode, 200)
    t.equal((await call(old.token, 'GET /api/me')).statusCode, 200, 'both work during the overlap')

    const ends = Date.parse((await call(admin, `GET /api/keys/${old.id}`)).json.data.expires_at)
    t.ok(ends > Date.now() + 30_000 && ends <= Date.now() + 61_000, 'the old key expires after the overlap')
    await call(admin, `POST /api/keys/${old.id}/rotate`, { overlap_seconds: 604_800 })
    t.equal(
      Date.parse((await call(admin, `GET /api/keys/${old.id}`)).json.data.expires_at),
      ends,
      'a second rotation does not extend it',
    )

    await call(admin, `POST /api/keys/${old.id}/rotate`)
    isErrorReply(
      t,
      await call(old.token, 'GET /api/me'),
      401,
      'KEY_EXPIRED',
      'without overlap it expires at once',
    )
    isErrorReply(t, await call(admin, `POST /api/keys/${old.id}/rotate`), 409, 'CONFLICT', 'an expired key')
  },
)

await t.test('a rotation may set the expiry of the new key', async (t) => {
  const { call, admin, db } = await start(t)
  const { id } = await newKey({ db })
  const path = `POST /api/keys/${id}/rotate` as const
  const past = await call(admin, path, { expires_at: '2020-01-01T00:00:00Z' })
  isErrorReply(t, past, 400, 'INVALID_REQUEST', 'in the past')
  t.equal(past.json.error.message, 'Invalid body: /expires_at must be in the future')
  const expires_at = '2999-01-01T00:00:00Z'
  t.match((await call(admin, path, { expires_at })).json.data, { expires_at, rotated_from: id })
})

await t.test('an expiring admin key cannot create or extend a key beyond its own expiry', async (t) => {
  const { call, admin, db } = await start(t)
  const time = (hours: number) => `${new Date(Date.now() + hours * 3_600_000).toISOString().slice(0, 19)}Z`
  const own = time(1)
  const expiring = await newKey({ db }, { expiresAt: new Date(own) })
  const create = async (key: string, more = {}) =>
    call(key, 'POST /api/keys', { name: 'n', permissions: ['admin'], ...more })
  const read = async (id: string) => (await call(admin, `GET /api/keys/${id}`)).json.data
  const rejects = async (route: `${'POST' | 'PATCH'} ${string}`, body: object) => {
    const reply = await call(expiring.token, route, body)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', `${route} ${JSON.stringify(body)}`)
    t.equal(
      reply.json.error.message,
      `Invalid body: /expires_at must not be later than ${own}, when the calling key expires`,
    )
  }

  await rejects('POST /api/keys', { name: 'n', permissions: ['admin'], expires_at: time(2) })
  t.equal((await create(expiring.token, { expires_at: own })).json.data.expires_at, own)
  for (const more of [{}, { expires_at: null }]) {
    t.equal((await create(expiring.token, more)).json.data.expires_at, own, 'the latest expiry by default')
  }

  const shorter = (await create(admin, { expires_at: time(0.5) })).json.data.id as string
  const longer = (await create(admin, { expires_at: time(9) })).json.data.id as string
  for (const expires_at of [null, time(2)]) {
    await rejects(`PATCH /api/keys/${expiring.id}`, { expires_at })
    await rejects(`PATCH /api/keys/${shorter}`, { expires_at })
  }
  t.equal((await read(expiring.id)).expires_at, own)
  await rejects(`PATCH /api/keys/${longer}`, { expires_at: time(10) })
  for (const [id, expires_at] of [
    [shorter, own],
    [longer, time(8)],
    [longer, own],
  ]) {
    const reply = await call(expiring.token, `PATCH /api/keys/${id}`, { expires_at })
    t.equal(reply.json.data.expires_at, expires_at, 'up to its own expiry, or earlier than before')
  }
  const renamed = await call(expiring.token, `PATCH /api/keys/${expiring.id}`, { name: 'renamed' })
  t.match(renamed.json.data, { name: 'renamed', expires_at: own })

  const endless = (await create(admin)).json.data.id as string
  await rejects(`POST /api/keys/${endless}/rotate`, {})
  await rejects(`POST /api/keys/${endless}/rotate`, { expires_at: time(2) })
  t.match(await read(endless), { status: 'active', expires_at: null })
  for (const [id, body] of [[endless, { expires_at: own }] as const, [expiring.id, undefined] as const]) {
    const reply = await call(expiring.token, `POST /api/keys/${id}/rotate`, body)
    t.equal(reply.json.data.expires_at, own, 'a rotation')
  }
})

await t.test('of concurrent rotations without overlap, one succeeds', async (t) => {
  const { call, admin, db } = await start(t)
  const { id } = await newKey({ db })
  const replies = await Promise.all(
    Array.from({ length: 20 }, () => call(admin, `POST /api/keys/${id}/rotate`)),
  )
  t.equal(replies.filter(({ statusCode }) => statusCode === 201).length, 1)
  t.equal(replies.filter(({ statusCode }) => statusCode === 409).length, 19)
  const successors = await db.selectFrom('api_keys').select('id').where('rotated_from', '=', id).execute()
  t.equal(successors.length, 1)
})

await t.test('a rotation that waited for another one finds the key expired', async (t) => {
  const { call, admin, db } = await start(t)
  const { id } = await newKey({ db })
  const first = await db.startTransaction().execute()
  await first.selectFrom('api_keys').select('id').where('id', '=', id).forUpdate().execute()
  const second = call(admin, `POST /api/keys/${id}/rotate`)
  await waitUntil(() => isWaitingForLock(db))
  // Later than now() of the second rotation.
  await sql`update api_keys set expires_at = clock_timestamp() where id = ${id}`.execute(first)
  await first.commit().execute()
  isErrorReply(t, await second, 409, 'CONFLICT', 'the second')
})

await t.test('an unknown id is 404', async (t) => {
  const { call, admin } = await start(t)
  for (const id of ['AAAAAAAAAAAAAAAA', 'x', '%2e%2e', "'; drop table api_keys; --".replaceAll(' ', '%20')]) {
    isErrorReply(t, await call(admin, `GET /api/keys/${id}`), 404, 'NOT_FOUND', `GET ${id}`)
    isErrorReply(
      t,
      await call(admin, `PATCH /api/keys/${id}`, { name: 'x' }),
      404,
      'NOT_FOUND',
      `PATCH ${id}`,
    )
    isErrorReply(t, await call(admin, `POST /api/keys/${id}/revoke`), 404, 'NOT_FOUND', `revoke ${id}`)
    isErrorReply(t, await call(admin, `POST /api/keys/${id}/rotate`), 404, 'NOT_FOUND', `rotate ${id}`)
  }
})

await t.test('last_used_at is updated when a key is used, but not for every request', async (t) => {
  const { call, admin, db, statements } = await start(t)
  const { token, id } = await newKey({ db })
  const lastUse = async () =>
    (await call(admin, `GET /api/keys/${id}`)).json.data.last_used_at as string | null
  t.equal(await lastUse(), null)
  await call(token, 'GET /api/me')
  let seen = await lastUse()
  for (let tries = 0; seen === null && tries < 200; tries++) seen = await lastUse()
  t.match(seen, time)
  t.ok(Math.abs(Date.parse(seen ?? '') - Date.now()) < 60_000)

  statements.length = 0
  for (let count = 0; count < 20; count++) await call(token, 'GET /api/me')
  // Updates in flight, of this key and of the admin key, may still be recorded.
  t.ok(statements.filter((sql) => sql.includes('set last_used_at')).length <= 2)
})

await t.test('the last second of 9999 is a valid expiry in every time zone of the database', async (t) => {
  const url = await createDatabase(t)
  const replica = await startReplica(t, { url: `${url}?options=-c%20timezone%3DAsia/Tokyo` })
  const { token } = await newKey(replica, { expiresAt: new Date('9999-12-31T23:59:59Z') })
  const { statusCode, json } = await replica.call(token, 'GET /api/me')
  t.equal(statusCode, 200)
  t.equal(json.data.expires_at, '9999-12-31T23:59:59Z')
})
