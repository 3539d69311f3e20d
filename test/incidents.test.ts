import t from 'tap'
import { isErrorReply, isWaitingForLock, newKey, type Replica, shareReplica, waitUntil } from './helper.ts'

const share = shareReplica(t)

async function start(): Promise<Replica & { key: string }> {
  const replica = await share()
  const { token } = await newKey(replica)
  for (const tag of ['api', 'web']) await replica.call(token, 'POST /api/monitors', { tag, name: tag })
  return { ...replica, key: token }
}

const iso = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`
const hour = 3_600_000

await t.test('an incident has monitors, a state, and comments, newest first', async (t) => {
  const { call, key } = await start()
  const created = await call(key, 'POST /api/incidents', {
    title: 'API is down',
    monitors: [
      { monitor_tag: 'web', impact: 'DEGRADED' },
      { monitor_tag: 'api', impact: 'DOWN' },
    ],
    comment: 'We are looking into it',
  })
  t.equal(created.statusCode, 201)
  const { id } = created.json.data
  t.match(created.json.data, {
    id: 1,
    title: 'API is down',
    state: 'INVESTIGATING',
    ended_at: null,
    monitors: [
      { monitor_tag: 'api', impact: 'DOWN' },
      { monitor_tag: 'web', impact: 'DEGRADED' },
    ],
    comments: [{ comment: 'We are looking into it', state: 'INVESTIGATING' }],
  })
  const later = await call(key, `POST /api/incidents/${String(id)}/comments`, {
    comment: 'Found it',
    state: 'IDENTIFIED',
  })
  t.equal(later.statusCode, 201)
  const read = (await call(key, `GET /api/incidents/${String(id)}`)).json.data
  t.equal(read.state, 'IDENTIFIED')
  t.same(
    read.comments.map(({ comment }: { comment: string }) => comment),
    ['Found it', 'We are looking into it'],
  )
  const [listed] = (await call(key, 'GET /api/incidents')).json.data
  t.same(Object.keys(listed).includes('comments'), false, 'lists do not contain comments')
})

await t.test('RESOLVED ends an incident, any other state clears the end', async (t) => {
  const { call, key } = await start()
  const { id } = (await call(key, 'POST /api/incidents', { title: 'i', started_at: '2026-01-01T00:00:00Z' }))
    .json.data
  const path = `/api/incidents/${String(id)}` as const
  const read = async () => (await call(key, `GET ${path}`)).json.data
  await call(key, `POST ${path}/comments`, {
    comment: 'resolved',
    state: 'RESOLVED',
    timestamp: '2026-01-01T05:00:00Z',
  })
  t.match(await read(), { state: 'RESOLVED', ended_at: '2026-01-01T05:00:00Z' })
  await call(key, `POST ${path}/comments`, { comment: 'thanks' })
  t.match(
    await read(),
    { state: 'RESOLVED', ended_at: '2026-01-01T05:00:00Z' },
    'a comment without a state does not change the incident',
  )
  await call(key, `POST ${path}/comments`, { comment: 'reopened', state: 'MONITORING' })
  t.match(await read(), { state: 'MONITORING', ended_at: null })
  t.match((await call(key, `PATCH ${path}`, { state: 'RESOLVED' })).json.data, {
    state: 'RESOLVED',
    ended_at: /Z$/,
  })
  t.match((await call(key, `PATCH ${path}`, { state: 'IDENTIFIED' })).json.data, { ended_at: null })
  const both = { state: 'RESOLVED', ended_at: '2026-01-02T00:00:00Z' }
  t.match((await call(key, `PATCH ${path}`, both)).json.data, both)
  const early = await call(key, 'POST /api/incidents', {
    title: 'j',
    state: 'RESOLVED',
    started_at: iso(Date.now() + hour),
  })
  t.equal(early.json.data.ended_at, early.json.data.started_at, 'the default end is not before the start')
})

await t.test('an incident with a planned end stays open until then, also if its state changes', async (t) => {
  const { call, key } = await start()
  const ended_at = iso(Date.now() + hour)
  const affected = { monitors: [{ monitor_tag: 'api', impact: 'MAINTENANCE' }] }
  const { id, ...created } = (await call(key, 'POST /api/incidents', { title: 'i', ended_at, ...affected }))
    .json.data
  t.match(created, { state: 'INVESTIGATING', ended_at })
  t.match((await call(key, 'GET /api/incidents?open=true')).json.data, [{ id }])
  t.equal((await call(key, 'GET /api/monitors/api')).json.data.status, 'MAINTENANCE')
  const path = `/api/incidents/${String(id)}` as const
  await call(key, `POST ${path}/comments`, { comment: 'c', state: 'IDENTIFIED' })
  t.match((await call(key, `GET ${path}`)).json.data, { state: 'IDENTIFIED', ended_at })
  t.match((await call(key, `PATCH ${path}`, { state: 'MONITORING' })).json.data, { ended_at })
  const ended = { title: 'ended', started_at: '2026-01-01T00:00:00Z', ended_at: '2026-01-02T00:00:00Z' }
  t.match((await call(key, 'POST /api/incidents', { ...ended, comment: 'c' })).json.data, {
    ...{ state: 'RESOLVED', comments: [{ state: 'RESOLVED' }] },
  })
})

await t.test('PATCH updates only the given fields, and replaces all monitors', async (t) => {
  const { call, key } = await start()
  const monitors = [{ monitor_tag: 'api', impact: 'DOWN' }]
  const { id } = (await call(key, 'POST /api/incidents', { title: 'old', monitors })).json.data
  const patch = async (body: object) =>
    (await call(key, `PATCH /api/incidents/${String(id)}`, body)).json.data
  t.match(await patch({ title: 'new' }), { title: 'new', monitors })
  t.match(await patch({ monitors: [{ monitor_tag: 'web', impact: 'MAINTENANCE' }] }), {
    title: 'new',
    monitors: [{ monitor_tag: 'web', impact: 'MAINTENANCE' }],
  })
  t.same((await patch({ monitors: [] })).monitors, [])
  t.match(await patch({ started_at: '2026-01-01T01:00:00+01:00' }), { started_at: '2026-01-01T00:00:00Z' })
})

await t.test('a rejected request stores nothing', async (t) => {
  const { call, key, db } = await start()
  const bad: [path: string, body: unknown][] = [
    [
      '/monitors/1/monitor_tag',
      {
        title: 'i',
        monitors: [
          { monitor_tag: 'api', impact: 'DOWN' },
          { monitor_tag: 'none', impact: 'DOWN' },
        ],
      },
    ],
    [
      '/monitors/1/monitor_tag',
      {
        title: 'i',
        monitors: [
          { monitor_tag: 'api', impact: 'DOWN' },
          { monitor_tag: 'api', impact: 'DEGRADED' },
        ],
      },
    ],
    ['/monitors/0/impact', { title: 'i', monitors: [{ monitor_tag: 'api', impact: 'UP' }] }],
    ['/ended_at', { title: 'i', started_at: '2026-01-02T00:00:00Z', ended_at: '2026-01-01T00:00:00Z' }],
    ['/title', { monitors: [] }],
    ['/title', { title: ' ' }],
    ['/state', { title: 'i', state: 'OPEN' }],
    ['/comment', { title: 'i', comment: '' }],
    ['/started_at', { title: 'i', started_at: 'now' }],
    ['/impact', { title: 'i', impact: 'DOWN' }],
  ]
  for (const [path, body] of bad) {
    const reply = await call(key, 'POST /api/incidents', body)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', JSON.stringify(body))
    t.ok(
      reply.json.error.details.some((detail: { path: string }) => detail.path === path),
      reply.body,
    )
  }
  t.same(await db.selectFrom('incidents').select('id').execute(), [])
  t.same(await db.selectFrom('incident_comments').select('id').execute(), [])

  const created = await call(key, 'POST /api/incidents', {
    title: 'i',
    monitors: [{ monitor_tag: 'api', impact: 'DOWN' }],
    comment: 'c',
  })
  const path = `/api/incidents/${String(created.json.data.id)}` as const
  const [comment] = created.json.data.comments
  for (const body of [
    { title: 'x', monitors: [{ monitor_tag: 'none', impact: 'DOWN' }] },
    { title: 'x', ended_at: '2020-01-01T00:00:00Z' },
  ]) {
    isErrorReply(t, await call(key, `PATCH ${path}`, body), 400, 'INVALID_REQUEST', JSON.stringify(body))
  }
  isErrorReply(
    t,
    await call(key, `PATCH ${path}/comments/999`, { state: 'RESOLVED' }),
    404,
    'NOT_FOUND',
    'unknown comment',
  )
  const other = await call(key, 'POST /api/incidents', { title: 'other' })
  const elsewhere = `/api/incidents/${String(other.json.data.id)}/comments/${String(comment.id)}` as const
  isErrorReply(
    t,
    await call(key, `PATCH ${elsewhere}`, { comment: 'x' }),
    404,
    'NOT_FOUND',
    'a comment of another incident',
  )
  isErrorReply(t, await call(key, `DELETE ${elsewhere}`), 404, 'NOT_FOUND', 'a comment of another incident')
  t.same((await call(key, `GET ${path}`)).json.data, created.json.data)
})

await t.test('comments are listed, updated and deleted', async (t) => {
  const { call, key } = await start()
  const { id } = (await call(key, 'POST /api/incidents', { title: 'i' })).json.data
  const path = `/api/incidents/${String(id)}/comments` as const
  const times = [
    '2026-01-01T03:00:00Z',
    '2026-01-01T01:00:00Z',
    '2026-01-01T02:00:00Z',
    '2026-01-01T02:00:00Z',
  ]
  for (const timestamp of times) await call(key, `POST ${path}`, { comment: timestamp, timestamp })
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const page = await call(key, `GET ${path}?limit=1${cursor ? `&cursor=${cursor}` : ''}`)
    seen.push(...page.json.data.map((comment: { timestamp: string }) => comment.timestamp))
    cursor = page.json.pagination.next_cursor
  } while (cursor)
  t.same(seen, [...times].sort().reverse())
  const [first] = (await call(key, `GET ${path}`)).json.data
  const changed = await call(key, `PATCH ${path}/${String(first.id)}`, { comment: 'changed' })
  t.same(changed.json.data, { ...first, comment: 'changed' })
  const stateOf = async () => (await call(key, `GET /api/incidents/${String(id)}`)).json.data.state
  const [, second] = (await call(key, `GET ${path}`)).json.data
  await call(key, `PATCH ${path}/${String(second.id)}`, { state: 'RESOLVED' })
  t.equal(await stateOf(), 'INVESTIGATING', 'a state on an older comment does not change the incident')
  await call(key, `PATCH ${path}/${String(first.id)}`, { state: 'MONITORING' })
  t.equal(await stateOf(), 'MONITORING', 'a state on the newest comment changes the incident')
  t.equal((await call(key, `DELETE ${path}/${String(first.id)}`)).statusCode, 204)
  isErrorReply(t, await call(key, `DELETE ${path}/${String(first.id)}`), 404, 'NOT_FOUND', 'deleted before')
  isErrorReply(t, await call(key, 'GET /api/incidents/999/comments'), 404, 'NOT_FOUND', 'unknown incident')
  isErrorReply(
    t,
    await call(key, 'POST /api/incidents/999/comments', { comment: 'c' }),
    404,
    'NOT_FOUND',
    'unknown incident',
  )
})

await t.test('the list is ordered by start, newest first, and has filters and pages', async (t) => {
  const { call, key } = await start()
  const now = Date.now()
  const make = async (title: string, body: object) =>
    (await call(key, 'POST /api/incidents', { title, ...body })).json.data.id as number
  const monitors = [{ monitor_tag: 'api', impact: 'DOWN' }]
  await make('open', { started_at: iso(now - hour), monitors })
  await make('future', { started_at: iso(now + hour) })
  await make('ended', { started_at: iso(now - 5 * hour), ended_at: iso(now - 4 * hour), state: 'MONITORING' })
  await make('ends later', {
    started_at: iso(now - 3 * hour),
    ended_at: iso(now + hour),
    state: 'MONITORING',
    monitors,
  })
  await make('resolved', { started_at: iso(now - 2 * hour), state: 'RESOLVED', monitors })
  await make('same time', { started_at: iso(now - 2 * hour) })
  const titles = async (query: string) =>
    (await call(key, `GET /api/incidents?${query}`)).json.data.map(({ title }: { title: string }) => title)
  const all = ['future', 'open', 'same time', 'resolved', 'ends later', 'ended']
  t.same(await titles(''), all)
  t.same(await titles('open=true'), ['open', 'same time', 'ends later'])
  t.same(await titles('open=false'), ['future', 'resolved', 'ended'])
  t.same(await titles('state=RESOLVED'), ['resolved'])
  t.same(await titles('monitor_tag=api'), ['open', 'resolved', 'ends later'])
  t.same(await titles('monitor_tag=none'), [])
  t.same(await titles(`from=${iso(now - 3 * hour)}&to=${iso(now - hour)}`), [
    'same time',
    'resolved',
    'ends later',
  ])
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const page = await call(key, `GET /api/incidents?limit=1${cursor ? `&cursor=${cursor}` : ''}`)
    seen.push(...page.json.data.map(({ title }: { title: string }) => title))
    cursor = page.json.pagination.next_cursor
  } while (cursor)
  t.same(seen, all)
})

await t.test('a list shows what the single view shows, without comments', async (t) => {
  const { call, key, app } = await start()
  const make = (body: object) => call(key, 'POST /api/incidents', { title: 'i', ...body })
  const monitors = [
    { monitor_tag: 'web', impact: 'DEGRADED' },
    { monitor_tag: 'api', impact: 'DOWN' },
  ]
  await make({ title: '"Quoted" \\ \n\t\u0001 🙂', monitors, comment: 'c' })
  await make({ started_at: '2026-01-01T00:00:00+01:00', ended_at: '2026-01-02T00:00:00Z', monitors: [] })
  // As a Kener client may do: it does not impair the monitor.
  await app.db
    .updateTable('incident_monitors')
    .set({ impact: 'UP' })
    .where('impact', '=', 'DEGRADED')
    .execute()
  const single = await Promise.all(
    [1, 2].map(async (id) => {
      const { comments, ...incident } = (await call(key, `GET /api/incidents/${id}`)).json.data
      t.equal(comments.length, 2 - id)
      return incident
    }),
  )
  t.same(single[0].monitors, [{ monitor_tag: 'api', impact: 'DOWN' }])
  for (const query of ['', '?from=2020-01-01T00:00:00Z']) {
    const { json } = await call(key, `GET /api/incidents${query}`)
    t.same(json, { success: true, data: single, pagination: { next_cursor: null } })
    t.same(Object.keys(json.data[0]), Object.keys(single[0]))
  }
})

await t.test('different pages share statements', async (t) => {
  const { call, key, statements } = await start()
  const starts = Array.from({ length: 24 }, (_, index) => iso(Date.now() - (index + 1) * hour))
  for (const started_at of starts) await call(key, 'POST /api/incidents', { title: started_at, started_at })
  const cursor = (start: string) =>
    Buffer.from(`incidents ${Date.parse(start) / 1000}:0`).toString('base64url')
  statements.length = 0
  const pages = await Promise.all(
    starts.map(async (start) => {
      const { json } = await call(key, `GET /api/incidents?limit=1&cursor=${cursor(start)}`)
      return json.data.map(({ title }: { title: string }) => title)
    }),
  )
  t.same(pages, [...starts.slice(1).map((title) => [title]), []])
  const lists = statements.filter((sql) => sql.includes('started_at desc'))
  t.ok(lists.length <= 10, `${lists.length} statements for 24 pages`)
})

await t.test(
  'the worst impact of open incidents determines the status: DOWN, MAINTENANCE, DEGRADED',
  async (t) => {
    const { call, key } = await start()
    await call(key, 'POST /api/monitors/api/data', { status: 'UP' })
    const status = async () => {
      const { data } = (await call(key, 'GET /api/monitors/api')).json
      return [data.status, data.status_source]
    }
    const open = async (impact: string, more: object = {}) =>
      (
        await call(key, 'POST /api/incidents', {
          title: impact,
          monitors: [{ monitor_tag: 'api', impact }],
          ...more,
        })
      ).json.data.id as number
    t.same(await status(), ['UP', 'report'])
    await open('DOWN', { started_at: iso(Date.now() + hour) })
    await open('DOWN', { started_at: iso(Date.now() - 2 * hour), ended_at: iso(Date.now() - hour) })
    await open('DOWN', { state: 'RESOLVED' })
    t.same(await status(), ['UP', 'report'], 'future, ended and resolved incidents have no effect')
    await open('DEGRADED')
    t.same(await status(), ['DEGRADED', 'incident'])
    const maintenance = await open('MAINTENANCE')
    t.same(await status(), ['MAINTENANCE', 'incident'])
    const down = await open('DOWN')
    t.same(await status(), ['DOWN', 'incident'])
    await call(key, `PATCH /api/incidents/${down}`, { state: 'RESOLVED' })
    t.same(await status(), ['MAINTENANCE', 'incident'])
    t.equal((await call(key, `DELETE /api/incidents/${maintenance}`)).statusCode, 204)
    t.same(await status(), ['DEGRADED', 'incident'])
    t.same((await call(key, 'GET /api/monitors?status=DEGRADED')).json.data.length, 1)
    isErrorReply(
      t,
      await call(key, `DELETE /api/incidents/${maintenance}`),
      404,
      'NOT_FOUND',
      'deleted before',
    )
  },
)

await t.test('ids are positive integers', async (t) => {
  const { call, key } = await start()
  for (const id of ['0', '-1', '1abc', 'x', '1.5', '%00']) {
    isErrorReply(t, await call(key, `GET /api/incidents/${id}`), 400, 'INVALID_REQUEST', id)
  }
  for (const id of ['2147483647', '2147483648', '9007199254740993', '9'.repeat(300)]) {
    isErrorReply(t, await call(key, `GET /api/incidents/${id}`), 404, 'NOT_FOUND', id)
    for (const prefix of ['/api', '/api/v4']) {
      const path = `${prefix}/incidents/${id}` as const
      isErrorReply(t, await call(key, `PATCH ${path}`, { title: 'T' }), 404, 'NOT_FOUND', `${path} updated`)
      const { statusCode } = await call(key, `PATCH ${path}`, { title: '' })
      t.equal(statusCode, 400, `the body is validated before ${path} is found to be unknown`)
    }
  }
  await call(key, 'POST /api/incidents', { title: 'T' })
  t.equal((await call(key, 'GET /api/incidents/01')).json.data.id, 1, 'leading zeros')
})

await t.test('concurrent updates and deletes of an incident and its parts do not deadlock', async (t) => {
  const { call, key } = await start()
  for (let round = 0; round < 40; round++) {
    await call(key, 'POST /api/monitors', { tag: 'doomed', name: 'Doomed', hidden: round % 3 === 0 })
    const affected = { monitors: [{ monitor_tag: 'doomed', impact: 'DOWN' }] }
    const created = await call(key, 'POST /api/incidents', { title: 'T', comment: 'C', ...affected })
    const { id, comments } = created.json.data
    const replies = await Promise.all([
      call(key, `PATCH /api/incidents/${id}/comments/${comments[0].id}`, { state: 'RESOLVED' }),
      call(key, `PATCH /api/incidents/${id}`, affected),
      ...(round % 2 ? [call(key, `DELETE /api/incidents/${id}`)] : []),
      call(key, 'DELETE /api/monitors/doomed'),
    ])
    for (const { statusCode, body } of replies) t.ok(statusCode < 500, body)
  }
})

await t.test('a monitor that is deleted concurrently is rejected as unknown', async (t) => {
  const { call, key, db } = await start()
  const body = { title: 'T', monitors: [{ monitor_tag: 'web', impact: 'DOWN' }] }
  for (const route of ['POST /api/incidents', 'PATCH /api/incidents/1'] as const) {
    const deletion = await db.startTransaction().execute()
    await deletion.deleteFrom('monitors').where('tag', '=', 'web').execute()
    const pending = call(key, route, body)
    await waitUntil(() => isWaitingForLock(db))
    await deletion.commit().execute()
    isErrorReply(t, await pending, 400, 'INVALID_REQUEST', route)
    t.same((await call(key, 'GET /api/incidents')).json.data.length, route.startsWith('POST') ? 0 : 1)
    await call(key, 'POST /api/monitors', { tag: 'web', name: 'web' })
    if (route.startsWith('POST')) await call(key, 'POST /api/incidents', { title: 'To be changed' })
  }
})
