import { sql } from 'kysely'
import t from 'tap'
import { permissions } from '../src/permissions.ts'
import {
  createDatabase,
  expire,
  isErrorReply,
  isWaitingForLock,
  newKey,
  type Replica,
  shareReplica,
  startReplica,
  waitUntil,
} from './helper.ts'

const share = shareReplica(t)

async function start(): Promise<Replica & { admin: string; adminId: string }> {
  const replica = await share()
  const { token, id } = await newKey(replica, { name: 'root' })
  return { ...replica, admin: token, adminId: id }
}

const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/
const fields = [
  'id',
  'name',
  'description',
  'permissions',
  'status',
  'rate_limit',
  'monitors',
  'allowed_ips',
  'expires_at',
  'created_at',
  'created_by',
  'last_used_at',
  'last_used_address',
  'revoked_at',
  'rotated_from',
  'rotated_to',
]

await t.test('GET /api/me describes the calling key', async (t) => {
  const { db, call } = await start()
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
      description: null,
      monitors: null,
      allowed_ips: null,
      expires_at: null,
      rate_limit: 7,
      last_used_at: null,
    },
  })
  await waitUntil(async () => (await call(token, 'GET /api/me')).json.data.last_used_at !== null)
})

await t.test('a created key is returned once, and is valid', async (t) => {
  const { call, admin, adminId, db } = await start()
  const wanted = {
    name: 'monitoring-service',
    description: 'Opens incidents',
    permissions: ['read:monitors', 'write:incidents'],
    monitors: ['website', 'payments-*'],
    allowed_ips: ['127.0.0.0/8', '2001:db8::1'],
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
    created_by: { key_id: adminId, key_name: 'root' },
    last_used_at: null,
    last_used_address: null,
    revoked_at: null,
    rotated_from: null,
    rotated_to: null,
  })

  const me = await call(key, 'GET /api/me')
  t.equal(me.json.data.key_name, 'monitoring-service')
  t.equal(me.headers['x-ratelimit-limit'], '50')
  t.match(me.json.data, {
    description: 'Opens incidents',
    monitors: wanted.monitors,
    allowed_ips: wanted.allowed_ips,
  })

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
  const { call, admin } = await start()
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
    const { call, admin, adminId, db } = await start()
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

await t.test('keys are found by text, by expiry and by last use', async (t) => {
  const { call, admin, adminId, db } = await start()
  const add = async (body: object) =>
    (await call(admin, 'POST /api/keys', { permissions: ['read:monitors'], ...body })).json.data
  const backup = await add({ name: 'Backup', expires_at: '2998-01-01T00:00:00Z' })
  const other = await add({
    name: 'n',
    description: 'the second BACKUP_%',
    expires_at: '2999-01-01T00:00:00Z',
  })
  const idsOf = async (query: string) => {
    const { json } = await call(admin, `GET /api/keys?${query}`)
    return json.data.map(({ id }: { id: string }) => id)
  }
  t.same(await idsOf('q=backup'), [other.id, backup.id])
  t.same(await idsOf('q=_%25'), [other.id], 'the text is no pattern')
  t.same(await idsOf(`q=${String(backup.id)}`), [backup.id])
  t.same(await idsOf('q=nothing'), [])
  t.same(await idsOf('expires_before=2998-06-01T00:00:00Z'), [backup.id], 'not those that never expire')
  await db
    .updateTable('api_keys')
    .set({ last_used_at: new Date('2020-01-01T00:00:00Z') })
    .where('id', '=', backup.id)
    .execute()
  t.same(await idsOf('unused_since=2020-01-01T00:00:01Z'), [other.id, backup.id], 'also never used ones')
  t.same(await idsOf('unused_since=2020-01-01T00:00:00Z'), [other.id])
  t.notOk((await idsOf('status=active&unused_since=2020-01-01T00:00:00Z')).includes(adminId))
})

await t.test('the last page has no next_cursor, also when it is full', async (t) => {
  const { call, admin, db } = await start()
  await newKey({ db })
  t.equal((await call(admin, 'GET /api/keys?limit=2')).json.pagination.next_cursor, null)
  t.type((await call(admin, 'GET /api/keys?limit=1')).json.pagination.next_cursor, 'string')
})

await t.test('PATCH updates only the given fields', async (t) => {
  const { call, admin, db } = await start()
  const { id } = await newKey({ db }, { name: 'old', permissions: ['read:monitors'], rateLimit: 5 })
  const patch = async (body: object) => (await call(admin, `PATCH /api/keys/${id}`, body)).json.data
  const before = (await call(admin, `GET /api/keys/${id}`)).json.data
  t.same(await patch({}), before)
  t.same(await patch({ name: 'new' }), { ...before, name: 'new' })
  const scope = { description: 'd', monitors: ['website'], allowed_ips: ['::1'] }
  t.match(await patch(scope), { ...scope, name: 'new' })
  t.match(await patch({ description: null, monitors: null, allowed_ips: null }), {
    description: null,
    monitors: null,
    allowed_ips: null,
  })
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
  const { call, admin, db } = await start()
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
    const { call, admin, db } = await start()
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
    t.equal((await call(admin, `GET /api/keys/${old.id}`)).json.data.rotated_to, rest.id)

    const again = await call(admin, `POST /api/keys/${old.id}/rotate`, { overlap_seconds: 604_800 })
    isErrorReply(t, again, 409, 'CONFLICT', 'a repeated rotation')
    t.match(again.json.error.message, String(rest.id), 'names the successor')
    t.equal(Date.parse((await call(admin, `GET /api/keys/${old.id}`)).json.data.expires_at), ends)

    const last = await call(admin, `POST /api/keys/${rest.id}/rotate`)
    t.match(last.json.data, { expires_at, rotated_from: rest.id }, 'the original expiry')
    isErrorReply(t, await call(key, 'GET /api/me'), 401, 'KEY_EXPIRED', 'without overlap it expires at once')
    const expired = await call(admin, `POST /api/keys/${rest.id}/rotate`)
    isErrorReply(t, expired, 409, 'CONFLICT', 'rotated, and expired since')
    t.match(expired.json.error.message, String(last.json.data.id))
  },
)

await t.test('an expired key cannot be rotated', async (t) => {
  const { call, admin, db } = await start()
  const { id } = await newKey({ db })
  await expire({ db }, id)
  isErrorReply(t, await call(admin, `POST /api/keys/${id}/rotate`), 409, 'CONFLICT', 'expired')
})

await t.test('a key rotates and revokes itself, and gains nothing by it', async (t) => {
  const { call, admin, db } = await start()
  const inAnHour = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000)
  const wanted = { permissions: ['read:monitors'] as const, monitors: ['website'], rateLimit: 9 }
  const own = await newKey({ db }, { ...wanted, permissions: [...wanted.permissions], expiresAt: inAnHour })
  const later = new Date(inAnHour.getTime() + 1_000).toISOString()
  const rejected = await call(own.token, 'POST /api/me/rotate', { expires_at: later })
  isErrorReply(t, rejected, 400, 'INVALID_REQUEST', 'beyond its own expiry')
  for (const more of [{ permissions: ['admin'] }, { monitors: null }, { rate_limit: 1_000 }]) {
    isErrorReply(t, await call(own.token, 'POST /api/me/rotate', more), 400, 'INVALID_REQUEST', 'a wider one')
  }

  // Its expiry is brought forward while the request is in flight.
  const trx = await db.startTransaction().execute()
  const earlier = new Date(inAnHour.getTime() - 600_000)
  await trx.updateTable('api_keys').set({ expires_at: earlier }).where('id', '=', own.id).execute()
  const waiting = call(own.token, 'POST /api/me/rotate', { expires_at: inAnHour.toISOString() })
  await waitUntil(() => isWaitingForLock(db))
  await trx.commit().execute()
  isErrorReply(t, await waiting, 400, 'INVALID_REQUEST', 'beyond its new expiry')

  const rotated = await call(own.token, 'POST /api/me/rotate', { overlap_seconds: 60 })
  t.equal(rotated.statusCode, 201)
  t.equal(rotated.headers['cache-control'], 'no-store')
  const { key, ...successor } = rotated.json.data
  t.same(Object.keys(successor), fields)
  t.match(successor, {
    permissions: ['read:monitors'],
    monitors: ['website'],
    rate_limit: 9,
    expires_at: `${earlier.toISOString().slice(0, 19)}Z`,
    rotated_from: own.id,
    created_by: { key_id: own.id, key_name: 'test' },
  })
  const again = await call(own.token, 'POST /api/me/rotate')
  isErrorReply(t, again, 409, 'CONFLICT', 'a repeated rotation')
  t.match(again.json.error.message, String(successor.id))

  const revoked = await call(key, 'POST /api/me/revoke')
  t.equal(revoked.statusCode, 200)
  t.match(revoked.json.data, { id: successor.id, status: 'revoked' })
  isErrorReply(t, await call(key, 'GET /api/me'), 401, 'KEY_REVOKED', 'the next request')
  isErrorReply(t, await call(key, 'POST /api/me/rotate'), 401, 'KEY_REVOKED', 'a rotation')
  t.equal((await call(admin, `GET /api/keys/${own.id}`)).json.data.status, 'active', 'only the calling key')
})

