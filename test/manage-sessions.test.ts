import type { FastifyInstance, RouteOptions } from 'fastify'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { readSessions, startSession } from '../src/manage/sessions.ts'
import {
  createDatabase,
  expire,
  isWaitingForLock,
  newKey,
  type Replica,
  startReplica,
  times,
  waitForRoomInMinute,
  waitUntil,
} from './helper.ts'
import { keyIn, logIn, visit, type Visited } from './visitor.ts'

const keys = '/manage/settings/api-keys'

function isSentToLogIn(t: Test, { statusCode, headers, body }: Visited, name: string) {
  t.equal(statusCode, 303, `${name}: status`)
  t.match(headers.location, /^\/manage\/login/, `${name}: location`)
  t.equal(body, '', `${name}: shows nothing`)
}

/** The panel's routes, as they are registered: a new one is swept without being told. */
function collect(found: RouteOptions[]) {
  return (app: FastifyInstance) => {
    app.addHook('onRoute', (route) => {
      if (route.url.startsWith('/manage')) found.push(route)
    })
  }
}

const open = new Set(['/manage/login', '/manage/assets/*'])

await t.test('every page but the log-in sends who is not logged in to it', async (t) => {
  const routes: RouteOptions[] = []
  const { app } = await startReplica(t, { extend: collect(routes) })
  const pages = routes.filter(({ method, url }) => method === 'GET' && !open.has(url))
  t.ok(pages.length >= 7, `${pages.length} pages`)
  for (const { url } of [...pages, { url: '/manage/nothing-here' }]) {
    isSentToLogIn(t, await visit(app).get(url.replace(':id', 'x'.repeat(16))), url)
  }
})

await t.test('no form is taken without its token, or with that of another session', async (t) => {
  const routes: RouteOptions[] = []
  const replica = await startReplica(t, { extend: collect(routes) })
  const { token, id } = await newKey(replica)
  const [mine, other] = [await logIn(replica.app, token), await logIn(replica.app, token)]
  const { body } = await other.get(`${keys}/new`)
  const [, stolen = ''] = /name="_csrf" value="([^"]+)"/.exec(body) ?? []
  t.ok(stolen)
  const forms = routes.filter(({ method }) => method === 'POST')
  t.ok(forms.length >= 6, `${forms.length} forms`)
  const fields = {
    key: token,
    id: 'y'.repeat(16),
    name: 'forged',
    permissions: 'admin',
    overlap_seconds: '0',
  }
  for (const { url } of forms) {
    for (const token of [{}, { _csrf: '' }, { _csrf: stolen }, { _csrf: [stolen, stolen] }]) {
      const reply = await mine.post(url.replace(':id', id), { ...fields, ...token })
      t.equal(reply.statusCode, 403, `${url} with ${JSON.stringify(token)}`)
      t.equal(keyIn(reply), undefined)
    }
  }
  const stored = await replica.db.selectFrom('api_keys').select(['id', 'name', 'revoked_at']).execute()
  t.same(stored, [{ id, name: 'test', revoked_at: null }], 'and nothing has changed')
  t.equal((await mine.get('/manage')).statusCode, 200, 'nor has anyone been logged out')
})

