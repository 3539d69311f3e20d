import t from 'tap'
import { isErrorReply, newKey, type Replica, shareReplica, startReplica, times } from './helper.ts'

const share = shareReplica(t)

async function start(): Promise<Replica & { key: string }> {
  const replica = await share()
  const { token } = await newKey(replica)
  return { ...replica, key: token }
}

const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/
const defaults = {
  description: null,
  category_name: null,
  external_url: null,
  enabled: true,
  hidden: false,
  default_status: 'NO_DATA',
  stale_after_seconds: null,
  degraded_counts_as_down: false,
  status: 'NO_DATA',
  status_source: 'default',
  last_report: null,
  uptime: { '24h': null, '7d': null, '30d': null, '90d': null },
}
const all = {
  name: 'Everything',
  description: 'A description',
  category_name: 'APIs',
  external_url: 'https://example.com/health',
  enabled: false,
  hidden: true,
  default_status: 'DOWN',
  stale_after_seconds: 120,
  degraded_counts_as_down: true,
}

await t.test('a monitor requires a tag and a name; all other fields have defaults', async (t) => {
  const { call, key } = await start()
  const reply = await call(key, 'POST /api/monitors', { tag: 'api', name: 'API' })
  t.equal(reply.statusCode, 201)
  const { created_at, updated_at, ...rest } = reply.json.data
  t.same(rest, { tag: 'api', name: 'API', ...defaults })
  t.match(created_at, time)
  t.match(updated_at, time)
  t.same((await call(key, 'GET /api/monitors/api')).json, reply.json)
  const full = await call(key, 'POST /api/monitors', { tag: 'full', ...all })
  t.match(full.json.data, { tag: 'full', ...all, status: 'DOWN', status_source: 'default' })
})

await t.test('a tag is unique, also for concurrent requests', async (t) => {
  const { call, key } = await start()
  const replies = await times(20, () => call(key, 'POST /api/monitors', { tag: 'one', name: 'One' }))
  t.equal(replies.filter(({ statusCode }) => statusCode === 201).length, 1)
  t.equal(
    replies.filter(({ statusCode, json }) => statusCode === 409 && json.error.code === 'CONFLICT').length,
    19,
  )
})

await t.test('PUT creates with 201, replaces with 200, and is idempotent', async (t) => {
  const { call, key } = await start()
  const created = await call(key, 'PUT /api/monitors/code', { tag: 'code', ...all })
  t.equal(created.statusCode, 201)
  t.match(created.json.data, all)
  await call(key, 'POST /api/monitors/code/data', { status: 'UP' })
  const replaced = await call(key, 'PUT /api/monitors/code', { name: 'New' })
  t.equal(replaced.statusCode, 200)
  t.match(replaced.json.data, {
    ...defaults,
    name: 'New',
    status: 'UP',
    status_source: 'report',
    last_report: {},
    uptime: {},
  })
  t.equal(replaced.json.data.created_at, created.json.data.created_at)
  t.equal((await call(key, 'PUT /api/monitors/code', { name: 'New' })).statusCode, 200)
  isErrorReply(
    t,
    await call(key, 'PUT /api/monitors/code', { tag: 'other', name: 'x' }),
    400,
    'INVALID_REQUEST',
    'a different tag in the body',
  )
  isErrorReply(
    t,
    await call(key, 'PUT /api/monitors/Not-A-Tag', { name: 'x' }),
    400,
    'INVALID_REQUEST',
    'an invalid tag',
  )
  const raced = await times(20, () => call(key, 'PUT /api/monitors/raced', { name: 'x' }))
  t.equal(raced.filter(({ statusCode }) => statusCode === 201).length, 1)
  t.equal(raced.filter(({ statusCode }) => statusCode === 200).length, 19)
})

