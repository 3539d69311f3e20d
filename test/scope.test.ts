import t, { type Test } from 'tap'
import { updateIncident } from '../src/incidents/repository.ts'
import { permissions as allPermissions } from '../src/permissions.ts'
import { isErrorReply, newKey, type Replica, startReplica, waitUntil, isWaitingForLock } from './helper.ts'

const permissions = allPermissions.filter((permission) => permission !== 'admin')

type Bound = Replica & { admin: string; bound: string; ids: Record<string, number> }

/**
 * Starts a replica with the monitors own-1, own_2, owns and other, a key bound to own-1 and own_*, and incidents and
 * maintenances about one of its monitors, about another one, about both, and about none.
 */
async function start(t: Test, config = {}): Promise<Bound> {
  const replica = await startReplica(t, { config })
  const admin = (await newKey(replica)).token
  const bound = (await newKey(replica, { permissions, monitors: ['own-1', 'own_*'] })).token
  for (const tag of ['own-1', 'own_2', 'owns', 'other']) {
    await replica.call(admin, 'POST /api/monitors', { tag, name: tag })
  }
  const ids: Record<string, number> = {}
  for (const [name, tags] of Object.entries({
    own: ['own_2'],
    other: ['other'],
    both: ['own-1', 'other'],
    none: [],
  })) {
    const monitors = tags.map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' }))
    const incident = await replica.call(admin, 'POST /api/incidents', { title: name, monitors, comment: 'C' })
    const maintenance = await replica.call(admin, 'POST /api/maintenances', {
      title: name,
      starts_at: '2999-01-01T00:00:00Z',
      duration_seconds: 3600,
      monitors: tags.map((monitor_tag) => ({ monitor_tag })),
    })
    t.equal(incident.json.data.id, maintenance.json.data.id)
    ids[name] = Number(incident.json.data.id)
  }
  return { ...replica, admin, bound, ids }
}

const filters = [
  '/api/incidents?monitor_tag',
  '/api/v4/incidents?monitor_tags',
  '/api/maintenances?monitor_tag',
  '/api/v4/maintenances?monitor_tag',
  '/api/v4/maintenances/events?monitors',
]

/** Returns how many items each list with a filter by monitor contains. */
async function count(call: Replica['call'], key: string, tag: string): Promise<number[]> {
  const counts: number[] = []
  for (const filter of filters) {
    const { json } = await call(key, `GET ${filter}=${tag}`)
    counts.push((Object.values(json).find(Array.isArray) as unknown[]).length)
  }
  return counts
}

await t.test('a key bound to monitors lists and changes only these', async (t) => {
  const { call, bound, admin } = await start(t)
  const listed = await call(bound, 'GET /api/monitors')
  t.same(
    listed.json.data.map(({ tag }: { tag: string }) => tag),
    ['own-1', 'own_2'],
    '_ stands for itself',
  )
  const first = await call(bound, 'GET /api/monitors?limit=1')
  const next = await call(
    bound,
    `GET /api/monitors?limit=1&cursor=${String(first.json.pagination.next_cursor)}`,
  )
  t.match(next.json, { data: [{ tag: 'own_2' }], pagination: { next_cursor: null } })
  t.same((await call(bound, 'GET /api/monitors?hidden=true')).json.data, [])
  const kener = await call(bound, 'GET /api/v4/monitors')
  t.same(
    kener.json.monitors.map(({ tag }: { tag: string }) => tag),
    ['own_2', 'own-1'],
  )
  t.equal((await call(bound, 'POST /api/monitors', { tag: 'own_new', name: 'New' })).statusCode, 201)
  t.equal((await call(bound, 'PUT /api/monitors/own_put', { name: 'New' })).statusCode, 201)
  t.equal((await call(bound, 'POST /api/monitors/own_2/data', { status: 'UP' })).statusCode, 200)
  t.equal((await call(bound, 'DELETE /api/monitors/own_new')).statusCode, 204)
  t.equal((await call(bound, 'GET /api/monitors/own_new')).statusCode, 404, 'its own, which does not exist')
  t.equal((await call(admin, 'GET /api/monitors')).json.data.length, 5)
})

