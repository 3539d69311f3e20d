import t from 'tap'
import { newKey, type Replica, shareReplica } from './helper.ts'
import { logIn, readHidden, visit } from './visitor.ts'

const monitors = '/manage/monitors'
const replicaOf = shareReplica(t)

async function start() {
  const replica = await replicaOf()
  const admin = await newKey(replica, { name: 'boss' })
  const visitor = await logIn(replica.app, admin.token)
  const call = (route: Parameters<Replica['call']>[1], body?: unknown) =>
    replica.call(admin.token, route, body)
  const read = async (tag: string) => (await call(`GET /api/monitors/${tag}`)).json.data
  const listEvents = async () =>
    (await call('GET /api/audit')).json.data.filter(
      ({ target }: { target: { type: string } }) => target.type === 'monitor',
    )
  return { replica, admin, visitor, call, read, listEvents }
}

const valid = { tag: 'shop', name: 'Shop', default_status: 'NO_DATA', enabled: 'yes' }

await t.test('the first monitor is created in the panel, with an audit event', async (t) => {
  const { visitor, read, listEvents } = await start()
  const empty = await visitor.get(monitors)
  t.match(empty.body, /No monitors yet.*curl -X PUT http:\/\/localhost\/api\/monitors\/website/s)
  const created = await visitor.submit(`${monitors}/new`, {
    ...valid,
    name: ' Shop <b> ',
    description: 'Line 1\r\nLine 2',
    category_name: 'Web',
    external_url: 'https://shop.example.com',
    default_status: 'DOWN',
    stale_after_seconds: '300',
    degraded_counts_as_down: 'yes',
    hidden: 'yes',
  })
  t.equal(created.headers.location, `${monitors}/shop?notice=created`)
  t.match(await read('shop'), {
    name: 'Shop <b>',
    description: 'Line 1\nLine 2',
    category_name: 'Web',
    external_url: 'https://shop.example.com',
    default_status: 'DOWN',
    stale_after_seconds: 300,
    degraded_counts_as_down: true,
    enabled: true,
    hidden: true,
  })
  const page = await visitor.get(String(created.headers.location))
  t.match(page.body, /<h1>Shop &lt;b><\/h1>.*Down.*by default: nothing was reported.*hidden/s)
  t.notMatch(page.body, 'Shop <b>')
  t.match(page.body, 'Monitor created')
  t.match(await listEvents(), [{ action: 'monitor.created', actor: { via: 'panel', key_name: 'boss' } }])
})