await t.test('the log-in says why it refuses a key, and begins no session', async (t) => {
  const replica = await startReplica(t)
  const [admin, reader, expired, revoked] = [
    await newKey(replica),
    await newKey(replica, { permissions: ['read:monitors'] }),
    await newKey(replica),
    await newKey(replica),
  ]
  await expire(replica, expired.id)
  await sql`update api_keys set revoked_at = now() where id = ${revoked.id}`.execute(replica.db)
  const refusals: [key: string, status: number, words: RegExp][] = [
    ['', 400, /Enter an API key/],
    ['nonsense', 401, /not a valid key/],
    [admin.token.slice(0, -1), 401, /not a valid key/],
    [expired.token, 401, /has expired/],
    [revoked.token, 401, /has been revoked/],
    [reader.token, 403, /lacks the permission admin/],
  ]
  for (const [key, status, words] of refusals) {
    const visitor = visit(replica.app)
    const reply = await visitor.submit('/manage/login', { key })
    t.equal(reply.statusCode, status, String(words))
    t.match(reply.body, words)
    t.match(reply.body, /aria-invalid/)
    t.notOk(key !== '' && reply.body.includes(key), 'what was typed is a secret, and is not given back')
    isSentToLogIn(t, await visitor.get('/manage'), 'afterwards')
  }
  t.same(await replica.db.selectFrom('admin_sessions').selectAll().execute(), [])
  const events = replica.log
    .filter(({ event }) => event === 'authentication_failed')
    .map(({ reason }) => reason)
  t.same(events, ['malformed', 'malformed', 'expired', 'revoked'])
})

await t.test('failed log-ins are limited per address; a known key is not held up', async (t) => {
  const replica = await startReplica(t, { config: { authFailureLimitMax: 3 } })
  const { token } = await newKey(replica)
  await logIn(replica.app, token)
  await waitForRoomInMinute()
  for (const status of [401, 401, 401, 429, 429]) {
    const reply = await visit(replica.app).submit('/manage/login', { key: 'nonsense' })
    t.equal(reply.statusCode, status)
    if (status === 429) t.match(reply.headers['retry-after'], /^\d+$/)
  }
  await logIn(replica.app, token)
})

await t.test('a session planted before the log-in is none after it', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const visitor = visit(replica.app)
  await visitor.get('/manage/login')
  const planted = visitor.cookie
  t.match(planted, /^kener_log_in=[\w-]{43}$/)
  const chosen = planted.replace('kener_log_in', 'kener_manage')
  visitor.cookie = `${planted}; ${chosen}`
  t.equal((await visitor.submit('/manage/login', { key: token })).statusCode, 303)
  t.notMatch(visitor.cookie, chosen)
  for (const cookie of [planted, chosen]) {
    isSentToLogIn(t, await visit(replica.app, { cookie }).get('/manage'), 'with the planted cookie')
  }
  const first = visitor.cookie
  t.equal(
    (await visitor.get('/manage/login')).headers.location,
    '/manage',
    'who is logged in need not do so again',
  )
  await logIn(replica.app, token)
  t.equal(
    (await visit(replica.app, { cookie: first }).get('/manage')).statusCode,
    200,
    'another browser’s log-in',
  )
})

await t.test('the cookie is out of reach of scripts and other sites, and of http behind TLS', async (t) => {
  const { app } = await startReplica(t, { config: { trustProxy: true } })
  for (const [proto, secure] of [
    ['http', false],
    ['https', true],
  ] as const) {
    const { headers } = await visit(app, { 'x-forwarded-proto': proto }).get('/manage/login')
    const attributes = String(headers['set-cookie']).split('; ').slice(1)
    t.same(attributes.sort(), ['HttpOnly', 'Path=/manage', 'SameSite=Strict', ...(secure ? ['Secure'] : [])])
  }
})