await t.test('PATCH updates only the given fields', async (t) => {
  const { call, key } = await start()
  await call(key, 'POST /api/monitors', { tag: 'm', ...all })
  t.match((await call(key, 'PATCH /api/monitors/m', { name: 'Other' })).json.data, { ...all, name: 'Other' })
  const nulls = { description: null, category_name: null, external_url: null, stale_after_seconds: null }
  t.match((await call(key, 'PATCH /api/monitors/m', nulls)).json.data, { ...all, ...nulls, name: 'Other' })
  t.equal((await call(key, 'PATCH /api/monitors/m', {})).statusCode, 200)
  isErrorReply(
    t,
    await call(key, 'PATCH /api/monitors/m', { tag: 'n' }),
    400,
    'INVALID_REQUEST',
    'the tag is immutable',
  )
})

await t.test('DELETE deletes the data, and removes the monitor from incidents', async (t) => {
  const { call, key, db } = await start()
  await call(key, 'POST /api/monitors', { tag: 'deleted', name: 'Deleted' })
  await call(key, 'POST /api/monitors/deleted/data', { status: 'UP' })
  const monitors = [{ monitor_tag: 'deleted', impact: 'DOWN' }]
  const incident = await call(key, 'POST /api/incidents', { title: 'i', monitors })
  const reply = await call(key, 'DELETE /api/monitors/deleted')
  t.equal(reply.statusCode, 204)
  t.equal(reply.body, '')
  isErrorReply(t, await call(key, 'GET /api/monitors/deleted'), 404, 'NOT_FOUND', 'a deleted monitor')
  isErrorReply(t, await call(key, 'DELETE /api/monitors/deleted'), 404, 'NOT_FOUND', 'a second DELETE')
  for (const table of ['monitor_hours', 'monitor_days', 'last_reports'] as const) {
    t.same(await db.selectFrom(table).select('monitor_id').execute(), [], table)
  }
  t.same((await call(key, `GET /api/incidents/${String(incident.json.data.id)}`)).json.data.monitors, [])
})

await t.test('the list is ordered by tag, filters, and pages without skipping or repeating', async (t) => {
  const { call, key } = await start()
  const tags = ['a', 'a-b', 'a0', 'a_b', 'aa', 'b', 'z9']
  for (const [index, tag] of [...tags].reverse().entries()) {
    const body = {
      name: tag,
      enabled: index % 2 === 0,
      hidden: index % 3 === 0,
      category_name: index < 2 ? 'X' : null,
    }
    t.equal((await call(key, `PUT /api/monitors/${tag}`, body)).statusCode, 201)
  }
  const sorted = [...tags].sort()
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const page = await call(key, `GET /api/monitors?limit=2${cursor ? `&cursor=${cursor}` : ''}`)
    seen.push(...page.json.data.map(({ tag }: { tag: string }) => tag))
    cursor = page.json.pagination.next_cursor
  } while (cursor)
  t.same(seen, sorted)
  const tagsOf = async (query: string) =>
    (await call(key, `GET /api/monitors?${query}`)).json.data.map(({ tag }: { tag: string }) => tag)
  t.same(await tagsOf('category_name=X'), ['b', 'z9'])
  t.same(await tagsOf('enabled=true&hidden=true'), [tags[0], 'z9'])
  t.same(
    await tagsOf('enabled=false'),
    sorted.filter((tag) => [...tags].reverse().indexOf(tag) % 2 === 1),
  )
  await call(key, 'POST /api/monitors/aa/data', { status: 'DOWN' })
  t.same(await tagsOf('status=DOWN'), ['aa'])
  t.equal((await tagsOf('status=NO_DATA')).length, 6)
})

