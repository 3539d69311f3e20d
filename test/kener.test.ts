import t from 'tap'
import { type Permission, permissions } from '../src/permissions.ts'
import { isErrorReply, newKey, shareReplica, startReplica, times, waitForTimeInMinute } from './helper.ts'
import { newYear, start, thisMinute } from './kener.ts'

const share = shareReplica(t)

await t.test('resources created in one format are correct in the other', async (t) => {
  const { kener, call, key } = await start(await share())
  await kener.createMonitor({
    ...{ tag: 'kener', name: 'Kener', status: 'INACTIVE', is_hidden: 'YES', category_name: 'C' },
    ...{
      include_degraded_in_downtime: 'YES',
      default_status: 'DOWN',
      external_url: 'https://e.test',
      image: '/i.png',
    },
  })
  t.match((await call(key, 'GET /api/monitors/kener')).json.data, {
    ...{ tag: 'kener', name: 'Kener', enabled: false, hidden: true, category_name: 'C' },
    ...{ degraded_counts_as_down: true, default_status: 'DOWN', external_url: 'https://e.test' },
    ...{ stale_after_seconds: null, status: 'DOWN', status_source: 'default' },
  })
  const put = await call(key, 'PUT /api/monitors/kener', { name: 'Now own', stale_after_seconds: 60 })
  t.equal(put.statusCode, 200)
  t.match(await kener.getMonitor('kener'), {
    name: 'Now own',
    status: 'ACTIVE',
    is_hidden: 'NO',
    image: '/i.png',
  })
  await kener.updateMonitor('kener', { name: 'Kener again' })
  t.match((await call(key, 'GET /api/monitors/kener')).json.data, {
    name: 'Kener again',
    stale_after_seconds: 60,
  })

  await call(key, 'POST /api/monitors', {
    tag: 'own',
    name: 'Own',
    hidden: true,
    degraded_counts_as_down: true,
  })
  t.match(await kener.getMonitor('own'), {
    is_hidden: 'YES',
    include_degraded_in_downtime: 'YES',
    status: 'ACTIVE',
  })

  await call(key, 'POST /api/monitors/own/data', {
    points: ['UP', 'DEGRADED', 'DOWN', 'MAINTENANCE'].map((status, minute) => ({
      ...{ status, timestamp: `2026-01-01T00:0${minute}:30Z`, latency_ms: minute === 0 ? 12 : null },
    })),
  })
  t.same(
    (await kener.getData('own', newYear, newYear + 600)).map(({ status, latency }) => [status, latency]),
    [
      ['UP', 12],
      ['DEGRADED', 0],
      ['DOWN', 0],
      ['MAINTENANCE', 0],
    ],
  )
  await kener.updatePoint('own', newYear, { status: 'DOWN', latency: 99 })
  t.match((await call(key, 'GET /api/monitors/own/data?interval=hour')).json.data, [
    { down: 2, latency_ms: 99 },
  ])
  await kener.updatePoint('own', thisMinute(), { status: 'DEGRADED' })
  t.match((await call(key, 'GET /api/monitors/own')).json.data, {
    status: 'DEGRADED',
    status_source: 'report',
  })

  const kenerIncident = await kener.createIncident({
    ...{ title: 'Kener', start_date_time: newYear },
    monitors: [
      { monitor_tag: 'own', impact: 'DOWN' },
      { monitor_tag: 'kener', impact: 'UP' },
    ],
  })
  t.match((await call(key, `GET /api/incidents/${kenerIncident.id}`)).json.data, {
    ...{ title: 'Kener', state: 'INVESTIGATING', started_at: '2026-01-01T00:00:00Z', ended_at: null },
    monitors: [{ monitor_tag: 'own', impact: 'DOWN' }],
  })
  const { length } = (await call(key, `GET /api/incidents/${kenerIncident.id}`)).json.data.monitors
  t.equal(length, 1, 'a monitor with the impact UP is not affected')
  t.match((await call(key, 'GET /api/monitors/own')).json.data, {
    status: 'DOWN',
    status_source: 'incident',
  })
  t.match((await call(key, 'GET /api/monitors/kener')).json.data, {
    status: 'NO_DATA',
    status_source: 'default',
  })
  await kener.createComment(kenerIncident.id, { comment: 'Over', state: 'RESOLVED', timestamp: newYear + 60 })
  const { data } = (await call(key, `GET /api/incidents/${kenerIncident.id}`)).json
  t.match(data, { state: 'RESOLVED', ended_at: '2026-01-01T00:01:00Z' })
  t.match(data.comments, [{ comment: 'Over', state: 'RESOLVED', timestamp: '2026-01-01T00:01:00Z' }])

  const own = await call(key, 'POST /api/incidents', {
    ...{ title: 'Own', started_at: '2026-01-01T00:00:30Z', comment: 'We look' },
    monitors: [{ monitor_tag: 'own', impact: 'MAINTENANCE' }],
  })
  t.match(await kener.getIncident(own.json.data.id), {
    ...{ title: 'Own', start_date_time: newYear + 30, end_date_time: null },
    monitors: [{ monitor_tag: 'own', impact: 'MAINTENANCE' }],
  })
  t.match(await kener.listComments(own.json.data.id), [{ comment: 'We look', state: 'INVESTIGATING' }])
  await kener.deleteMonitor('own')
  isErrorReply(t, await call(key, 'GET /api/monitors/own'), 404, 'NOT_FOUND', 'deleted in both formats')
})