await t.test(
  'any other tag is 403, whether it exists or not, before validation and without a query',
  async (t) => {
    const { call, bound, statements } = await start(t)
    await call(bound, 'GET /api/me')
    const other = [
      { monitor_tag: 'own-1', impact: 'DOWN' },
      { monitor_tag: 'other', impact: 'DOWN' },
    ]
    const requests: ['GET' | 'POST' | 'PATCH', string, unknown?][] = [
      ['POST', '/api/monitors', { tag: 'other', unknown: 1 }],
      ['POST', '/api/monitors', { tag: 'missing' }],
      ['PATCH', '/api/monitors/other', { name: 5 }],
      ['GET', '/api/monitors/%6fther?unknown=1'],
      ['POST', '/api/incidents', { title: 5, monitors: other }],
      ['POST', '/api/incidents', { title: 'T', monitors: [] }],
      ['POST', '/api/incidents', { title: 'T', monitors: null }],
      ['POST', '/api/incidents', { title: 'T' }],
      ['POST', '/api/incidents'],
      ['PATCH', '/api/incidents/1', { monitors: other }],
      ['PATCH', '/api/incidents/1', { monitors: [] }],
      ['POST', '/api/maintenances', { title: 'T' }],
      ['PATCH', '/api/maintenances/1', { monitors: other }],
      ['POST', '/api/v4/monitors', { tag: 'other' }],
      ['POST', '/api/v4/incidents', { title: 'T', monitors: other }],
      ['PATCH', '/api/v4/incidents/1', { monitors: other }],
      ['POST', '/api/v4/maintenances', { title: 'T', monitors: [] }],
    ]
    for (const [method, path, body] of requests) {
      statements.length = 0
      const reply = await call(bound, `${method} ${path}`, body)
      const name = `${method} ${path} ${JSON.stringify(body)}`
      isErrorReply(t, reply, 403, 'FORBIDDEN', name)
      t.match(reply.json.error.message, /other|missing|name at least one/, name)
      t.match(
        reply.headers['www-authenticate'],
        /error="insufficient_scope", scope="write:|scope="read:/,
        name,
      )
      t.ok(
        statements.every((statement) => /rate_counters|last_used/.test(statement)),
        `${name}: ${statements.join('; ')}`,
      )
    }
    const shapes = [
      { title: 'T', monitors: 'own-1' },
      { title: 'T', monitors: [null, 5, { monitor_tag: 7 }] },
      7,
      [],
    ]
    for (const body of shapes) {
      const headers = { 'content-type': 'application/json' }
      const reply = await call(bound, 'POST /api/incidents', undefined, {
        headers,
        payload: JSON.stringify(body),
      })
      t.ok([400, 403].includes(reply.statusCode), `${JSON.stringify(body)}: ${reply.body}`)
    }
  },
)

await t.test(
  'incidents show only monitors of the key, and change only if they affect no others',
  async (t) => {
    const { call, bound, admin, ids } = await start(t)
    const listed = (await call(bound, 'GET /api/incidents')).json.data
    t.match(listed, [
      { title: 'both', monitors: [{ monitor_tag: 'own-1' }] },
      { title: 'own', monitors: [{ monitor_tag: 'own_2' }] },
    ])
    t.equal(listed.length, 2)
    t.same(await count(call, bound, 'own-1'), [1, 1, 1, 1, 1])
    t.same(await count(call, bound, 'other'), [0, 0, 0, 0, 0], 'does not reveal that both affects it')
    t.same(await count(call, admin, 'other'), [2, 2, 2, 2, 2])
    const kener = (await call(bound, 'GET /api/v4/incidents')).json.incidents
    t.same(
      kener.map(({ title }: { title: string }) => title),
      ['both', 'own'],
    )
    const single = await call(bound, `GET /api/incidents/${ids.both}`)
    t.match(single.json.data, { monitors: [{ monitor_tag: 'own-1' }], comments: [{ comment: 'C' }] })
    t.equal(single.json.data.monitors.length, 1)

    const changes = (id: number | undefined) =>
      [
        ['PATCH', `/api/incidents/${id}`, { title: 'U' }],
        ['PATCH', `/api/incidents/${id}`, { monitors: [{ monitor_tag: 'own-1', impact: 'DOWN' }] }],
        ['POST', `/api/incidents/${id}/comments`, { comment: 'D' }],
        ['PATCH', `/api/incidents/${id}/comments/${id}`, { comment: 'D' }],
        ['DELETE', `/api/incidents/${id}/comments/${id}`, undefined],
        ['PATCH', `/api/v4/incidents/${id}`, { title: 'U' }],
        ['POST', `/api/v4/incidents/${id}/comments`, { comment: 'D', state: 'IDENTIFIED' }],
        ['PATCH', `/api/v4/incidents/${id}/comments/${id}`, { comment: 'D' }],
        ['DELETE', `/api/v4/incidents/${id}/comments/${id}`, undefined],
      ] as const
    const reads = (id: number | undefined) =>
      ['', '/comments', `/comments/${id}`].flatMap((path) =>
        ['/api', '/api/v4']
          .map((prefix) => `${prefix}/incidents/${id}${path}`)
          .filter((url) => url !== `/api/incidents/${id}/comments/${id}`),
      )
    const before = await call(admin, 'GET /api/incidents')
    for (const [name, readStatus, changeStatus] of [
      ['other', 404, 404],
      ['none', 404, 404],
      ['both', 200, 403],
    ] as const) {
      for (const path of reads(ids[name]))
        t.equal((await call(bound, `GET ${path}`)).statusCode, readStatus, `${name} ${path}`)
      for (const [method, path, body] of changes(ids[name])) {
        t.equal(
          (await call(bound, `${method} ${path}`, body)).statusCode,
          changeStatus,
          `${name} ${method} ${path}`,
        )
      }
    }
    t.same((await call(admin, 'GET /api/incidents')).json, before.json, 'nothing changed')
    for (const [method, path, body] of changes(ids.own).slice(0, 5)) {
      t.ok((await call(bound, `${method} ${path}`, body)).statusCode < 300, `own ${method} ${path}`)
    }
    const created = await call(bound, 'POST /api/incidents', {
      title: 'T',
      monitors: [{ monitor_tag: 'own-1', impact: 'DOWN' }],
    })
    t.equal(created.statusCode, 201)
    isErrorReply(t, await call(bound, `DELETE /api/incidents/${ids.own}`), 403, 'FORBIDDEN', 'needs admin')
  },
)

