import { once } from 'node:events'
import type { FastifyRequest } from 'fastify'
import { sql } from 'kysely'
import t from 'tap'
import { malformedKey } from '../src/errors.ts'
import { createDatabase, newKey, type Replica, startReplica } from './helper.ts'
import { keyFormLimitBytes } from '../src/manage/api-keys/form.ts'
import { keyIn, logIn, readHidden, visit, type Visitor } from './visitor.ts'

const keys = '/manage/settings/api-keys'

/** Sent by browsers with a form of the same site. */
const fromThisSite = { 'sec-fetch-site': 'same-origin' }

const url = await createDatabase(t)
const replica = await startReplica(t, { url })
const { app, db, call } = replica

/** Makes all log-ins older than 15 minutes. */
async function age() {
  await sql`update admin_sessions set logged_in_at = now() - interval '15 minutes'`.execute(db)
}

const sessionIn = ({ cookie }: Visitor) => /kener_manage=([^;]+)/.exec(cookie)?.[1]

const isRevoked = async ({ id }: { id: string }) =>
  (await db.selectFrom('api_keys').select('revoked_at').where('id', '=', id).executeTakeFirst())
    ?.revoked_at !== null

await t.test('revoking a key asks for the key again if the log-in is older than 15 minutes', async (t) => {
  const [admin, otherAdmin, victim] = [await newKey(replica), await newKey(replica), await newKey(replica)]
  const visitor = await logIn(app, admin.token)
  const path = `${keys}/${victim.id}/revoke`
  await age()
  const planted = visitor.cookie
  const asked = await visitor.submit(path, {})
  t.equal(asked.statusCode, 403)
  t.match(asked.body, 'Confirm with your key')
  t.notOk(await isRevoked(victim), 'nothing has changed')
  const hidden = readHidden(asked.body, path)

  const rejections: [entered: string, status: number, message: string][] = [
    ['', 400, 'Enter an API key'],
    ['nonsense', 401, 'not a valid key'],
    [otherAdmin.token, 403, 'This is another key'],
  ]
  for (const [entered, status, message] of rejections) {
    const reply = await visitor.post(path, { ...hidden, _key: entered })
    t.equal(reply.statusCode, status, message)
    t.match(reply.body, message)
    t.notOk(entered !== '' && reply.body.includes(entered))
  }
  t.notOk(await isRevoked(victim))
  t.equal(visitor.cookie, planted, 'a rejected key changes no session')

  const confirmed = await visitor.post(path, { ...hidden, _key: ` ${admin.token} ` })
  t.equal(confirmed.headers.location, `${keys}/${victim.id}?notice=revoked`)
  t.ok(await isRevoked(victim))
  t.not(visitor.cookie, planted, 'the session has a new token')
  t.equal((await visit(app, { cookie: planted }).get('/manage')).statusCode, 303, 'the old token has ended')
  const replayed = await visit(app, { cookie: planted }).post(path, { ...hidden, _key: admin.token })
  t.equal(replayed.statusCode, 303, 'the form cannot be sent with the old session')
  t.equal(
    (await visitor.post(path, { ...hidden, _key: admin.token })).statusCode,
    403,
    'nor with the new one',
  )

  const next = await newKey(replica)
  t.equal(
    (await visitor.submit(`${keys}/${next.id}/revoke`, {})).statusCode,
    303,
    'the log-in is recent again',
  )
  const events = await db
    .selectFrom('audit_events')
    .select('action')
    .where('action', '=', 'panel.logged_in')
    .execute()
  t.equal(events.length, 2, 'it is recorded as a log-in')
})

await t.test('nothing is confirmed if the client disconnects before its key is rejected', async (t) => {
  const [admin, victim] = [await newKey(replica), await newKey(replica)]
  const visitor = await logIn(app, admin.token)
  const path = `${keys}/${victim.id}/revoke`
  await age()
  const { body } = await visitor.submit(path, {})
  const form = new URLSearchParams({ _csrf: String(readHidden(body, path)._csrf), _key: 'nonsense' })
  t.intercept(app, 'authenticateToken', {
    value: async (_token: string, { socket }: FastifyRequest) => {
      socket.destroy()
      await once(socket, 'close')
      throw malformedKey()
    },
  })
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const headers = { cookie: visitor.cookie }
  await t.rejects(fetch(origin + path, { method: 'POST', headers, body: form }))
  // After the revocation, if it had begun.
  await call(admin.token, `PATCH /api/keys/${victim.id}`, { name: 'Later' })
  t.notOk(await isRevoked(victim))
})