await t.test('an invalid field has its message next to it, and the submitted values are kept', async (t) => {
  const { visitor, call } = await start()
  await call('PUT /api/monitors/taken', { name: 'Taken' })
  const hidden = readHidden((await visitor.get(`${monitors}/new`)).body, `${monitors}/new`)
  const cases: [fields: Record<string, string>, message: RegExp, status?: number][] = [
    [{ tag: 'My Site' }, /lower-case letters/],
    [{ tag: 'taken' }, /a monitor has this one/, 409],
    [{ name: '' }, /Enter a name/],
    [{ name: 'x'.repeat(256) }, /1 to 255/],
    [{ description: 'x'.repeat(10_001) }, /at most 10,000/],
    [{ external_url: 'ftp://example.com' }, /http:\/\/ or https:\/\//],
    [{ default_status: 'FINE' }, /Choose a status/],
    [{ stale_after_seconds: '0' }, /whole number of seconds/],
    [{ stale_after_seconds: 'soon' }, /whole number of seconds/],
  ]
  for (const [fields, message, status = 400] of cases) {
    const [[name, value] = ['', '']] = Object.entries(fields)
    const { statusCode, body } = await visitor.post(`${monitors}/new`, { ...hidden, ...valid, ...fields })
    t.equal(statusCode, status, name)
    t.match(new RegExp(`id="${name}-error">([^<]*)</p>`).exec(body)?.[1], message)
    if (name !== 'default_status') t.ok(body.includes(value), 'the value is kept')
  }
  t.equal((await call('GET /api/monitors')).json.data.length, 1)
})

await t.test(
  'an edit of a monitor that was changed meanwhile saves nothing, and shows the saved values',
  async (t) => {
    const { visitor, call, read, listEvents } = await start()
    await call('PUT /api/monitors/shop', { name: 'Shop', stale_after_seconds: 60 })
    const path = `${monitors}/shop/edit`
    const fields = { ...valid, name: 'My shop', stale_after_seconds: '60' }
    const opened = readHidden((await visitor.get(path)).body, path)
    await call('PATCH /api/monitors/shop', { name: 'Your shop', hidden: true })
    const rejected = await visitor.post(path, { ...opened, ...fields })
    t.equal(rejected.statusCode, 412)
    t.match(rejected.body, /Nothing was saved, because this monitor was changed/)
    t.match(rejected.body, /value="My shop".*Saved: Your shop.*Saved: yes/s)
    t.notMatch(rejected.body, 'Saved: 60')
    t.match(await read('shop'), { name: 'Your shop', hidden: true })

    const invalid = await visitor.post(path, { ...opened, ...fields, name: '' })
    t.equal(invalid.statusCode, 400)
    t.same(readHidden(invalid.body, path).version, opened.version, 'a correction requires the same version')

    const resolved = await visitor.post(path, { ...opened, ...readHidden(rejected.body, path), ...fields })
    t.equal(resolved.headers.location, `${monitors}/shop?notice=saved`)
    t.match(await read('shop'), { name: 'My shop', hidden: false, stale_after_seconds: 60 })
    const [event] = await listEvents()
    t.match(event, {
      action: 'monitor.updated',
      actor: { via: 'panel' },
      changes: { name: ['Your shop', 'My shop'], hidden: [true, false] },
    })
  },
)

await t.test(
  'a monitor is hidden and disabled with one button each, and a status is reported by hand',
  async (t) => {
    const { visitor, call, read } = await start()
    await call('PUT /api/monitors/shop', { name: 'Shop' })
    for (const [action, expected] of [
      ['hide', { hidden: true }],
      ['disable', { enabled: false }],
      ['show', { hidden: false, enabled: false }],
      ['enable', { enabled: true }],
    ] as const) {
      const { statusCode } = await visitor.submit(`${monitors}/shop`, {}, `${monitors}/shop/${action}`)
      t.equal(statusCode, 303)
      t.match(await read('shop'), expected)
    }
    const report = (fields: Record<string, string>) =>
      visitor.submit(`${monitors}/shop`, fields, `${monitors}/shop/report`)
    const rejected = await report({ status: 'NO_DATA', latency_ms: '1e9' })
    t.equal(rejected.statusCode, 400)
    t.match(
      rejected.body,
      /id="status-error">Choose a status.*value="1e9".*id="latency_ms-error">Enter whole/s,
    )
    t.equal((await report({ status: 'DEGRADED', latency_ms: '250' })).statusCode, 303)
    t.match(await read('shop'), { status: 'DEGRADED', last_report: { latency_ms: 250 } })
    t.match(
      (await visitor.get(`${monitors}/shop`)).body,
      /Degraded<\/span> reported.*Mean 250 ms, at most 250 ms/s,
    )
  },
)

await t.test('an invalid report of a key that may not read monitors shows no data', async (t) => {
  const { replica, call } = await start()
  await call('PUT /api/monitors/shop', { name: 'Shop' })
  await call('POST /api/monitors/shop/data', { status: 'UP', latency_ms: 250 })
  for (const [permissions, shown] of [
    [['write:monitors'], false],
    [['read:monitors', 'write:monitors'], true],
  ] as const) {
    const { token } = await newKey(replica, { permissions: [...permissions] })
    const visitor = await logIn(replica.app, token)
    const form = readHidden((await visitor.get(`${monitors}/shop/edit`)).body, `${monitors}/shop/edit`)
    const rejected = await visitor.post(`${monitors}/shop/report`, { ...form, status: 'NONE' })
    t.equal(rejected.statusCode, 400)
    t.match(rejected.body, /Choose a status from the list/)
    t.equal(/250 ms/.test(rejected.body), shown, permissions.join())
  }
})

await t.test('a heartbeat URL is shown once, replaced and deleted', async (t) => {
  const { replica, visitor, call, listEvents } = await start()
  await call('PUT /api/monitors/shop', { name: 'Shop' })
  const path = `${monitors}/shop/heartbeat`
  const form = readHidden((await visitor.get(`${monitors}/shop`)).body, path)
  const created = await visitor.post(path, form)
  t.equal(created.statusCode, 201)
  const urlIn = (body: string) => /\/ext\/heartbeat\/shop\/\w{43}/.exec(body)?.[0] ?? ''
  const first = urlIn(created.body)
  t.match(created.body, `HEARTBEAT=http://localhost${first}\n0 3 * * * `)
  const request = async (url: string) => (await replica.app.inject(url)).statusCode
  t.equal(await request(first), 200)

  const again = await visitor.post(path, form)
  t.equal(again.headers.location, `${monitors}/shop?notice=heartbeat-changed`, 'as sent by a reload')
  t.equal(await request(first), 200, 'the URL is not replaced')
  t.equal(urlIn((await visitor.get(`${monitors}/shop`)).body), '')

  const elsewhere = visit(replica.app, { host: 'not~valid' })
  elsewhere.cookie = visitor.cookie
  t.equal((await elsewhere.submit(`${path}/replace`, {}, path)).statusCode, 400)
  t.equal(await request(first), 200, 'a URL that cannot be shown replaces nothing')

  const [staleReplacement, staleDeletion] = [
    readHidden((await visitor.get(`${path}/replace`)).body, path),
    readHidden((await visitor.get(`${path}/delete`)).body, `${path}/delete`),
  ]
  const replaced = await visitor.submit(`${path}/replace`, {}, path)
  t.same([await request(first), await request(urlIn(replaced.body))], [404, 200])

  // Forms in other tabs, which were opened before.
  const rejected = await visitor.post(path, staleReplacement)
  t.equal(rejected.headers.location, `${monitors}/shop?notice=heartbeat-changed`)
  const kept = await visitor.post(`${path}/delete`, staleDeletion)
  t.equal(kept.statusCode, 412)
  t.match(kept.body, 'this heartbeat URL was changed after you opened the form')
  t.equal(await request(urlIn(replaced.body)), 200, 'a newer URL is neither replaced nor deleted')
  t.equal((await visitor.submit(`${path}/delete`, {})).statusCode, 303)
  t.equal(await request(urlIn(replaced.body)), 404)
  for (const page of ['replace', 'delete'])
    t.match((await visitor.get(`${path}/${page}`)).body, 'This monitor has no heartbeat URL')
  t.equal(
    (await visitor.post(path, staleReplacement)).headers.location,
    `${monitors}/shop?notice=heartbeat-changed`,
    'a deleted URL is not replaced',
  )
  t.same(
    (await listEvents()).map(({ action }: { action: string }) => action),
    ['heartbeat.deleted', 'heartbeat.created', 'heartbeat.created', 'monitor.created'],
  )
})

await t.test('a deletion says what is lost, and requires the monitor to be unchanged', async (t) => {
  const { visitor, call, listEvents } = await start()
  await call('PUT /api/monitors/shop', { name: 'Shop' })
  await call('POST /api/monitors/shop/data', { status: 'UP', timestamp: '2026-01-02T03:04:05Z' })
  await call('POST /api/monitors/shop/heartbeat')
  const impact = { monitors: [{ monitor_tag: 'shop', impact: 'DOWN' }] }
  for (const title of ['One', 'Two']) await call('POST /api/incidents', { title, ...impact })
  const path = `${monitors}/shop/delete`
  const { body } = await visitor.get(path)
  t.match(body, /All reports since 2 Jan 2026.*Its links to 2 incidents, which are kept.*Its heartbeat URL/s)
  const opened = readHidden(body, path)
  await call('PATCH /api/monitors/shop', { name: 'Other' })
  const rejected = await visitor.post(path, opened)
  t.equal(rejected.statusCode, 412)
  t.match(rejected.body, /was changed.*Delete Other\?|Delete Other\?.*was changed/s)
  const deleted = await visitor.post(path, { ...opened, ...readHidden(rejected.body, path) })
  t.match((await visitor.get(String(deleted.headers.location))).body, 'Monitor deleted')
  t.match(await listEvents(), [{ action: 'monitor.deleted', actor: { via: 'panel' } }, {}, {}, {}])
  t.equal((await visitor.get(`${monitors}/shop`)).statusCode, 404)
})

await t.test('the page of a monitor lists its incidents and the keys that may write to it', async (t) => {
  const { replica, visitor, call } = await start()
  for (const tag of ['shop', 'shop_2']) await call(`PUT /api/monitors/${tag}`, { name: tag })
  await call('POST /api/incidents', {
    title: 'Slow & odd',
    monitors: [{ monitor_tag: 'shop', impact: 'DOWN' }],
  })
  const key = (
    name: string,
    permissions: ('write:monitors' | 'read:monitors')[],
    bound: string[] | null = null,
  ) => newKey(replica, { name, permissions, monitors: bound })
  await key('k-all', ['write:monitors'])
  await key('k-tag', ['write:monitors'], ['other', 'shop'])
  await key('k-prefix', ['write:monitors'], ['sho*'])
  await key('k-other', ['write:monitors'], ['shop_2', 'shop-*'])
  await key('k-read', ['read:monitors'])
  const revoked = await key('k-revoked', ['write:monitors'])
  await call(`POST /api/keys/${revoked.id}/revoke`)
  const { body } = await visitor.get(`${monitors}/shop`)
  t.match(body, /<a href="\/manage\/incidents\/1">Slow &amp; odd<\/a>/)
  const [, list = ''] = /Keys that may report(.*?)<\/ul>/s.exec(body) ?? []
  t.same([...list.matchAll(/>(k-\w+|boss)</g)].map(([, name]) => name).sort(), [
    'boss',
    'k-all',
    'k-prefix',
    'k-tag',
  ])
})

await t.test('the list filters by text, status, category and visibility, and has pages', async (t) => {
  const { replica, visitor, call } = await start()
  await call('PUT /api/monitors/a-shop', { name: 'Shop', category_name: 'Web', default_status: 'DOWN' })
  await call('PUT /api/monitors/b-mail', { name: 'Mail', hidden: true })
  await call('PUT /api/monitors/c-off', { name: 'Off', enabled: false })
  const list = async (query: string) => {
    const { body } = await visitor.get(`${monitors}?${query}`)
    return [...body.matchAll(/<a href="\/manage\/monitors\/([a-c]-\w+)">/g)].map(([, tag]) => tag)
  }
  t.same(await list(''), ['a-shop', 'b-mail', 'c-off'])
  t.same(await list('q=MAI'), ['b-mail'])
  t.same(await list('q=c-o'), ['c-off'])
  t.same(await list('status=DOWN&category=Web'), ['a-shop'])
  t.same(await list('shown=visible'), ['a-shop'])
  t.same(await list('shown=hidden'), ['b-mail'])
  t.same(await list('shown=disabled'), ['c-off'])
  t.match((await visitor.get(`${monitors}?q=%3Cb%3E`)).body, 'No monitors match these filters')
  const more = Array.from({ length: 48 }, (_, index) => ({
    tag: `a-${index}`,
    name: 'n',
    default_status: 'UP' as const,
    degraded_counts_as_down: false,
    enabled: true,
    hidden: false,
  }))
  await replica.db.insertInto('monitors').values(more).execute()
  const first = await visitor.get(`${monitors}?shown=visible`)
  t.notMatch(first.body, 'Next page')
  const all = (await visitor.get(monitors)).body
  const [, next = ''] = /href="([^"]*)">Next page/.exec(all) ?? []
  const second = (await visitor.get(next.replaceAll('&amp;', '&'))).body
  t.match(second, /c-off.*First page/s)
  t.notMatch(second, 'Next page')
})

await t.test('each page of a monitor takes a fixed number of statements', async (t) => {
  const { replica, visitor, call } = await start()
  const count = async (path: string) => {
    replica.statements.length = 0
    const { statusCode } = await visitor.get(path)
    t.equal(statusCode, 200)
    return replica.statements.length
  }
  const fill = async (tag: string) => {
    await call(`PUT /api/monitors/${tag}`, { name: tag })
    await call(`POST /api/monitors/${tag}/data`, { status: 'DOWN', latency_ms: 5 })
    await call(`POST /api/monitors/${tag}/heartbeat`)
    await call('POST /api/incidents', { title: tag, monitors: [{ monitor_tag: tag, impact: 'DOWN' }] })
  }
  await fill('shop')
  const paths = ['/manage', monitors, `${monitors}/shop`, `${monitors}/shop/delete`]
  const before = []
  for (const path of paths) before.push(await count(path))
  for (const tag of ['a', 'b', 'c']) await fill(tag)
  const after = []
  for (const path of paths) after.push(await count(path))
  t.same(after, before)
})
