import type { FastifyInstance, RouteOptions } from 'fastify'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { maxSessions, readSessions, startSession } from '../src/manage/session-repository.ts'
import {
  createDatabase,
  expire,
  newKey,
  type Replica,
  shareReplica,
  startReplica,
  times,
  waitForTimeInMinute,
} from './helper.ts'
import { keyIn, logIn, visit, type Visited } from './visitor.ts'

const keys = '/manage/settings/api-keys'

const fresh = shareReplica(t)

function redirectsToLogIn(t: Test, { statusCode, headers, body }: Visited, name: string) {
  t.equal(statusCode, 303, `${name}: status`)
  t.match(headers.location, /^\/manage\/login/, `${name}: location`)
  t.equal(body, '', `${name}: has no content`)
}

/** Collects the routes of the panel as they are registered, so that the tests cover new routes too. */
function collectRoutes(routes: RouteOptions[]) {
  return (app: FastifyInstance) => {
    app.addHook('onRoute', (route) => {
      if (route.url.startsWith('/manage')) routes.push(route)
    })
  }
}

const publicPages = new Set(['/manage/login', '/manage/assets/*'])

await t.test(
  'every page except the log-in redirects a request without a session to the log-in',
  async (t) => {
    const routes: RouteOptions[] = []
    const { app } = await startReplica(t, { extend: collectRoutes(routes) })
    const pages = routes.filter(({ method, url }) => method === 'GET' && !publicPages.has(url))
    t.ok(pages.length >= 7, `${pages.length} pages`)
    for (const { url } of [...pages, { url: '/manage/nothing-here' }]) {
      redirectsToLogIn(t, await visit(app).get(url.replace(':id', 'x'.repeat(16))), url)
    }
  },
)

await t.test('a form is rejected without its CSRF token, or with the token of another session', async (t) => {
  const routes: RouteOptions[] = []
  const replica = await startReplica(t, { extend: collectRoutes(routes) })
  const { token, id } = await newKey(replica)
  const [visitor, other] = [await logIn(replica.app, token), await logIn(replica.app, token)]
  const { body } = await other.get(`${keys}/new`)
  const [, foreignToken = ''] = /name="_csrf" value="([^"]+)"/.exec(body) ?? []
  t.ok(foreignToken)
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
    for (const csrf of [
      {},
      { _csrf: '' },
      { _csrf: foreignToken },
      { _csrf: [foreignToken, foreignToken] },
    ]) {
      const reply = await visitor.post(url.replace(':id', id), { ...fields, ...csrf })
      t.equal(reply.statusCode, 403, `${url} with ${JSON.stringify(csrf)}`)
      t.equal(keyIn(reply), undefined)
    }
  }
  const stored = await replica.db.selectFrom('api_keys').select(['id', 'name', 'revoked_at']).execute()
  t.same(stored, [{ id, name: 'test', revoked_at: null }], 'nothing has changed')
  t.equal((await visitor.get('/manage')).statusCode, 200, 'the session has not ended')
})

await t.test('the log-in shows why it rejects a key, and starts no session', async (t) => {
  const replica = await fresh()
  const [admin, expired, revoked] = [await newKey(replica), await newKey(replica), await newKey(replica)]
  await expire(replica, expired.id)
  await sql`update api_keys set revoked_at = now() where id = ${revoked.id}`.execute(replica.db)
  const rejections: [key: string, status: number, message: RegExp][] = [
    ['', 400, /Enter an API key/],
    ['nonsense', 401, /not a valid key/],
    [admin.token.slice(0, -1), 401, /not a valid key/],
    [expired.token, 401, /has expired/],
    [revoked.token, 401, /has been revoked/],
  ]
  for (const [key, status, message] of rejections) {
    const visitor = visit(replica.app)
    const reply = await visitor.submit('/manage/login', { key })
    t.equal(reply.statusCode, status, String(message))
    t.match(reply.body, message)
    t.match(reply.body, /aria-invalid/)
    t.notOk(key !== '' && reply.body.includes(key), 'the page does not contain the submitted key')
    redirectsToLogIn(t, await visitor.get('/manage'), 'after a rejected log-in')
  }
  t.same(await replica.db.selectFrom('admin_sessions').selectAll().execute(), [])
  const events = replica.log
    .filter(({ event }) => event === 'authentication_failed')
    .map(({ reason }) => reason)
  t.same(events, ['malformed', 'malformed', 'expired', 'revoked'])
})