await t.test('failed confirmations are limited like failed log-ins', async (t) => {
  const limited = await startReplica(t, { url, config: { authFailureLimitMax: 2 } })
  const admin = await newKey(replica)
  const visitor = await logIn(limited.app, admin.token)
  await age()
  const path = `${keys}/${admin.id}/revoke`
  const hidden = readHidden((await visitor.submit(path, {})).body, path)
  const statuses: number[] = []
  for (const entered of ['a', 'b', 'c'])
    statuses.push((await visitor.post(path, { ...hidden, _key: entered })).statusCode)
  t.same(statuses, [401, 401, 429])
  t.notOk(await isRevoked(admin))
})

await t.test('the entered values are kept while the key is entered', async (t) => {
  const admin = await newKey(replica)
  const visitor = await logIn(app, admin.token)
  const create = async (permissions: string[], more = {}) => {
    const { body } = await visitor.get(`${keys}/new`)
    return visitor.post(`${keys}/new`, {
      ...readHidden(body, `${keys}/new`),
      permissions,
      name: 'N',
      ...more,
    })
  }
  await age()
  t.equal((await create(['read:monitors'])).statusCode, 201, 'only an admin key needs it')
  // As long as the form may be.
  const description = `"<b>&\n${'é'.repeat(900)}`
  const padding = 'x'.repeat(keyFormLimitBytes - 7_000)
  const asked = await create(['admin', 'read:monitors'], { description, padding })
  t.equal(asked.statusCode, 403)
  t.notMatch(asked.body, '<b>')
  const hidden = readHidden(asked.body, `${keys}/new`)
  t.same(hidden.permissions, ['admin', 'read:monitors'])
  t.same(hidden.description, [description])
  const created = await visitor.post(`${keys}/new`, { ...hidden, _key: admin.token })
  t.equal(created.statusCode, 201)
  const token = keyIn(created) ?? ''
  t.match((await call(token, 'GET /api/me')).json.data, {
    description,
    permissions: ['admin', 'read:monitors'],
  })
  const tooLong = await create(['admin'], { padding: 'x'.repeat(140_000) })
  t.equal(tooLong.statusCode, 413)
})

await t.test('an existing key becomes an admin key only after the key was entered again', async (t) => {
  const [admin, other] = [await newKey(replica), await newKey(replica, { permissions: ['read:monitors'] })]
  const visitor = await logIn(app, admin.token)
  await age()
  const path = `${keys}/${other.id}`
  const form = { name: 'test', permissions: ['read:monitors', 'admin'], expiry: 'keep' }
  const asked = await visitor.submit(path, form)
  t.equal(asked.statusCode, 403)
  t.match((await call(other.token, 'GET /api/me')).json.data.permissions, ['read:monitors'])
  const saved = await visitor.post(path, { ...readHidden(asked.body, path), _key: admin.token })
  t.equal(saved.statusCode, 303)
  t.match((await call(other.token, 'GET /api/me')).json.data.permissions, ['read:monitors', 'admin'])
})

