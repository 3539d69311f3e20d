import t, { type Test } from 'tap'
import { createDatabase, isErrorReply, newKey, startReplica } from './helper.ts'
import { keyIn, logIn, readHidden, visit } from './visitor.ts'

const keys = '/manage/settings/api-keys'

async function start(t: Test) {
  const replica = await startReplica(t)
  const admin = await newKey(replica, { name: 'boss' })
  const visitor = await logIn(replica.app, admin.token)
  const read = async (id: string) => (await replica.call(admin.token, `GET /api/keys/${id}`)).json.data
  const list = async () => (await replica.call(admin.token, 'GET /api/keys')).json.data
  return { replica, admin, visitor, read, list }
}

await t.test('a key made by the form works, with what was asked for', async (t) => {
  const { replica, visitor, read } = await start(t)
  const page = await visitor.submit(`${keys}/new`, {
    name: ' monitoring-service ',
    permissions: ['read:monitors', 'write:incidents'],
    expiry: 'date',
    expiry_date: '2999-12-31',
    rate_limit: '7',
  })
  t.equal(page.statusCode, 201)
  t.match(page.body, 'won’t be shown again')
  const text = keyIn(page) ?? ''
  t.match(page.body, `curl -X GET http://localhost:80/api/me -H &quot;Authorization: Bearer ${text}&quot;`)
  const me = await replica.call(text, 'GET /api/me')
  t.match(me.json.data, {
    key_name: 'monitoring-service',
    permissions: ['read:monitors', 'write:incidents'],
    expires_at: '2999-12-31T23:59:59Z',
    rate_limit: 7,
  })
  t.ok(
    replica.log.some(
      ({ event, subjectKeyId }) => event === 'key_created' && subjectKeyId === me.json.data.id,
    ),
  )
  const details = await visitor.get(`${keys}/${me.json.data.id}`)
  t.equal(keyIn(details), undefined, 'and is shown nowhere else')
  t.equal((await read(me.json.data.id)).status, 'active')
})

class ClockBehind extends Date {
  constructor(...given: [] | [string | number]) {
    super(...((given.length > 0 ? given : [ClockBehind.now()]) as [number]))
  }

  static override now(): number {
    return super.now() - 3_600_000
  }
}

await t.test('the panel goes by the clock of the database, wherever that of the process is', async (t) => {
  const { visitor, read } = await start(t)
  t.intercept(globalThis, 'Date', { value: ClockBehind })
  const fields = { name: 'n', permissions: 'read:monitors', expiry: '30' }
  const id = (keyIn(await visitor.submit(`${keys}/new`, fields)) ?? '').slice(6, 22)
  const { created_at, expires_at } = await read(id)
  t.ok(Math.abs(Date.parse(expires_at) - Date.parse(created_at) - 30 * 86_400_000) < 60_000)
  t.match((await visitor.get(`${keys}/${id}`)).body, /Created.*?just now.*?Last use/s)
})

await t.test('a form sent twice makes one key, and shows it once', async (t) => {
  const { visitor, list } = await start(t)
  const { body } = await visitor.get(`${keys}/new`)
  const fields = { ...readHidden(body, `${keys}/new`), name: 'once', permissions: 'read:monitors' }
  const replies = [await visitor.post(`${keys}/new`, fields), await visitor.post(`${keys}/new`, fields)]
  t.same(
    replies.map(({ statusCode }) => statusCode),
    [201, 409],
  )
  t.same(
    replies.map((reply) => keyIn(reply) !== undefined),
    [true, false],
  )
  t.match(replies[1]?.body, 'was sent before')
  const made = await list()
  t.equal(made.filter(({ name }: { name: string }) => name === 'once').length, 1)
  const atOnce = await visitor.get(`${keys}/new`)
  const same = { ...readHidden(atOnce.body, `${keys}/new`), name: 'race', permissions: 'admin' }
  const race = await Promise.all([1, 2, 3].map(() => visitor.post(`${keys}/new`, same)))
  t.same(race.map(({ statusCode }) => statusCode).sort(), [201, 409, 409])
})