await t.test('a list shows what the single view shows', async (t) => {
  const { call, key } = await start()
  const text = '"Quoted" \\ / \n\t\b\f\r\u0001 <é> \u2028 🙂'
  const put = (tag: string, body: object) => call(key, `PUT /api/monitors/${tag}`, { name: tag, ...body })
  const report = (tag: string, points: object[]) => call(key, `POST /api/monitors/${tag}/data`, { points })
  const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()
  await put('bare', {})
  await put('full', { ...all, name: text, description: text, category_name: text, enabled: true })
  await put('rare', { degraded_counts_as_down: true })
  await call(key, 'PUT /api/monitors/rare/data', {
    from: minutesAgo(40_000),
    to: minutesAgo(10),
    status: 'DOWN',
    latency_ms: null,
  })
  // An uptime that JavaScript and PostgreSQL write differently: 0.000025 and 2.5e-05.
  await report('rare', [{ status: 'UP', timestamp: minutesAgo(1), latency_ms: 12 }])
  await report('full', [
    { status: 'DEGRADED', timestamp: minutesAgo(3) },
    { status: 'UP', timestamp: minutesAgo(9) },
  ])
  await put('affected', {})
  const monitors = [{ monitor_tag: 'affected', impact: 'MAINTENANCE' }]
  await call(key, 'POST /api/incidents', { title: 'i', monitors })
  const single = await Promise.all(
    ['affected', 'bare', 'full', 'rare'].map(
      async (tag) => (await call(key, `GET /api/monitors/${tag}`)).json.data,
    ),
  )
  for (const query of ['', '?enabled=true']) {
    const { headers, json } = await call(key, `GET /api/monitors${query}`)
    t.equal(headers['content-type'], 'application/json; charset=utf-8')
    t.same(json, { success: true, data: single, pagination: { next_cursor: null } })
    t.same(Object.keys(json.data[2]), Object.keys(single[2]))
  }
})

await t.test(
  'different pages share statements, and a key does not wait for all pages of another',
  async (t) => {
    const replica = await start()
    const { call, key, statements } = replica
    const { token: other } = await newKey(replica)
    for (const tag of ['m150', 'm160', 'm170']) await call(key, `PUT /api/monitors/${tag}`, { name: tag })
    const after = Array.from({ length: 80 }, (_, index) => `m${100 + index}`)
    statements.length = 0
    const answered: string[] = []
    const read = async (token: string, tag: string) => {
      const cursor = Buffer.from(`monitors ${tag}`).toString('base64url')
      const { json } = await call(token, `GET /api/monitors?limit=2&cursor=${cursor}`)
      answered.push(token)
      return json.data.map(({ tag }: { tag: string }) => tag) as string[]
    }
    const pages = await Promise.all([...after.map((tag) => read(key, tag)), read(other, 'm155')])
    t.same(pages[0], ['m150', 'm160'])
    t.same(pages[55], ['m160', 'm170'])
    t.same(pages[79], [], 'after the last monitor')
    t.same(pages[80], pages[55])
    const lists = statements.filter((sql) => sql.includes('impacts'))
    t.ok(lists.length <= 20, `${lists.length} statements for 81 pages`)
    t.ok(answered.indexOf(other) < 50, `the other key was answered after ${answered.indexOf(other)} pages`)
  },
)

await t.test('a page takes the same number of statements, whatever its length', async (t) => {
  const { call, key, statements } = await start()
  const count = async (path: `GET ${string}`) => {
    await call(key, path)
    // A write, because the text of the public status is reused without one.
    await call(key, 'PATCH /api/monitors/m0', { name: 'm' })
    statements.length = 0
    await call(key, path)
    return statements.filter((sql) => !/last_used_at =|into traffic/.test(sql)).length
  }
  const lists = ['monitors', 'incidents', 'maintenances'].map((name) => `/api/${name}?limit=100`)
  const paths = [...lists, '/api/status'].map((path) => `GET ${path}` as const)
  const make = async (index: number) => {
    await call(key, 'POST /api/monitors', { tag: `m${index}`, name: 'm' })
    await call(key, `POST /api/monitors/m${index}/data`, { status: 'UP', latency_ms: 5 })
    const monitors = [{ monitor_tag: `m${index}`, impact: 'DOWN' }]
    await call(key, 'POST /api/incidents', { title: 'i', monitors, comment: 'c' })
    const daily = { starts_at: '2026-01-01T00:00:00Z', duration_seconds: 60, rrule: 'FREQ=DAILY' }
    await call(key, 'POST /api/maintenances', { title: 'm', monitors, ...daily })
  }
  await make(0)
  const alone: number[] = []
  for (const path of paths) alone.push(await count(path))
  await times(60, (index) => make(index + 1))
  const many: number[] = []
  for (const path of paths) many.push(await count(path))
  t.same(many, alone)
  // One statement for the key and one for the page; the public status needs no key, and takes three.
  t.same(many, [2, 2, 2, 3])
})