await t.test(
  'a form that was sent after its session ended is shown again after the log-in, and not carried out',
  async (t) => {
    const [admin, other] = [await newKey(replica), await newKey(replica)]
    const path = '/manage/monitors/new'
    const form = {
      tag: 'restored',
      name: 'Restored <b>',
      description: 'Line 1\nLine 2',
      default_status: 'UP',
    }
    const ends: Record<string, (visitor: Visitor) => Promise<unknown>> = {
      'it was ended': () => sql`delete from admin_sessions`.execute(db),
      'it has expired': () => sql`update admin_sessions set ends_at = now()`.execute(db),
      'the browser has logged in again': async (visitor) => {
        visitor.cookie = (await logIn(app, admin.token)).cookie
      },
    }
    for (const [name, end] of Object.entries(ends)) {
      const visitor = visit(app, fromThisSite)
      await visitor.submit('/manage/login', { key: admin.token })
      const { body } = await visitor.get(path)
      const stale = readHidden(body, path)
      await end(visitor)
      let shown = await visitor.post(path, { ...stale, ...form })
      t.equal(shown.statusCode, 403, name)
      if (shown.body.includes('name="_key"')) {
        t.notMatch(shown.body, '<b>')
        const carried = readHidden(shown.body, path)
        const rejected = await visitor.post(path, { ...carried, _key: 'nonsense' })
        t.equal(rejected.statusCode, 401, name)
        // Another user of the browser sees the values, which do nothing.
        shown = await visitor.post(path, { ...readHidden(rejected.body, path), _key: other.token })
        t.equal(shown.statusCode, 200, name)
        t.ok(sessionIn(visitor))
      }
      t.match(shown.body, 'Nothing was saved yet')
      t.match(shown.body, 'value="Restored &lt;b>"')
      t.match(shown.body, 'Line 1\nLine 2')
      t.equal((await call(admin.token, 'GET /api/monitors/restored')).statusCode, 404, 'nothing was created')
      t.equal(
        (await visitor.post(path, { ...readHidden(shown.body, path), ...form })).statusCode,
        303,
        'it can be sent',
      )
      t.equal((await call(admin.token, 'DELETE /api/monitors/restored')).statusCode, 204)
    }
  },
)

await t.test('a restored or rejected update of an incident keeps the version of its form', async (t) => {
  const admin = await newKey(replica)
  const { json } = await call(admin.token, 'POST /api/incidents', { title: 'Slow' })
  const { id } = json.data as { id: number }
  const path = `/manage/incidents/${id}/comments`
  const visitor = visit(app, fromThisSite)
  await visitor.submit('/manage/login', { key: admin.token })
  const opened = readHidden((await visitor.get(`/manage/incidents/${id}`)).body, path)
  await call(admin.token, `PATCH /api/incidents/${id}`, { state: 'IDENTIFIED' })
  const form = { comment: 'Resolved', state: 'RESOLVED' }
  const rejected = await visitor.post(path, { ...opened, ...form, comment: '', step: 'post' })
  t.equal(rejected.statusCode, 400)
  t.same(readHidden(rejected.body, path).version, opened.version)
  visitor.cookie = (await logIn(app, admin.token)).cookie
  const restored = await visitor.post(path, { ...opened, ...form, step: 'post' })
  t.equal(restored.statusCode, 403)
  const sent = await visitor.post(path, { ...readHidden(restored.body, path), ...form, step: 'post' })
  t.equal(sent.statusCode, 412)
  t.match((await call(admin.token, `GET /api/incidents/${id}`)).json.data, { state: 'IDENTIFIED' })
})

await t.test('the form of an incident offers a new monitor only to keys that may create one', async (t) => {
  const empty = await startReplica(t)
  for (const [permission, isOffered] of [
    ['admin', true],
    ['write:incidents', false],
  ] as const) {
    const { token } = await newKey(empty, { permissions: [permission] })
    const visitor = await logIn(empty.app, token)
    const { body } = await visitor.get('/manage/incidents/new')
    t.match(body, 'There are no monitors yet')
    t.equal(body.includes('href="/manage/monitors/new"'), isOffered, permission)
  }
})

await t.test('forms of other sites, and forms without a token of the log-in, restore nothing', async (t) => {
  const admin = await newKey(replica)
  const path = '/manage/monitors/new'
  const form = { tag: 'foreign', name: 'Foreign' }
  for (const headers of [
    {},
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'none' },
    { origin: 'https://evil.example' },
    { origin: 'null' },
  ]) {
    const name = JSON.stringify(headers)
    const anonymous = await visit(app, headers).post(path, form)
    t.equal(anonymous.statusCode, 303, name)
    t.notMatch(String(anonymous.headers.location), 'foreign')
    const visitor = await logIn(app, admin.token)
    const forged = await visit(app, { ...headers, cookie: visitor.cookie }).post(path, {
      ...form,
      _key: admin.token,
    })
    t.equal(forged.statusCode, 403, name)
    t.notMatch(forged.body, 'Foreign')
  }
  const planted = await visit(app, fromThisSite).post(path, { ...form, _key: admin.token })
  t.equal(planted.statusCode, 403, 'a log-in needs the token of its form')
  t.notMatch(String(planted.headers['set-cookie']), 'kener_manage')
  const old = await visit(app, { origin: 'http://localhost', host: 'localhost' }).post(path, form)
  t.match(old.body, 'name="_key"', 'the header Origin is sufficient')
})