await t.test('each route requires the permission of the corresponding route of /api', async (t) => {
  const replica = await startReplica(t)
  const expected: [permission: Permission, ...routes: string[]][] = [
    ['read:monitors', 'GET /monitors', 'GET /monitors/m', 'GET /monitors/m/data', 'GET /monitors/m/data/60'],
    [
      'write:monitors',
      'POST /monitors',
      'PATCH /monitors/m',
      'PATCH /monitors/m/data',
      'PATCH /monitors/m/data/60',
    ],
    ['delete:monitors', 'DELETE /monitors/m'],
    [
      'read:incidents',
      'GET /incidents',
      'GET /incidents/1',
      'GET /incidents/1/comments',
      'GET /incidents/1/comments/1',
      ...['GET /maintenances', 'GET /maintenances/1', 'GET /maintenances/events'],
      ...['GET /maintenances/1/events', 'GET /maintenances/1/events/1'],
    ],
    [
      'write:incidents',
      ...['POST /incidents', 'PATCH /incidents/1', 'POST /incidents/1/comments'],
      ...['PATCH /incidents/1/comments/1', 'DELETE /incidents/1/comments/1'],
      ...['POST /maintenances', 'PATCH /maintenances/1', 'PATCH /maintenances/1/events/1'],
    ],
    ['admin', 'DELETE /incidents/1', 'DELETE /maintenances/1', 'DELETE /maintenances/1/events/1'],
  ]
  for (const [permission, ...routes] of expected) {
    const having = await newKey(replica, { permissions: [permission] })
    const lacking = await newKey(replica, {
      permissions: permissions.filter((other) => other !== permission && other !== 'admin'),
    })
    for (const route of routes) {
      const path = route.replace(' ', ' /api/v4') as 'GET /api'
      isErrorReply(t, await replica.call(lacking.token, path), 403, 'FORBIDDEN', route)
      t.notOk(
        [401, 403, 405].includes((await replica.call(having.token, path)).statusCode),
        `${route}: permission is sufficient`,
      )
      isErrorReply(t, await replica.call(null, path), 401, 'UNAUTHORIZED', route)
    }
  }
})

await t.test('rate limits and their headers are those of /api', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica, { rateLimit: 2 })
  await waitForTimeInMinute()
  const [first, second, third] = [
    await replica.call(token, 'GET /api/v4/monitors'),
    await replica.call(token, 'GET /api/me'),
    await replica.call(token, 'GET /api/v4/monitors'),
  ]
  t.match(first.headers, { 'x-ratelimit-limit': '2', 'x-ratelimit-remaining': '1' })
  t.match(second.headers, { 'x-ratelimit-remaining': '0' }, 'one quota for both formats')
  isErrorReply(t, third, 429, 'RATE_LIMIT_EXCEEDED', 'the third request')
  t.match(third.headers, { 'x-ratelimit-remaining': '0', 'retry-after': /^\d+$/ })
})

await t.test('a JSON body is accepted with any Content-Type, as in Kener', async (t) => {
  const { call, key, kener } = await start(await share())
  const names = [
    'application/json; charset=utf-8',
    'application/x-www-form-urlencoded',
    'text/plain',
    'json',
    undefined,
  ]
  for (const [index, name] of names.entries()) {
    const reply = await call(key, 'POST /api/v4/monitors', undefined, {
      headers: name === undefined ? {} : { 'content-type': name },
      payload: Buffer.from(JSON.stringify({ tag: `m${index}`, name: 'M', unknown: 1 })),
    })
    t.equal(reply.statusCode, 201, String(name))
  }
  t.equal((await kener.listMonitors()).length, names.length)
  const broken = { headers: { 'content-type': 'text/plain' }, payload: '{"tag":' }
  isErrorReply(t, await call(key, 'POST /api/v4/monitors', undefined, broken), 400, 'BAD_REQUEST', 'not JSON')
  const zipped = { headers: { 'content-encoding': 'gzip' }, payload: 'x' }
  isErrorReply(
    t,
    await call(key, 'POST /api/v4/monitors', undefined, zipped),
    415,
    'UNSUPPORTED_MEDIA_TYPE',
    'compressed',
  )
})