await t.test('what is wrong is said beside its field, and what was typed is kept', async (t) => {
  const { visitor, list } = await start(t)
  const good = { name: 'kept-name', permissions: ['read:monitors'] }
  const cases: [fields: Record<string, string | string[]>, id: string, words: RegExp][] = [
    [{ ...good, name: '  ' }, 'name', /Give the key a name/],
    [{ ...good, name: 'x'.repeat(101) }, 'name', /1 to 100/],
    [{ ...good, permissions: [] }, 'permissions', /at least one/],
    [{ ...good, permissions: ['read:everything'] }, 'permissions', /at least one of these/],
    [{ ...good, rate_limit: '0' }, 'rate-limit', /whole number/],
    [{ ...good, rate_limit: '1.5' }, 'rate-limit', /whole number/],
    [{ ...good, rate_limit: 'a lot' }, 'rate-limit', /whole number/],
    [{ ...good, expiry: 'date' }, 'expiry', /Enter a date/],
    [{ ...good, expiry: 'date', expiry_date: '2027-02-30' }, 'expiry', /Enter a date/],
    [{ ...good, expiry: 'date', expiry_date: '2020-01-01' }, 'expiry', /must be in the future/],
    [{ ...good, expiry: '30', expiry_date: '2999-01-01' }, 'expiry', /On a date/],
    [{ ...good, expiry: 'tomorrow' }, 'expiry', /from the list/],
    [{ ...good, expiry: 'keep' }, 'expiry', /from the list/],
  ]
  for (const [fields, id, words] of cases) {
    const { statusCode, body } = await visitor.submit(`${keys}/new`, fields)
    t.equal(statusCode, 400, JSON.stringify(fields))
    const [, said = ''] = new RegExp(`id="${id}-error">(.*?)</p>`).exec(body) ?? []
    t.match(said, words)
    t.match(body, new RegExp(`id="${id}"[^>]*aria-describedby="${id}-error`), 'and tied to it')
    if (fields.name === 'kept-name') t.match(body, 'value="kept-name"')
    if (fields.rate_limit !== undefined) t.match(body, `value="${String(fields.rate_limit)}"`)
    if (fields.permissions?.includes('read:monitors')) t.match(body, /value="read:monitors" checked/)
  }
  t.equal((await list()).length, 1, 'nothing was made')
})

await t.test('a refused form can be mended and sent', async (t) => {
  const { visitor } = await start(t)
  const refused = await visitor.submit(`${keys}/new`, { name: 'mended' })
  const hidden = readHidden(refused.body, `${keys}/new`)
  const page = await visitor.post(`${keys}/new`, { ...hidden, name: 'mended', permissions: 'admin' })
  t.ok(keyIn(page))
})

await t.test('expiry: presets count from now, a date lasts to its end, none is never', async (t) => {
  const { visitor, list } = await start(t)
  const make = async (fields: Record<string, string>) => {
    const page = await visitor.submit(`${keys}/new`, { name: 'e', permissions: 'admin', ...fields })
    t.equal(page.statusCode, 201)
    return (await list())[0].expires_at
  }
  t.equal(await make({ expiry: 'never' }), null)
  t.equal(
    await make({ expiry: 'never', expiry_date: '2999-01-01' }),
    '2999-01-01T23:59:59Z',
    'without a script',
  )
  for (const days of [7, 30, 90, 365]) {
    const left = (Date.parse(await make({ expiry: String(days) })) - Date.now()) / 86_400_000
    t.ok(Math.abs(left - days) < 0.01, `${days} days`)
  }
})

