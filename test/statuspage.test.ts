import type { AddressInfo } from 'node:net'
import { Statuspage } from 'statuspage.io'
import t from 'tap'
import { newKey, startReplica } from './helper.ts'

await t.test('an unmodified client of Statuspage reads the public status', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const call = async (route: `${'POST' | 'PATCH'} ${string}`, body: object) => {
    const { statusCode, body: text, json } = await replica.call(token, route, body)
    if (statusCode >= 300) throw new Error(text)
    return json.data
  }
  await replica.app.listen({ port: 0 })
  const base = `http://127.0.0.1:${(replica.app.server.address() as AddressInfo).port}`
  const client = new Statuspage('any')
  client.setApiUrl(base)
  const { api } = client

  const page = { id: 'status', name: 'Status', url: base, time_zone: 'Etc/UTC' }
  t.match(await api.getSummary(), {
    page: { ...page, updated_at: '1970-01-01T00:00:00Z' },
    status: { indicator: 'none', description: 'All Systems Operational' },
    components: [],
    incidents: [],
    scheduled_maintenances: [],
  })

  await t.test('monitors are components, and categories are their groups', async (t) => {
    for (const [tag, category_name, status] of [
      ['api', 'Core', 'UP'],
      ['web', 'Core', 'DEGRADED'],
      ['mail', null, 'UP'],
      ['new', null, null],
    ]) {
      await call('POST /api/monitors', { tag, name: `Name of ${tag}`, category_name })
      if (status) await call(`POST /api/monitors/${tag}/data`, { status })
    }
    const { components } = await api.getComponents()
    const group = components[0]?.id
    t.match(
      components.map(({ id, name, status, group_id, group, position }) =>
        [position, id, name, status, group_id, group].join(),
      ),
      [
        `1,${group},Core,degraded_performance,,true`,
        `2,api,Name of api,operational,${group},false`,
        `3,web,Name of web,degraded_performance,${group},false`,
        '4,mail,Name of mail,operational,,false',
        '5,new,Name of new,operational,,false',
      ],
    )
    t.match(components[0], {
      components: ['api', 'web'],
      page_id: 'status',
      description: null,
      showcase: false,
    })
    t.not(group, (await replica.call(token, 'GET /api/monitors')).json.data[0].tag)
  })

  await t.test('the indicator follows from the statuses of the monitors', async (t) => {
    const expected = [
      ['web', 'DEGRADED', 'minor', 'Partially Degraded Service'],
      ['web', 'MAINTENANCE', 'none', 'Service Under Maintenance'],
      ['web', 'DOWN', 'major', 'Partial System Outage'],
      ['web', 'UP', 'none', 'All Systems Operational'],
    ] as const
    for (const [tag, status, indicator, description] of expected) {
      await call(`POST /api/monitors/${tag}/data`, { status })
      t.match(await api.getStatus(), { page, status: { indicator, description } }, status)
    }
    const tags = ['api', 'web', 'mail', 'new']
    for (const tag of tags) await call(`POST /api/monitors/${tag}/data`, { status: 'DOWN' })
    t.match((await api.getStatus()).status, { indicator: 'critical', description: 'Major System Outage' })
    for (const tag of tags) await call(`POST /api/monitors/${tag}/data`, { status: 'UP' })
  })

  await t.test('incidents have their comments as updates, newest first', async (t) => {
    const affect = (impact: string) => [{ monitor_tag: 'web', impact }]
    await call('POST /api/incidents', { title: 'Down', monitors: affect('DOWN'), comment: 'first' })
    await call('POST /api/incidents/1/comments', { comment: 'second', state: 'MONITORING' })
    await call('POST /api/incidents', { title: 'No comment', monitors: affect('DEGRADED') })
    await call('POST /api/incidents', { title: 'Over', state: 'RESOLVED', comment: 'over' })

    const { incidents } = await api.incidents.getUnresolved()
    t.match(
      incidents.map(({ id, name, status, impact }) => [id, name, status, impact].join()),
      ['2,No comment,investigating,minor', '1,Down,monitoring,critical'],
    )
    const [silent, down] = incidents
    t.match(silent?.incident_updates, [{ body: 'No comment', status: 'investigating', incident_id: '2' }])
    t.match(
      down?.incident_updates.map(({ body, status, incident_id }) => [body, status, incident_id].join()),
      ['second,monitoring,1', 'first,investigating,1'],
    )
    t.match(down, {
      page_id: 'status',
      shortlink: `${base}/incidents/1`,
      monitoring_at: down?.incident_updates[0]?.display_at,
      resolved_at: null,
      components: [{ id: 'web', status: 'major_outage' }],
    })
    const all = (await api.incidents.getAll()).incidents
    t.same(new Set(all.map(({ id }) => id)), new Set(['1', '2', '3']))
    t.match(
      all.find(({ id }) => id === '3'),
      { status: 'resolved', impact: 'none', resolved_at: /Z$/ },
    )
    t.same((await api.getSummary()).incidents, incidents)
  })

  await t.test('each event of a maintenance is a scheduled maintenance', async (t) => {
    const at = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
    const maintenance = (title: string, starts_at: string) =>
      call('POST /api/maintenances', {
        title,
        starts_at,
        duration_seconds: 7_200,
        monitors: [{ monitor_tag: 'api' }],
      })
    await maintenance('past', at(-5))
    await maintenance('ongoing', at(-1))
    await maintenance('planned', at(24))
    await maintenance('cancelled', at(48))
    await call('PATCH /api/maintenances/4/events/4', { state: 'CANCELLED' })

    // The client requests upcoming.json for all of its lists.
    const read = async (path: string) => {
      const { json } = await replica.call(null, `GET /api/v2/scheduled-maintenances${path}.json`)
      return json.scheduled_maintenances as { name: string; status: string }[]
    }
    const list = (maintenances: { name: string; status: string }[]) =>
      maintenances.map(({ name, status }) => `${name} ${status}`)
    const all = await read('')
    t.same(list(all), ['planned scheduled', 'ongoing in_progress', 'past completed'])
    t.same(list(await read('/active')), ['ongoing in_progress'])
    t.match(all[1], {
      id: '2-2',
      impact: 'maintenance',
      scheduled_for: /Z$/,
      scheduled_until: /Z$/,
      shortlink: /\/maintenances\/2$/,
      incident_updates: [{ body: 'ongoing', status: 'in_progress' }],
      components: [{ id: 'api', status: 'under_maintenance' }],
    })
    t.same(list((await api.scheduledMaintenances.getUpcoming()).scheduled_maintenances), [
      'planned scheduled',
    ])
    t.same(list((await api.getSummary()).scheduled_maintenances), [
      'ongoing in_progress',
      'planned scheduled',
    ])
  })

  await t.test('each document matches its description', async (t) => {
    const lists = [
      'incidents',
      'incidents/unresolved',
      'scheduled-maintenances',
      'scheduled-maintenances/upcoming',
    ]
    for (const path of ['summary', 'status', 'components', ...lists, 'scheduled-maintenances/active']) {
      const { statusCode, json } = await replica.call(null, `GET /api/v2/${path}.json?any=1`)
      t.equal(statusCode, 200, path)
      t.match(json.page, { updated_at: /^20/ })
    }
  })
})