await t.test('failed log-ins are limited per address; a verified key can still log in', async (t) => {
  const replica = await startReplica(t, { config: { authFailureLimitMax: 3 } })
  const { token } = await newKey(replica)
  await logIn(replica.app, token)
  await waitForTimeInMinute()
  for (const status of [401, 401, 401, 429, 429]) {
    const reply = await visit(replica.app).submit('/manage/login', { key: 'nonsense' })
    t.equal(reply.statusCode, status)
    if (status === 429) t.match(reply.headers['retry-after'], /^\d+$/)
  }
  await logIn(replica.app, token)
})

await t.test('a token planted before the log-in does not become a session', async (t) => {
  const replica = await fresh()
  const { token } = await newKey(replica)
  const visitor = visit(replica.app)
  await visitor.get('/manage/login')
  const plantedCookie = visitor.cookie
  t.match(plantedCookie, /^kener_log_in=[\w-]{43}$/)
  const plantedSession = plantedCookie.replace('kener_log_in', 'kener_manage')
  visitor.cookie = `${plantedCookie}; ${plantedSession}`
  t.equal((await visitor.submit('/manage/login', { key: token })).statusCode, 303)
  t.notMatch(visitor.cookie, plantedSession)
  for (const cookie of [plantedCookie, plantedSession]) {
    redirectsToLogIn(t, await visit(replica.app, { cookie }).get('/manage'), 'with the planted cookie')
  }
  const first = visitor.cookie
  t.equal(
    (await visitor.get('/manage/login')).headers.location,
    '/manage',
    'a request with a session is redirected from the log-in',
  )
  await logIn(replica.app, token)
  t.equal(
    (await visit(replica.app, { cookie: first }).get('/manage')).statusCode,
    200,
    'a log-in in another browser does not end this session',
  )
})