await t.test('editing changes what was changed, and keeps an expiry to the second', async (t) => {
  const { replica, visitor, read } = await start(t)
  const expiresAt = new Date('2999-01-02T03:04:05Z')
  const { id, token } = await newKey(replica, { name: 'before', expiresAt, rateLimit: 9 })
  const { body } = await visitor.get(`${keys}/${id}`)
  t.match(body, /value="keep" selected/)
  t.match(body, /value="9"/)
  const saved = await visitor.submit(`${keys}/${id}`, {
    name: 'after',
    permissions: ['read:incidents'],
    expiry: 'keep',
    rate_limit: '',
  })
  t.equal(saved.headers.location, `${keys}/${id}?notice=saved`)
  t.match(await read(id), {
    name: 'after',
    permissions: ['read:incidents'],
    expires_at: '2999-01-02T03:04:05Z',
    rate_limit: null,
  })
  t.equal((await replica.call(token, 'GET /api/monitors')).statusCode, 403, 'and it holds at once')
  for (const expiry of [{ expiry: 'date', expiry_date: '2020-01-01' }, { expiry: 'gone' }]) {
    const slip = await visitor.submit(`${keys}/${id}`, { name: 'slip', permissions: ['admin'], ...expiry })
    t.equal(slip.statusCode, 400, 'a slip of the expiry changes nothing')
  }
  t.equal((await read(id)).name, 'after')
  const refused = await visitor.submit(`${keys}/${id}`, { name: '', permissions: ['admin'] })
  t.equal(refused.statusCode, 400)
  t.match(refused.body, 'Give the key a name')
})

await t.test('revoking asks first, names the key and its last use, and holds at once', async (t) => {
  const { replica, visitor } = await start(t)
  const { id, token: text } = await newKey(replica, { name: 'leaked' })
  const path = `${keys}/${id}/revoke`
  t.match((await visitor.get(path)).body, /Revoke leaked\?.*never been used/s)
  await replica.db
    .updateTable('api_keys')
    .set({ last_used_at: new Date(Date.now() - 7_200_000) })
    .execute()
  t.match((await visitor.get(path)).body, /last used.*2 hours ago/s)
  t.equal((await replica.call(text, 'GET /api/me')).statusCode, 200, 'to ask changes nothing')
  const reply = await visitor.submit(path, {})
  t.equal(reply.headers.location, `${keys}/${id}?notice=revoked`)
  isErrorReply(t, await replica.call(text, 'GET /api/me'), 401, 'KEY_REVOKED', 'afterwards')
  const details = await visitor.get(String(reply.headers.location))
  t.match(details.body, 'refused from now on')
  t.notMatch(details.body, 'name="permissions"', 'a revoked key cannot be edited')
  const { body } = await visitor.get(`${keys}/new`)
  const token = readHidden(body, `${keys}/new`)
  t.equal(
    (await visitor.post(`${keys}/${id}`, { ...token, name: 'x', permissions: 'admin' })).statusCode,
    409,
  )
})

await t.test('rotating shows the new key once; the old one works for the overlap', async (t) => {
  const { replica, visitor, read } = await start(t)
  const { id, token } = await newKey(replica, {
    name: 'turned',
    permissions: ['read:monitors'],
    rateLimit: 5,
  })
  const path = `${keys}/${id}/rotate`
  const { body } = await visitor.get(path)
  const fields = { ...readHidden(body, path), overlap_seconds: '3600' }
  const page = await visitor.post(path, fields)
  t.equal(page.statusCode, 201)
  const successor = keyIn(page) ?? ''
  t.match((await replica.call(successor, 'GET /api/me')).json.data, { key_name: 'turned', rate_limit: 5 })
  t.equal((await replica.call(token, 'GET /api/me')).statusCode, 200)
  const before = await read(id)
  const again = await visitor.post(path, { ...fields, overlap_seconds: '0' })
  t.equal(again.statusCode, 409, 'a form sent twice')
  t.equal(keyIn(again), undefined)
  t.same(
    { ...(await read(id)), last_used_at: null },
    { ...before, last_used_at: null },
    'changes nothing more',
  )
  for (const overlap of ['', '-1', 'x', '604801']) {
    t.equal((await visitor.submit(path, { overlap_seconds: overlap })).statusCode, 400, `overlap ${overlap}`)
  }
  const atOnce = await visitor.submit(path, { overlap_seconds: '0' })
  t.ok(keyIn(atOnce))
  isErrorReply(t, await replica.call(token, 'GET /api/me'), 401, 'KEY_EXPIRED', 'without overlap')
})