await t.test('a key that rotates itself repeatedly leaves one overlap, not one per rotation', async (t) => {
  const { call, admin, db } = await start()
  const first = await newKey({ db })
  const rotate = async (token: string) => {
    const { json } = await call(token, 'POST /api/me/rotate', { overlap_seconds: 604_800 })
    return json.data as { id: string; key: string }
  }
  const second = await rotate(first.token)
  t.equal((await call(first.token, 'GET /api/me')).statusCode, 200, 'the overlap')
  await rotate(second.key)
  isErrorReply(t, await call(first.token, 'GET /api/me'), 401, 'KEY_EXPIRED', 'the overlap before')
  t.equal((await call(second.key, 'GET /api/me')).statusCode, 200)
  const { json } = await call(admin, 'GET /api/audit?limit=4')
  const ended = json.data.find(({ target }: { target: { id: string } }) => target.id === first.id)
  t.match(ended, { action: 'key.updated', actor: { key_id: second.id } })
  t.same(Object.keys(ended.changes), ['expires_at'])

  const third = await newKey({ db })
  const successor = await call(admin, `POST /api/keys/${third.id}/rotate`, { overlap_seconds: 60 })
  await call(admin, `POST /api/keys/${successor.json.data.id}/rotate`, { overlap_seconds: 60 })
  t.equal((await call(third.token, 'GET /api/me')).statusCode, 200, 'an operator may have several overlaps')
})

