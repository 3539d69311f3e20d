import { sql } from 'kysely'
import t from 'tap'
import { isErrorReply, newKey, startReplica, times, waitUntil } from './helper.ts'
import { logIn } from './visitor.ts'

const from = (remoteAddress: string, forwarded?: string) => ({
  remoteAddress,
  ...(forwarded !== undefined && { headers: { 'x-forwarded-for': forwarded } }),
})

await t.test('a key may only be used from its addresses, and other requests consume no quota', async (t) => {
  const { call, db } = await startReplica(t)
  const allowedIps = ['192.0.2.7', '10.0.0.0/8', '2001:db8::/64']
  const { token, id } = await newKey({ db }, { allowedIps, rateLimit: 3, permissions: ['read:monitors'] })
  for (const address of ['192.0.2.8', '11.0.0.1', '2001:db8:0:1::1', '::1']) {
    const reply = await call(token, 'GET /api/me', undefined, from(address))
    isErrorReply(t, reply, 403, 'FORBIDDEN', address)
    t.match(reply.json.error.message, 'address')
    t.match(reply.headers['www-authenticate'], /error="insufficient_scope"/)
  }
  const { rows } = await sql`select from rate_counters where key_id = ${id}`.execute(db)
  t.equal(rows.length, 0, 'nothing was counted')
  t.match(await readUse(id), { last_used_at: null, last_used_address: null })

  const answers: { status: number; remaining: unknown }[] = []
  for (const address of ['192.0.2.7', '10.255.0.1', '::ffff:10.0.0.1', '2001:db8::9']) {
    const reply = await call(token, 'GET /api/me', undefined, from(address))
    answers.push({ status: reply.statusCode, remaining: reply.headers['x-ratelimit-remaining'] })
  }
  // A new window may have started in between.
  t.match(answers[0], { status: 200, remaining: '2' })
  t.ok(
    answers.every(({ status }) => [200, 429].includes(status)),
    JSON.stringify(answers),
  )
  await waitUntil(async () => (await readUse(id)).last_used_at !== null)
  t.match(await readUse(id), { last_used_address: '192.0.2.7' })

  async function readUse(key: string) {
    return db
      .selectFrom('api_keys')
      .select(['last_used_at', 'last_used_address'])
      .where('id', '=', key)
      .executeTakeFirstOrThrow()
  }
})

await t.test('concurrent requests from allowed and other addresses are counted exactly', async (t) => {
  const { call, db } = await startReplica(t)
  const { token, id } = await newKey({ db }, { allowedIps: ['192.0.2.7'], rateLimit: 1_000 })
  const free = await newKey({ db }, { rateLimit: 1_000 })
  const replies = await times(60, (index) =>
    call(
      index % 3 === 0 ? free.token : token,
      'GET /api/me',
      undefined,
      from(index % 3 === 1 ? '192.0.2.7' : '192.0.2.8'),
    ),
  )
  const statuses = replies.map(({ statusCode }) => statusCode)
  t.same(
    statuses,
    statuses.map((_, index) => (index % 3 === 2 ? 403 : 200)),
  )
  const { rows } = await sql<{
    key_id: string
    used: number
  }>`select key_id, used from rate_counters`.execute(db)
  // Fewer if a new window started meanwhile.
  for (const { key_id, used } of rows)
    t.ok(used <= 20 && [id, free.id].includes(key_id), `${key_id}: ${used}`)
})

await t.test('requests without allowed_ips take one statement, those with it two', async (t) => {
  const { call, db, statements } = await startReplica(t)
  const free = (await newKey({ db })).token
  const restricted = (await newKey({ db }, { allowedIps: ['127.0.0.1'] })).token
  const admissions = async (token: string) => {
    await call(token, 'GET /api/me')
    statements.length = 0
    t.equal((await call(token, 'GET /api/me')).statusCode, 200)
    return statements.filter((statement) => statement.includes('rate_counters')).length
  }
  t.equal(await admissions(free), 1)
  t.equal(await admissions(restricted), 2)
})

await t.test('requests from other addresses count as failed authentications of that address', async (t) => {
  const { call, db } = await startReplica(t, { config: { authFailureLimitMax: 3 } })
  const { token } = await newKey({ db }, { allowedIps: ['192.0.2.7'] })
  const statuses: number[] = []
  for (let count = 0; count < 5; count++) {
    statuses.push((await call(token, 'GET /api/me', undefined, from('192.0.2.8'))).statusCode)
  }
  t.same(statuses, [403, 403, 403, 429, 429])
  t.equal(
    (await call(token, 'GET /api/me', undefined, from('192.0.2.7'))).statusCode,
    200,
    'the allowed address',
  )
})