await t.test(
  'who rotates the key he is logged in with is shown the new one, and logs in with it',
  async (t) => {
    const { replica, admin, visitor } = await start(t)
    const path = `${keys}/${admin.id}/rotate`
    t.match((await visitor.get(path)).body, 'so does your session')
    const page = await visitor.submit(path, { overlap_seconds: '0' })
    t.equal(page.statusCode, 201)
    t.equal((await visitor.get('/manage')).statusCode, 303)
    await logIn(replica.app, keyIn(page) ?? '')
  },
)

await t.test('script in a name, an id or a search stays text', async (t) => {
  const { replica, visitor } = await start(t)
  const name = `"><script>alert('x')</script><img src=x onerror=alert(1)>`
  const { id } = await newKey(replica, { name })
  const query = encodeURIComponent(name)
  const paths = [
    keys,
    `${keys}?q=${query}`,
    ...['', '/rotate', '/revoke'].map((end) => `${keys}/${id}${end}`),
  ]
  for (const path of [...paths, `${keys}/${query}`, `/manage/${query}`]) {
    const { body } = await visitor.get(path)
    t.notMatch(body, /<script>|<img src=x/, path)
  }
  t.match((await visitor.get(`${keys}/${id}`)).body, '&lt;script>alert')
  const made = await visitor.submit(`${keys}/new`, { name, permissions: 'admin' })
  t.notMatch(made.body, /<script>|<img src=x/)
  t.notMatch((await visit(replica.app).get(`/manage/login?next=${query}`)).body, /<script>|<img src=x/)
})

await t.test('the list finds keys by status, by part of a name and by id, over all pages', async (t) => {
  const { replica, visitor } = await start(t)
  for (let index = 0; index < 60; index++) await newKey(replica, { name: `key ${index}%_` })
  const { id } = await newKey(replica, { name: 'The Needle' })
  await replica.db
    .updateTable('api_keys')
    .set({ revoked_at: new Date() })
    .where('name', '=', 'key 3%_')
    .execute()
  const names = (body: string) =>
    [...body.matchAll(/api-keys\/\w{16}">([^<]+)<\/a>/g)].map(([, name]) => name)
  const find = async (query: string) => names((await visitor.get(`${keys}?${query}`)).body)
  t.same(await find('q=needle'), ['The Needle'])
  t.same(await find(`q=${id.slice(3, 12)}`), ['The Needle'])
  t.same(await find('status=revoked&q='), ['key 3%_'])
  t.same(await find('q=3%25_&status=active'), ['key 53%_', 'key 43%_', 'key 33%_', 'key 23%_', 'key 13%_'])
  t.match((await visitor.get(`${keys}?q=nothing+like+it`)).body, 'No key is like that')
  const first = (await visitor.get(keys)).body
  const [, older = ''] = /href="([^"]+)">Older keys/.exec(first) ?? []
  const second = (await visitor.get(older.replaceAll('&amp;', '&'))).body
  t.equal(new Set([...names(first), ...names(second)]).size, 62, 'two pages hold all')
  t.notMatch(second, 'Older keys')
  for (const query of ['status=odd', 'cursor=xyz', `q=${'x'.repeat(101)}`]) {
    t.equal((await visitor.get(`${keys}?${query}`)).statusCode, 400, query)
  }
})