await t.test('so do maintenances and their events', async (t) => {
  const { call, bound, admin, ids } = await start(t)
  t.match((await call(bound, 'GET /api/maintenances')).json.data, [
    { title: 'both', monitors: [{ monitor_tag: 'own-1' }] },
    { title: 'own', monitors: [{ monitor_tag: 'own_2' }] },
  ])
  t.equal((await call(bound, 'GET /api/v4/maintenances')).json.maintenances.length, 2)
  const timetable = (await call(bound, 'GET /api/v4/maintenances/events')).json
  t.match(timetable, { total: 2 })
  for (const event of timetable.events) t.equal(event.monitors.length, 1)
  const eventOf = async (id: number | undefined) =>
    (await call(admin, `GET /api/maintenances/${id}/events`)).json.data[0].id as number
  for (const [name, readStatus, changeStatus] of [
    ['other', 404, 404],
    ['none', 404, 404],
    ['both', 200, 403],
    ['own', 200, 200],
  ] as const) {
    const id = ids[name]
    const event = `${id}/events/${await eventOf(id)}`
    for (const path of [
      `/api/maintenances/${id}`,
      `/api/maintenances/${id}/events`,
      `/api/v4/maintenances/${id}`,
      `/api/v4/maintenances/${id}/events`,
      `/api/v4/maintenances/${event}`,
    ]) {
      t.equal((await call(bound, `GET ${path}`)).statusCode, readStatus, `${name} ${path}`)
    }
    for (const [path, body] of [
      [`/api/maintenances/${id}`, { title: 'U' }],
      [`/api/maintenances/${event}`, { starts_at: '2999-01-01T00:00:00Z', ends_at: '2999-01-01T02:00:00Z' }],
      [`/api/v4/maintenances/${id}`, { title: 'V' }],
      [`/api/v4/maintenances/${event}`, { start_date_time: 32_472_144_000, end_date_time: 32_472_147_600 }],
      [`/api/v4/maintenances/${event}`, { status: 'CANCELLED' }],
    ] as const) {
      t.equal((await call(bound, `PATCH ${path}`, body)).statusCode, changeStatus, `${name} ${path}`)
    }
  }
})

await t.test('an incident that comes to affect others while it is changed stays as it is', async (t) => {
  const { call, bound, admin, db, ids } = await start(t, { databasePoolMax: 12 })
  const id = ids.own ?? 0
  const trx = await db.startTransaction().execute()
  const both = ['own-1', 'other'].map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' as const }))
  await updateIncident({ trx, record: () => undefined }, id, { monitors: both }, null)
  const change = call(bound, `PATCH /api/incidents/${id}`, {
    monitors: [{ monitor_tag: 'own-1', impact: 'DEGRADED' }],
  })
  await waitUntil(() => isWaitingForLock(db))
  await trx.commit().execute()
  isErrorReply(t, await change, 403, 'FORBIDDEN', 'the key is bound')
  t.equal((await call(admin, `GET /api/incidents/${id}`)).json.data.monitors.length, 2)
})

await t.test('a bound key that names a monitor which does not exist yet gets 400, not 403', async (t) => {
  const { call, bound } = await start(t)
  const monitors = [{ monitor_tag: 'own_later', impact: 'DOWN' }]
  isErrorReply(
    t,
    await call(bound, 'POST /api/incidents', { title: 'T', monitors }),
    400,
    'INVALID_REQUEST',
    'unknown',
  )
})

await t.test('a route about monitors that does not say where its tags are is a boot error', async (t) => {
  const extend = (url: string, config: object) => ({
    extend: (app: Replica['app']) => {
      app.register(async (scope) => {
        scope.get(url, { config, schema: { operationId: 'read', summary: 'Read' } }, () => 'open to all')
      })
    },
  })
  const config = { permission: 'read:monitors' }
  for (const url of ['/api/monitors/new', '/api/v4/incidents', '/api/maintenances/:id/x']) {
    await t.rejects(startReplica(t, extend(url, config)), { message: /declares no config\.tags/ }, url)
  }
  await t.resolves(startReplica(t, extend('/api/elsewhere', config)))
})