await t.test('with TRUST_PROXY, the address is that of the client', async (t) => {
  const { call, db } = await startReplica(t, { config: { trustProxy: ['127.0.0.1'] } })
  const { token } = await newKey({ db }, { allowedIps: ['192.0.2.7'] })
  const status = async (peer: string, forwarded?: string) =>
    (await call(token, 'GET /api/me', undefined, from(peer, forwarded))).statusCode
  t.equal(await status('127.0.0.1', '192.0.2.7'), 200)
  t.equal(await status('127.0.0.1', '192.0.2.7:1234'), 200, 'with a port')
  t.equal(await status('127.0.0.1', '192.0.2.7, 192.0.2.8'), 403, 'the last address that the proxy received')
  t.equal(await status('127.0.0.1'), 403, 'the proxy itself')
  t.equal(await status('127.0.0.1', 'garbage'), 403, 'the nearest address')
  t.equal(await status('203.0.113.1', '192.0.2.7'), 403, 'a header of a client that is no proxy')
})

await t.test('a change of the addresses applies to the next request', async (t) => {
  const { call, db } = await startReplica(t)
  const admin = (await newKey({ db })).token
  const { token, id } = await newKey({ db }, { permissions: ['read:monitors'] })
  for (const [allowed_ips, expected] of [
    [['192.0.2.7'], 403],
    [['127.0.0.0/8'], 200],
    [['0.0.0.0/0'], 200],
    [['::/0'], 403],
    [null, 200],
  ] as const) {
    t.equal((await call(admin, `PATCH /api/keys/${id}`, { allowed_ips })).statusCode, 200)
    t.equal((await call(token, 'GET /api/me')).statusCode, expected, JSON.stringify(allowed_ips))
  }
})

await t.test('a session of the panel follows the addresses of its key', async (t) => {
  const { app, call, db } = await startReplica(t)
  const admin = (await newKey({ db })).token
  const { token, id } = await newKey({ db })
  const visitor = await logIn(app, token)
  t.equal((await visitor.get('/manage')).statusCode, 200)
  await call(admin, `PATCH /api/keys/${id}`, { allowed_ips: ['192.0.2.7'] })
  t.equal((await visitor.get('/manage')).statusCode, 303, 'from another address')
  await t.rejects(logIn(app, token), 'a log-in from another address')
  await call(admin, `PATCH /api/keys/${id}`, { allowed_ips: null })
  t.equal((await visitor.get('/manage')).statusCode, 200)
})

await t.test(
  'addresses, monitors and descriptions that are invalid are rejected with the item',
  async (t) => {
    const { call, db } = await startReplica(t)
    const { token } = await newKey({ db })
    const create = (body: object) =>
      call(token, 'POST /api/keys', { name: 'n', permissions: ['read:monitors'], ...body })
    for (const [body, path] of [
      [{ allowed_ips: [] }, '/allowed_ips'],
      [{ allowed_ips: ['10.0.0.1', '10.0.0.256'] }, '/allowed_ips/1'],
      [{ allowed_ips: ['10.0.0.0/33'] }, '/allowed_ips/0'],
      [{ allowed_ips: ['10.0.0.0/8/8'] }, '/allowed_ips/0'],
      [{ allowed_ips: ['::ffff:10.0.0.1'] }, '/allowed_ips/0'],
      [{ allowed_ips: ['fe80::1%eth0'] }, '/allowed_ips/0'],
      [{ allowed_ips: ['example.com'] }, '/allowed_ips/0'],
      [{ allowed_ips: Array.from({ length: 51 }, (_, index) => `10.0.0.${index}`) }, '/allowed_ips'],
      [{ monitors: [] }, '/monitors'],
      [{ monitors: ['a', 'B'] }, '/monitors/1'],
      [{ monitors: ['a*b'] }, '/monitors/0'],
      [{ monitors: ['a-'] }, '/monitors/0'],
      [{ monitors: ['a**'] }, '/monitors/0'],
      [{ monitors: Array.from({ length: 101 }, (_, index) => `m${index}`) }, '/monitors'],
      [{ description: 'x'.repeat(1_001) }, '/description'],
    ] as const) {
      const reply = await create(body)
      isErrorReply(t, reply, 400, 'INVALID_REQUEST', JSON.stringify(body).slice(0, 80))
      t.equal(reply.json.error.details[0].path, path, reply.body)
    }
    const accepted = {
      monitors: ['a', 'a-*', 'b_*', 'c*'],
      allowed_ips: ['10.0.0.1', '::1', 'fd00::/8'],
      description: '',
    }
    t.match((await create(accepted)).json.data, accepted)
  },
)