await t.test('a session ends at once, on every replica, and for good', async (t) => {
  const url = await createDatabase(t)
  const [here, there] = [await startReplica(t, { url }), await startReplica(t, { url })]
  const boss = await newKey(here)
  const ends: Record<string, (id: string) => Promise<unknown>> = {
    'its key is revoked': (id) => here.call(boss.token, `POST /api/keys/${id}/revoke`),
    'its key has expired': (id) => expire(here, id),
    'its key loses admin': (id) =>
      here.call(boss.token, `PATCH /api/keys/${id}`, { permissions: ['read:monitors'] }),
    '8 hours are over': () => age(here, { ends_at: new Date() }),
    'it was idle for 30 minutes': () => age(here, { seen_at: new Date(Date.now() - 30 * 60_000) }),
  }
  for (const [name, end] of Object.entries(ends)) {
    const { token, id } = await newKey(here)
    const visitor = await logIn(here.app, token)
    const elsewhere = visit(there.app, { cookie: visitor.cookie })
    t.equal((await elsewhere.get('/manage')).statusCode, 200, `before ${name}`)
    await end(id)
    isSentToLogIn(t, await elsewhere.get('/manage'), name)
    await here.db
      .updateTable('admin_sessions')
      .set({ seen_at: new Date(), ends_at: new Date(Date.now() + 1e6) })
      .execute()
    await here.db
      .updateTable('api_keys')
      .set({ revoked_at: null, expires_at: null, permissions: ['admin'] })
      .execute()
    isSentToLogIn(t, await visitor.get('/manage'), `${name}, and it does not come back`)
  }
})

function age({ db }: Replica, change: { ends_at?: Date; seen_at?: Date }) {
  return db.updateTable('admin_sessions').set(change).execute()
}

await t.test('a session whose key lost admin is gone, though nobody looked meanwhile', async (t) => {
  const replica = await startReplica(t)
  const [boss, other] = [await newKey(replica), await newKey(replica)]
  const visitor = await logIn(replica.app, other.token)
  for (const permissions of [['read:monitors'], ['admin']]) {
    await replica.call(boss.token, `PATCH /api/keys/${other.id}`, { permissions })
  }
  isSentToLogIn(t, await visitor.get('/manage'), 'after it became admin again')
  const again = await logIn(replica.app, other.token)
  await replica.call(boss.token, `PATCH /api/keys/${other.id}`, {
    name: 'renamed',
    expires_at: '2999-01-01T00:00:00Z',
  })
  t.match((await again.get('/manage')).body, 'renamed', 'other changes leave a session as it is')
})

await t.test('a session never outlives its key, and counts from when it was last seen', async (t) => {
  const replica = await startReplica(t)
  const expiresAt = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000)
  const { token } = await newKey(replica, { expiresAt })
  const visitor = await logIn(replica.app, token)
  const [session] = await replica.db.selectFrom('admin_sessions').selectAll().execute()
  t.same(session?.ends_at, expiresAt)
  await age(replica, { seen_at: new Date(Date.now() - 29 * 60_000) })
  t.equal((await visitor.get('/manage')).statusCode, 200)
  const [seen] = await replica.db.selectFrom('admin_sessions').selectAll().execute()
  t.ok(Date.now() - Number(seen?.seen_at) < 60_000, 'a look at a page keeps it alive')
})

await t.test('after the log-out the session is gone, in every tab', async (t) => {
  const replica = await startReplica(t)
  const { token, id } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  const tab = visit(replica.app, { cookie: visitor.cookie })
  const { headers } = await visitor.submit('/manage', {}, '/manage/logout')
  t.equal(headers.location, '/manage/login?notice=logged-out')
  t.match((await visitor.get(String(headers.location))).body, 'You are logged out')
  isSentToLogIn(t, await visitor.get('/manage'), 'here')
  isSentToLogIn(t, await tab.get(keys), 'in another tab')
  t.same(await replica.db.selectFrom('admin_sessions').selectAll().execute(), [])
  t.match(
    replica.log.filter(({ event }) => /^logged_/.test(String(event))),
    [
      { event: 'logged_in', keyId: id },
      { event: 'logged_out', keyId: id },
    ],
  )
})

await t.test('the log-in leads to the page that was asked for, and to no other site', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const { headers } = await visit(replica.app).get(`${keys}?status=active`)
  const visitor = visit(replica.app)
  const form = String(headers.location)
  const reply = await visitor.submit(form, { key: token, next: `${keys}?status=active` }, '/manage/login')
  t.equal(reply.headers.location, `${keys}?status=active`)
  for (const next of [
    'https://evil.example',
    '//evil.example',
    '/manage/../api',
    '/manageevil',
    '/manage/\\evil',
  ]) {
    const { headers } = await visit(replica.app).submit('/manage/login', { key: token, next })
    t.equal(headers.location, '/manage', next)
  }
})