await t.test('the number of statements of a list does not depend on its length', async (t) => {
  const { kener, db, statements } = await start(await share())
  for (const tag of ['a', 'b']) await kener.createMonitor({ tag, name: tag })
  await times(30, (index) =>
    kener.createIncident({
      ...{ title: String(index), start_date_time: newYear },
      monitors: [{ monitor_tag: 'a' }, { monitor_tag: 'b' }],
    }),
  )
  const { id } = await kener.createIncident({ title: 'T', start_date_time: newYear })
  await times(30, () => kener.createComment(id, { comment: 'C', state: 'IDENTIFIED' }))
  const daily = { title: 'T', start_date_time: newYear, rrule: 'FREQ=DAILY', duration_seconds: 60 }
  for (const monitor_tag of ['a', 'b'])
    await kener.createMaintenance({ ...daily, monitors: [{ monitor_tag }] })
  await db.selectFrom('monitors').select('id').execute()
  for (const [name, list, most] of [
    ['monitors', () => kener.listMonitors(), 1],
    ['incidents', () => kener.listIncidents(), 1],
    ['comments', () => kener.listComments(id), 2],
    ['maintenances', () => kener.listMaintenances(), 1],
    ['events', async () => (await kener.listAllEvents()).events, 3],
  ] as const) {
    statements.length = 0
    t.ok((await list()).length >= 2)
    // Others are written every few seconds, whatever the requests.
    const own = statements.filter(
      (statement) => !/rate_counters|traffic|key_usage|update api_keys/.test(statement),
    )
    t.ok(own.length <= most, `${name}: ${own.length} statements`)
  }
})

await t.test('the lists of pages and of site settings are empty, and writes to them are 404', async (t) => {
  const replica = await share()
  const { token } = await newKey(replica, { permissions: ['read:incidents'] })
  for (const [path, body] of [
    ['/pages', { pages: [] }],
    ['/site', { site_data: [] }],
  ] as const) {
    const reply = await replica.call(token, `GET /api/v4${path}?any=field`)
    t.same([reply.statusCode, reply.json], [200, body], path)
    t.equal((await replica.call(token, `HEAD /api/v4${path}`)).statusCode, 200)
    isErrorReply(t, await replica.call(null, `GET /api/v4${path}`), 401, 'UNAUTHORIZED', path)
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'] as const) {
      for (const url of [path, `${path}/title`] as const) {
        const reply = await replica.call(token, `${method} /api/v4${url}`, { page_path: 'a' })
        isErrorReply(t, reply, 404, 'NOT_FOUND', `${method} ${url}`)
      }
    }
  }
})

await t.test('a trailing slash is ignored', async (t) => {
  const { call, key, kener } = await start(await share())
  await kener.createMonitor({ tag: 'm', name: 'M' })
  const { id } = await kener.createIncident({ title: 'T', start_date_time: newYear })
  const paths = ['/monitors/', '/monitors/m/', `/incidents/${id}/`, `/incidents/${id}/comments/`, '/pages/']
  for (const path of paths) t.equal((await call(key, `GET /api/v4${path}`)).statusCode, 200, path)
  t.equal((await call(key, 'PATCH /api/v4/monitors/m/', { name: 'N' })).json.monitor.name, 'N')
})

await t.test('paths of Kener that are not served are 404', async (t) => {
  const { call, key } = await start(await share())
  for (const path of ['', '/', '/pages/~home', '/site/title', '/monitors/m/alert-configs']) {
    isErrorReply(t, await call(key, `GET /api/v4${path}`), 404, 'NOT_FOUND', path)
    isErrorReply(t, await call(null, `GET /api/v4${path}`), 401, 'UNAUTHORIZED', `${path} without a key`)
  }
  const reply = await call(key, 'PUT /api/v4/monitors/m', {})
  isErrorReply(t, reply, 405, 'METHOD_NOT_ALLOWED', 'as in Kener')
  t.match(reply.headers.allow, /GET/)
})