await t.test('KEY_LIFETIME_MAX_DAYS bounds the expiry of new, changed and rotated keys', async (t) => {
  const { call, db } = await startReplica(t, { config: { keyLifetimeMaxDays: 30 } })
  const admin = (await newKey({ db })).token
  const inDays = (days: number) => `${new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 19)}Z`
  const body = { name: 'n', permissions: ['read:monitors'] }
  const isAboutMax = (text: string) => Math.abs(Date.parse(text) - Date.now() - 30 * 86_400_000) < 3_600_000

  const rejected = await call(admin, 'POST /api/keys', { ...body, expires_at: inDays(31) })
  isErrorReply(t, rejected, 400, 'INVALID_REQUEST', 'later')
  t.match(
    rejected.json.error.message,
    /^Invalid body: \/expires_at must not be later than \S+: .* at most 30 days/,
  )
  t.equal((await call(admin, 'POST /api/keys', { ...body, expires_at: inDays(29) })).statusCode, 201)
  const created = (await call(admin, 'POST /api/keys', body)).json.data
  t.ok(isAboutMax(created.expires_at), 'the latest allowed expiry by default')

  const { id } = await newKey({ db })
  t.equal((await call(admin, `PATCH /api/keys/${id}`, { name: 'x' })).json.data.expires_at, null, 'stays')
  t.equal((await call(admin, `PATCH /api/keys/${id}`, { expires_at: null })).statusCode, 200, 'stays')
  t.equal(
    (await call(admin, `PATCH /api/keys/${id}`, { expires_at: inDays(300) })).statusCode,
    200,
    'shorter',
  )
  for (const expires_at of [null, inDays(301)]) {
    const reply = await call(admin, `PATCH /api/keys/${id}`, { expires_at })
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', 'an extension')
  }
  const late = await call(admin, `POST /api/keys/${id}/rotate`, { expires_at: inDays(31) })
  isErrorReply(t, late, 400, 'INVALID_REQUEST', 'a rotation')
  t.ok(isAboutMax((await call(admin, `POST /api/keys/${id}/rotate`)).json.data.expires_at))
})