await t.test('PUBLIC_PAGE=off disables everything that is public except /api/status', async (t) => {
  const replica = await startReplica(t, { config: { publicPage: false } })
  const { token } = await newKey(replica)
  const read = async (path: string, key?: string) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` }
    const { statusCode, headers: replied, json } = await replica.app.inject({ url: path, headers })
    return [statusCode, json().error?.code, replied['access-control-allow-origin']]
  }
  const notFound = [404, 'NOT_FOUND', undefined]
  for (const path of [
    '/',
    '/feed.atom',
    '/rss.xml',
    '/maintenances.ics',
    '/badge/_/status',
    '/badge/web/status',
  ])
    t.same(await read(path), notFound, path)
  for (const path of ['/api/v2/summary.json', '/api/v2/incidents/unresolved.json'])
    for (const key of [undefined, token]) t.same(await read(path, key), notFound, path)
  t.same(await read('/api/v2/other.json'), [401, 'UNAUTHORIZED', undefined])
  t.same(await read('/api/status'), [200, undefined, '*'])
  const created = await replica.call(token, 'POST /api/v4/incidents', { title: 'A', start_date_time: 1 })
  t.match(
    created.json.incident.url,
    /\/api\/v4\/incidents\/1$/,
    'without a page, the url is that of the resource',
  )
})