await t.test('the cookie is HttpOnly and SameSite, and Secure behind TLS', async (t) => {
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

await t.test('a session ends at once, on every replica, and permanently', async (t) => {
  const url = await createDatabase(t)
  const [local, remote] = [await startReplica(t, { url }), await startReplica(t, { url })]
  const admin = await newKey(local)
  const ends: Record<string, (id: string) => Promise<unknown>> = {
    'its key is revoked': (id) => local.call(admin.token, `POST /api/keys/${id}/revoke`),
    'its key has expired': (id) => expire(local, id),
    'it is 8 hours old': () => updateSessions(local, { ends_at: new Date() }),
    'it was idle for 30 minutes': () =>
      updateSessions(local, { seen_at: new Date(Date.now() - 30 * 60_000) }),
  }
  for (const [name, end] of Object.entries(ends)) {
    const { token, id } = await newKey(local)
    const visitor = await logIn(local.app, token)
    const elsewhere = visit(remote.app, { cookie: visitor.cookie })
    t.equal((await elsewhere.get('/manage')).statusCode, 200, `before ${name}`)
    await end(id)
    redirectsToLogIn(t, await elsewhere.get('/manage'), name)
    await local.db
      .updateTable('admin_sessions')
      .set({ seen_at: new Date(), ends_at: new Date(Date.now() + 1e6) })
      .execute()
    await local.db
      .updateTable('api_keys')
      .set({ revoked_at: null, expires_at: null, permissions: ['admin'] })
      .execute()
    redirectsToLogIn(t, await visitor.get('/manage'), `${name}, and then is reverted`)
  }
})

function updateSessions({ db }: Replica, change: { ends_at?: Date; seen_at?: Date }) {
  return db.updateTable('admin_sessions').set(change).execute()
}

await t.test('a session ends when its key expires, even without a request in between', async (t) => {
  const replica = await fresh()
  const [admin, other] = [await newKey(replica), await newKey(replica)]
  const visitor = await logIn(replica.app, other.token)
  for (const expires_at of ['2001-01-01T00:00:00Z', '2999-01-01T00:00:00Z']) {
    await replica.call(admin.token, `PATCH /api/keys/${other.id}`, { expires_at })
  }
  redirectsToLogIn(t, await visitor.get('/manage'), 'after the key is valid again')
  const again = await logIn(replica.app, other.token)
  await replica.call(admin.token, `PATCH /api/keys/${other.id}`, {
    name: 'renamed',
    permissions: ['read:monitors'],
  })
  t.match((await again.get('/manage')).body, 'renamed', 'other changes do not end a session')
})

await t.test('a session ends with its key at the latest, and a request resets its idle time', async (t) => {
  const replica = await fresh()
  const expiresAt = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000)
  const { token } = await newKey(replica, { expiresAt })
  const visitor = await logIn(replica.app, token)
  const [session] = await replica.db.selectFrom('admin_sessions').selectAll().execute()
  t.same(session?.ends_at, expiresAt)
  await updateSessions(replica, { seen_at: new Date(Date.now() - 29 * 60_000) })
  t.equal((await visitor.get('/manage')).statusCode, 200)
  const [seen] = await replica.db.selectFrom('admin_sessions').selectAll().execute()
  t.ok(Date.now() - Number(seen?.seen_at) < 60_000, 'a request resets the idle time')
})

await t.test(
  'a key has at most 50 sessions: a log-in ends the one that was not used for longest',
  async (t) => {
    const { app, db } = await fresh()
    const { token, id } = await newKey({ db })
    const [idle, used] = [await logIn(app, token), await logIn(app, token)]
    await sql`update admin_sessions set seen_at = now() - interval '2 minutes' where key_id = ${id}`.execute(
      db,
    )
    for (let count = 3; count <= maxSessions; count++) await startSession(db, `session ${count}`, id)
    const other = await newKey({ db })
    const stranger = await logIn(app, other.token)
    t.equal((await used.get('/manage')).statusCode, 200)
    await logIn(app, token)
    const stored = await db
      .selectFrom('admin_sessions')
      .select(sql<number>`count(*)::integer`.as('count'))
      .where('key_id', '=', id)
      .executeTakeFirstOrThrow()
    t.equal(stored.count, maxSessions)
    redirectsToLogIn(t, await idle.get('/manage'), 'the session that was not used for longest')
    for (const visitor of [used, stranger]) t.equal((await visitor.get('/manage')).statusCode, 200)
  },
)

await t.test('a page is a use of the key of its session', async (t) => {
  const { app, db } = await fresh()
  const { token, id } = await newKey({ db }, { permissions: ['read:monitors'] })
  const visitor = await logIn(app, token)
  const lastUse = async () =>
    db
      .selectFrom('api_keys')
      .select(['last_used_address', sql<boolean>`last_used_at > now() - interval '1 hour'`.as('is_recent')])
      .where('id', '=', id)
      .executeTakeFirstOrThrow()
  t.same(await lastUse(), { last_used_address: '127.0.0.1', is_recent: true }, 'so is the log-in')
  await sql`update api_keys set last_used_at = now() - interval '2 hours', last_used_address = null`.execute(
    db,
  )
  await visitor.get('/manage/monitors')
  t.same(await lastUse(), { last_used_address: '127.0.0.1', is_recent: true })
})

await t.test('a log-out ends the session in every tab', async (t) => {
  const replica = await fresh()
  const { token, id } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  const tab = visit(replica.app, { cookie: visitor.cookie })
  const { headers } = await visitor.submit('/manage', {}, '/manage/logout')
  t.equal(headers.location, '/manage/login?notice=logged-out')
  t.match((await visitor.get(String(headers.location))).body, 'You are logged out')
  redirectsToLogIn(t, await visitor.get('/manage'), 'in the same tab')
  redirectsToLogIn(t, await tab.get(keys), 'in another tab')
  redirectsToLogIn(t, await tab.post('/manage/logout', {}), 'a log-out in another tab')
  t.same(await replica.db.selectFrom('admin_sessions').selectAll().execute(), [])
  t.match(
    replica.log.filter(({ event }) => /^logged_/.test(String(event))),
    [
      { event: 'logged_in', keyId: id },
      { event: 'logged_out', keyId: id },
    ],
  )
})

await t.test('the log-in redirects to the requested page, and never to another site', async (t) => {
  const replica = await fresh()
  const { token } = await newKey(replica)
  const { headers } = await visit(replica.app).get(`${keys}?status=active`)
  const visitor = visit(replica.app)
  const logInPath = String(headers.location)
  const reply = await visitor.submit(
    logInPath,
    { key: token, next: `${keys}?status=active` },
    '/manage/login',
  )
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

await t.test('an unknown path or method gets an error page and is counted by the rate limit', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 20 } })
  const { token } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  const assets = ['', 'nope', '..%5c', '..%2findex.js'].map((name) => `/manage/assets/${name}`)
  for (const path of ['/manage/nope', ...assets]) {
    const reply = await visitor.get(path)
    t.equal(reply.statusCode, 404, path)
    t.equal(reply.headers['cache-control'], 'no-store')
    redirectsToLogIn(t, await visit(replica.app).get(path), path)
  }
  const wrongMethod = await visitor.post(keys, {})
  t.equal(wrongMethod.statusCode, 405)
  t.equal(wrongMethod.headers.allow, 'GET, HEAD')
  await waitForTimeInMinute()
  const statuses = await times(30, async () => (await visit(replica.app).post('/manage/nope', {})).statusCode)
  t.ok(statuses.includes(429))
})