await t.test(
  'a path or method that is not there gets a page that says so, counted like any other',
  async (t) => {
    const replica = await startReplica(t, { config: { publicRateLimitMax: 20 } })
    const { token } = await newKey(replica)
    const visitor = await logIn(replica.app, token)
    const assets = ['', 'nope', '..%5c', '..%2findex.js'].map((name) => `/manage/assets/${name}`)
    for (const path of ['/manage/nope', ...assets]) {
      const reply = await visitor.get(path)
      t.equal(reply.statusCode, 404, path)
      t.equal(reply.headers['cache-control'], 'no-store')
      isSentToLogIn(t, await visit(replica.app).get(path), path)
    }
    const wrongMethod = await visitor.post(keys, {})
    t.equal(wrongMethod.statusCode, 405)
    t.equal(wrongMethod.headers.allow, 'GET, HEAD')
    await waitForRoomInMinute()
    const statuses = await times(
      30,
      async () => (await visit(replica.app).post('/manage/nope', {})).statusCode,
    )
    t.ok(statuses.includes(429))
  },
)

await t.test('/api takes no cookie and /manage takes no Bearer key', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  t.equal((await visitor.get('/api/me')).statusCode, 401)
  isSentToLogIn(
    t,
    await visit(replica.app, { authorization: `Bearer ${token}` }).get('/manage'),
    'with a Bearer key',
  )
})

await t.test('garbage in the cookie costs nothing, and a flood of tokens next to nothing', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 150 } })
  const look = (cookie: string) => visit(replica.app, { cookie }).get('/manage')
  replica.statements.length = 0
  await times(50, (index) => look(`kener_manage=${'x'.repeat(index * 7)}`))
  t.same(replica.statements, [], 'no statement for what is no token')
  await waitForRoomInMinute()
  const replies = await times(200, (index) => look(`kener_manage=${String(index).padStart(43, 'x')}`))
  t.ok(replica.statements.length <= 20, `${replica.statements.length} statements for 200 unknown tokens`)
  t.same(
    new Set(replies.map(({ statusCode }) => statusCode)),
    new Set([303, 429]),
    'who is counted as the public is',
  )
})

await t.test('neither log nor database holds a key or a token', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  await visitor.submit('/manage/login', { key: 'kener_wrong' })
  await visitor.get(`/manage/${token}`)
  const made = await visitor.submit(`${keys}/new`, { name: 'made', permissions: 'admin' })
  const secrets = [token, keyIn(made) ?? '', /kener_manage=([^;]+)/.exec(visitor.cookie)?.[1] ?? '']
  const tables = ['api_keys', 'admin_sessions', 'rate_counters', 'traffic'] as const
  const rows = await Promise.all(tables.map((table) => replica.db.selectFrom(table).selectAll().execute()))
  const traces = JSON.stringify([replica.log, rows])
  for (const secret of secrets) {
    t.ok(secret.length >= 43)
    t.notOk(traces.includes(secret.slice(-40)))
  }
})

await t.test('two replicas that read the same sessions do not wait for each other', async (t) => {
  const { db } = await startReplica(t)
  const { id } = await newKey({ db })
  // In the order of the table the second comes first.
  for (const digest of ['b', 'a']) await startSession(db, digest, id)
  const other = await db.startTransaction().execute()
  const hold = (digest: string) =>
    sql`select from admin_sessions where token_digest = ${digest} for update`.execute(other)
  await hold('a')
  const reading = readSessions(db, ['a', 'b'])
  await waitUntil(() => isWaitingForLock(db))
  await hold('b')
  await other.commit().execute()
  t.equal((await reading).size, 2)
})