await t.test('concurrent reads share statements, and each returns its own monitor', async (t) => {
  const { call, key, statements } = await start()
  const tags = ['one', 'two', 'three']
  for (const tag of tags) await call(key, `PUT /api/monitors/${tag}`, { name: `The ${tag}` })
  statements.length = 0
  const replies = await times(90, (index) => call(key, `GET /api/monitors/${tags[index % 3] ?? ''}`))
  t.ok(replies.every(({ json }, index) => json.data.name === `The ${tags[index % 3] ?? ''}`))
  t.equal((await call(key, 'GET /api/monitors/four')).statusCode, 404)
  t.ok(statements.length <= 20, `${String(statements.length)} statements for 91 requests`)
})

await t.test(
  'concurrent requests share a page, but not with a request that starts after a write',
  async (t) => {
    const { call, key, statements } = await start()
    const name = async () => (await call(key, 'GET /api/monitors')).json.data[0].name as string
    await call(key, 'PUT /api/monitors/one', { name: 'first' })
    statements.length = 0
    t.same([...new Set(await times(60, name))], ['first'])
    const lists = statements.filter((sql) => sql.includes('impacts'))
    t.ok(lists.length <= 10, `${lists.length} statements for 60 requests`)
    for (const written of ['second', 'third', 'fourth']) {
      const concurrent = times(30, name)
      await call(key, 'PATCH /api/monitors/one', { name: written })
      t.equal(await name(), written)
      await concurrent
    }
  },
)

await t.test('an invalid monitor is rejected with the path of each invalid field', async (t) => {
  const { call, key, db } = await start()
  const valid = { tag: 'valid', name: 'Valid' }
  const cases: [path: string, body: unknown][] = [
    ['/tag', { name: 'x' }],
    ['/name', { tag: 'x' }],
    ...['', 'A', '-a', 'a-', '_', 'a b', 'ä', 'a/b', 'a\n', 'x'.repeat(256)].map((tag): [string, unknown] => [
      '/tag',
      { ...valid, tag },
    ]),
    ['/name', { ...valid, name: '' }],
    ['/description', { ...valid, description: 5 }],
    ['/external_url', { ...valid, external_url: 'javascript:alert(1)' }],
    ['/enabled', { ...valid, enabled: 'yes' }],
    ['/hidden', { ...valid, hidden: 1 }],
    ['/default_status', { ...valid, default_status: 'up' }],
    ['/stale_after_seconds', { ...valid, stale_after_seconds: 0 }],
    ['/status', { ...valid, status: 'UP' }],
    ['/uptime', { ...valid, uptime: {} }],
    ['/description', { ...valid, description: 'a\0b' }],
  ]
  for (const [path, body] of cases) {
    const reply = await call(key, 'POST /api/monitors', body)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', JSON.stringify(body))
    t.ok(
      reply.json.error.details.some((detail: { path: string }) => detail.path === path),
      reply.body,
    )
  }
  t.same(await db.selectFrom('monitors').select('id').execute(), [])
  isErrorReply(t, await call(key, 'GET /api/monitors?status=up'), 400, 'INVALID_REQUEST', 'an invalid status')
  isErrorReply(
    t,
    await call(key, 'GET /api/monitors?enabled=maybe'),
    400,
    'INVALID_REQUEST',
    'an invalid boolean',
  )
  isErrorReply(t, await call(key, 'GET /api/monitors/none'), 404, 'NOT_FOUND', 'an unknown monitor')
})

await t.test('PUT returns the monitor that it wrote, even if it is deleted concurrently', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const written: number[] = []
  async function repeat(route: 'PUT /api/monitors/busy' | 'DELETE /api/monitors/busy'): Promise<void> {
    for (let round = 0; round < 100; round++) {
      const body = route.startsWith('PUT') ? { name: 'Busy' } : undefined
      const { statusCode } = await replica.call(token, route, body)
      if (body) written.push(statusCode)
    }
  }
  await times(12, (index) => repeat(index % 2 ? 'PUT /api/monitors/busy' : 'DELETE /api/monitors/busy'))
  t.equal(written.length, 600)
  t.same(
    written.filter((status) => ![200, 201].includes(status)),
    [],
  )
})