await t.test('/api accepts no cookie and /manage accepts no Bearer token', async (t) => {
  const replica = await fresh()
  const { token } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  t.equal((await visitor.get('/api/me')).statusCode, 401)
  redirectsToLogIn(
    t,
    await visit(replica.app, { authorization: `Bearer ${token}` }).get('/manage'),
    'with a Bearer key',
  )
})

await t.test('a malformed cookie causes no statement, and unknown tokens share statements', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 150 } })
  const getOverview = (cookie: string) => visit(replica.app, { cookie }).get('/manage')
  replica.statements.length = 0
  await times(50, (index) => getOverview(`kener_manage=${'x'.repeat(index * 7)}`))
  t.same(replica.statements, [], 'a malformed token causes no statement')
  await waitForTimeInMinute()
  const replies = await times(200, (index) => getOverview(`kener_manage=${String(index).padStart(43, 'x')}`))
  t.ok(replica.statements.length <= 20, `${replica.statements.length} statements for 200 unknown tokens`)
  t.same(
    new Set(replies.map(({ statusCode }) => statusCode)),
    new Set([303, 429]),
    'requests without a session are counted per address',
  )
})

await t.test('neither log nor database contains a key or a session token', async (t) => {
  const replica = await fresh()
  const { token } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  await visitor.submit('/manage/login', { key: 'kener_wrong' })
  await visitor.get(`/manage/${token}`)
  const created = await visitor.submit(`${keys}/new`, { name: 'created', permissions: 'admin' })
  const secrets = [token, keyIn(created) ?? '', /kener_manage=([^;]+)/.exec(visitor.cookie)?.[1] ?? '']
  const tables = ['api_keys', 'admin_sessions', 'rate_counters', 'traffic'] as const
  const rows = await Promise.all(tables.map((table) => replica.db.selectFrom(table).selectAll().execute()))
  const recorded = JSON.stringify([replica.log, rows])
  for (const secret of secrets) {
    t.ok(secret.length >= 43)
    t.notOk(recorded.includes(secret.slice(-40)))
  }
})

await t.test('sessions are read while another transaction locks them', async (t) => {
  const { db } = await fresh()
  const { id } = await newKey({ db })
  for (const digest of ['a', 'b']) await startSession(db, digest, id)
  const other = await db.startTransaction().execute()
  const lock = (digest: string) =>
    sql`select from admin_sessions where token_digest = ${digest} for update`.execute(other)
  await lock('a')
  t.equal((await readSessions(db, ['a', 'b'])).size, 2)
  await sql`update api_keys set revoked_at = now() where id = ${id}`.execute(db)
  t.equal((await readSessions(db, ['a', 'b'])).size, 0, 'a revocation applies to a locked session')
  await other.commit().execute()
  t.equal((await readSessions(db, ['a'])).size, 0)
  t.same(await db.selectFrom('admin_sessions').select('token_digest').execute(), [])
})