await t.test('a button that was pressed after the session ended leads back to its page', async (t) => {
  const admin = await newKey(replica)
  await call(admin.token, 'POST /api/monitors', { tag: 'button', name: 'Button' })
  const visitor = visit(app, {
    ...fromThisSite,
    referer: 'http://localhost/manage/monitors/button?notice=saved',
    host: 'localhost',
  })
  await visitor.submit('/manage/login', { key: admin.token })
  await sql`delete from admin_sessions`.execute(db)
  const pressed = await visitor.post('/manage/monitors/button/hide', {})
  t.equal(pressed.statusCode, 303)
  const logInPath = String(pressed.headers.location)
  const page = await visitor.get(logInPath)
  t.match(page.body, 'nothing was changed')
  const back = await visitor.post('/manage/login', {
    ...readHidden(page.body, '/manage/login'),
    key: admin.token,
  })
  t.equal(back.headers.location, '/manage/monitors/button?notice=unchanged')
  t.match((await visitor.get(String(back.headers.location))).body, 'Nothing was changed')
  t.equal((await call(admin.token, 'GET /api/monitors/button')).json.data.hidden, false)
  await call(admin.token, 'DELETE /api/monitors/button')
})

await t.test('a log-out everywhere ends all sessions of the key, on all replicas', async (t) => {
  const remote = await startReplica(t, { url })
  const [admin, other] = [await newKey(replica), await newKey(replica, { permissions: ['read:monitors'] })]
  const ofAdmin = await logIn(app, admin.token)
  const sessions = async () => [await logIn(app, other.token), await logIn(remote.app, other.token)]
  const ended = async ({ cookie }: Visitor, { app }: Replica) =>
    (await visit(app, { cookie }).get('/manage')).statusCode === 303

  const own = await sessions()
  const reply = await own[0]?.submit('/manage/account', {}, '/manage/account/log-out-everywhere')
  t.equal(reply?.headers.location, '/manage/login?notice=logged-out-everywhere')
  for (const visitor of own) for (const each of [replica, remote]) t.ok(await ended(visitor, each))

  const others = await sessions()
  const path = `${keys}/${other.id}`
  t.equal((await ofAdmin.submit(path, {}, `${path}/log-out`)).headers.location, `${path}?notice=logged-out`)
  for (const visitor of others) for (const each of [replica, remote]) t.ok(await ended(visitor, each))
  t.notOk(await ended(ofAdmin, remote), 'sessions of other keys continue')
  t.equal((await call(other.token, 'GET /api/me')).statusCode, 200, 'the key is still valid')
  const events = await call(admin.token, `GET /api/audit?action=panel.logged_out&target=${other.id}`)
  t.match(events.json.data, [
    { actor: { key_id: admin.id }, changes: { sessions: [2, 0] } },
    { actor: { key_id: other.id }, changes: { sessions: [2, 0] } },
  ])
})

await t.test(
  'a route that deletes, revokes or rotates without asking for the key is a boot error',
  async (t) => {
    const { isDestructive } = await import('../src/manage/entered-forms.tsx')
    const routes: [url: string, declared: unknown][] = []
    await startReplica(t, {
      url,
      extend: (app) => {
        app.addHook('onRoute', ({ url, method, config }) => {
          if (url.startsWith('/manage') && method === 'POST') routes.push([url, config?.recentLogIn])
        })
      },
    })
    const destructive = routes.filter(([url]) => isDestructive(url))
    t.ok(destructive.length >= 7, destructive.join())
    t.same(
      destructive.filter(([, declared]) => declared !== true),
      [],
    )
  },
)