await t.test('pages are kept by nobody, framed by nobody, and run no script but ours', async (t) => {
  const { replica, admin, visitor } = await start(t)
  const paths = ['/manage', keys, `${keys}/new`, `${keys}/${admin.id}`, '/manage/nothing']
  const replies = [
    ...(await Promise.all(paths.map((path) => visitor.get(path)))),
    await visitor.submit(`${keys}/new`, { name: 'x', permissions: 'admin' }),
    await visit(replica.app).get('/manage/login'),
  ]
  for (const { headers, body } of replies) {
    t.equal(headers['cache-control'], 'no-store')
    t.match(headers['content-security-policy'], /default-src 'none';script-src 'self'/)
    t.notMatch(headers['content-security-policy'], 'unsafe')
    t.match(headers['content-security-policy'], "frame-ancestors 'none'")
    t.equal(headers['x-frame-options'], 'DENY')
    t.notMatch(body, / style=| on\w+=|<style|<script(?! src="\/manage)/, 'nothing inline')
    t.notMatch(body, /(src|href)="(https?:)?\/\//, 'nothing from elsewhere')
  }
  t.equal(replies[4]?.statusCode, 404)
})

await t.test('what is sent as something else than a form is refused in words of forms', async (t) => {
  const { replica, visitor } = await start(t)
  for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x']) {
    const headers = { cookie: visitor.cookie, 'content-type': type }
    const reply = await replica.app.inject({ method: 'POST', url: `${keys}/new`, headers, payload: '{}' })
    t.equal(reply.statusCode, 415, type)
    t.match(reply.headers['content-type'], 'text/html')
    t.match(reply.body, 'This is not a form')
    t.notMatch(reply.body, /json/i)
  }
})

await t.test('an asset is served with its type, and revalidated', async (t) => {
  const { app } = await startReplica(t)
  for (const [name, type] of [
    ['manage.css', /css/],
    ['manage.js', /javascript/],
    ['icon.svg', /svg/],
  ] as const) {
    const { statusCode, headers } = await visit(app).get(`/manage/assets/${name}`)
    t.equal(statusCode, 200)
    t.match(headers['content-type'], type)
    t.equal(headers['cache-control'], 'no-cache')
    const again = await visit(app).get(`/manage/assets/${name}`, { 'if-none-match': String(headers.etag) })
    t.equal(again.statusCode, 304)
  }
  t.not((await visit(app).get('/manage/assets/%2e%2e/index.js')).statusCode, 200)
})

await t.test(
  'the overview counts the requests of all replicas, and shows monitors and incidents',
  async (t) => {
    const url = await createDatabase(t)
    const [here, there] = [await startReplica(t, { url }), await startReplica(t, { url })]
    const { token } = await newKey(here)
    const visitor = await logIn(here.app, token)
    t.match(
      (await visitor.get('/manage')).body,
      /None in the last hour.*No monitor yet.*None\. What a client/s,
    )
    await there.call(token, 'PUT /api/monitors/shop', { name: 'Shop <b>' })
    await there.call(token, 'PUT /api/monitors/off', { name: 'Switched off', enabled: false })
    await there.call(token, 'PUT /api/monitors/back', { name: 'Backstage', hidden: true })
    await there.call(token, 'POST /api/monitors/shop/data', { status: 'UP' })
    await there.call(token, 'POST /api/incidents', {
      title: 'Slow & odd',
      monitors: [{ monitor_tag: 'shop', impact: 'DEGRADED' }],
    })
    await here.call(null, 'GET /api/status')
    await here.call('kener_nonsense', 'GET /api/nothing')
    await there.app.readTraffic()
    const { body } = await visitor.get('/manage')
    t.match(body, '7 in the last hour')
    t.match(body, /Shop &lt;b>.*DEGRADED.*Backstage.*hidden.*NO DATA/s, 'the worst first')
    t.notMatch(body, 'Switched off')
    t.match(body, /Slow &amp; odd/)
  },
)