await t.test('an admin key cannot be bound to monitors', async (t) => {
  const { call, admin } = await start()
  const create = (body: object) => call(admin, 'POST /api/keys', { name: 'n', ...body })
  const monitors = ['website']
  const path = (reply: Awaited<ReturnType<typeof call>>) => {
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', 'bound')
    return reply.json.error.details[0].path
  }
  t.equal(path(await create({ permissions: ['read:monitors', 'admin'], monitors })), '/monitors')
  const bound = (await create({ permissions: ['read:monitors'], monitors })).json.data.id
  t.equal(path(await call(admin, `PATCH /api/keys/${bound}`, { permissions: ['admin'] })), '/permissions')
  const free = (await create({ permissions: ['admin'] })).json.data.id
  t.equal(path(await call(admin, `PATCH /api/keys/${free}`, { monitors })), '/monitors')
  const widened = await call(admin, `PATCH /api/keys/${bound}`, { permissions: ['admin'], monitors: null })
  t.equal(widened.statusCode, 200)
})

await t.test('a rotation may set the expiry of the new key', async (t) => {
  const { call, admin, db } = await start()
  const { id } = await newKey({ db })
  const path = `POST /api/keys/${id}/rotate` as const
  const past = await call(admin, path, { expires_at: '2020-01-01T00:00:00Z' })
  isErrorReply(t, past, 400, 'INVALID_REQUEST', 'in the past')
  t.equal(past.json.error.message, 'Invalid body: /expires_at must be in the future')
  const expires_at = '2999-01-01T00:00:00Z'
  t.match((await call(admin, path, { expires_at })).json.data, { expires_at, rotated_from: id })
})

await t.test('an expiring admin key cannot create or extend a key beyond its own expiry', async (t) => {
  const { call, admin, db } = await start()
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

  const reader = (await newKey({ db }, { permissions: ['read:monitors'] })).id
  const grant = { permissions: ['admin'] }
  const granted = await call(expiring.token, `PATCH /api/keys/${reader}`, grant)
  isErrorReply(t, granted, 400, 'INVALID_REQUEST', 'admin for a key that never expires')
  t.equal(
    granted.json.error.message,
    `Invalid body: /permissions must not add admin to a key that expires later than ${own}, when the calling key expires`,
  )
  await call(admin, `PATCH /api/keys/${reader}`, { expires_at: time(9) })
  await rejects(`PATCH /api/keys/${reader}`, { ...grant, expires_at: time(8) })
  t.same((await read(reader)).permissions, ['read:monitors'])
  for (const [id, body] of [
    [reader, { permissions: ['write:monitors'] }],
    [reader, { ...grant, expires_at: own }],
    [longer, { permissions: ['admin', 'read:monitors'] }],
  ] as const) {
    const reply = await call(expiring.token, `PATCH /api/keys/${id}`, body)
    t.match(
      reply.json.data,
      body,
      'other permissions, an early expiry, and a key that is an admin key already',
    )
  }

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
  const { call, admin, db } = await start()
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
  const { call, admin, db } = await start()
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
  const { call, admin } = await start()
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
  const { call, admin, db, statements } = await start()
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
