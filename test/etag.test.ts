import { sql } from 'kysely'
import t from 'tap'
import { createDatabase, isErrorReply, newKey, type Reply, startReplica, times } from './helper.ts'

const url = await createDatabase(t)
const replica = await startReplica(t, { url })
const { call } = replica
const { token: admin } = await newKey(replica)

type Method = 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'

/** Sends a request of the admin key with these headers. */
function send(
  route: `${Method} ${string}`,
  headers: Record<string, string> = {},
  body?: object,
): Promise<Reply> {
  return call(admin, route, body, { headers })
}

function etagOf({ headers }: Pick<Reply, 'headers'>): string {
  return String(headers.etag)
}

/** The part of an ETag that If-Match compares. */
function versionOf(reply: Reply): string | undefined {
  return etagOf(reply).split('-')[0]
}

let count = 0

/** Creates one resource of each kind. */
async function createResources() {
  const tag = `monitor-${++count}`
  const replies = [
    await send('POST /api/monitors', {}, { tag, name: 'Monitor' }),
    await send(
      'POST /api/incidents',
      {},
      { title: 'Incident', monitors: [{ monitor_tag: tag, impact: 'DOWN' }] },
    ),
    await send(
      'POST /api/maintenances',
      {},
      { title: 'Maintenance', starts_at: '2999-01-01T00:00:00Z', duration_seconds: 60 },
    ),
    await send('POST /api/keys', {}, { name: 'Key', permissions: ['read:monitors'] }),
  ] as const
  const [, incident, maintenance, key] = replies
  const paths = [
    `/api/monitors/${tag}`,
    `/api/incidents/${incident.json.data.id}`,
    `/api/maintenances/${maintenance.json.data.id}`,
    `/api/keys/${key.json.data.id}`,
  ] as const
  return paths.map((path, index) => ({
    path,
    created: replies[index] as Reply,
    change:
      path.includes('/incidents/') || path.includes('/maintenances/') ? { title: 'New' } : { name: 'New' },
    canBeDeleted: !path.includes('/keys/'),
  }))
}

await t.test('the response to a revocation has the ETag of the key', async (t) => {
  const { id } = await newKey(replica)
  const revoked = await send(`POST /api/keys/${id}/revoke`)
  t.equal(etagOf(revoked), etagOf(await send(`GET /api/keys/${id}`)))
  const own = await newKey(replica)
  const byItself = await call(own.token, 'POST /api/me/revoke')
  t.equal(versionOf(byItself), versionOf(await send(`GET /api/keys/${own.id}`)), 'of the calling key')
})

await t.test('a single resource has an ETag, and If-None-Match with it is 304', async (t) => {
  for (const { path, created } of await createResources()) {
    const read = await send(`GET ${path}`)
    const etag = etagOf(read)
    t.match(etag, /^"\d+-[\w-]{22}"$/, path)
    t.equal(versionOf(created), versionOf(read), `${path}: the response of the creation has one too`)
    const head = await send(`HEAD ${path}`)
    t.equal(etagOf(head), etag, `HEAD ${path}`)
    // All resources have one parser.
    const more = path.includes('/monitors/') ? [`W/${etag}`, `"a,b", ${etag}`, '*'] : []
    for (const sent of [etag, ...more]) {
      for (const method of ['GET', 'HEAD'] as const) {
        const known = await send(`${method} ${path}`, { 'if-none-match': sent })
        t.equal(known.statusCode, 304, `${method} ${path} ${sent}`)
        t.equal(etagOf(known), etag)
        t.equal(known.body, '')
        t.notOk('content-type' in known.headers)
        t.not(known.headers['content-length'], '0')
        t.ok('x-ratelimit-remaining' in known.headers)
      }
    }
    t.equal((await send(`GET ${path}`, { 'if-none-match': '"other"' })).body, read.body)
  }
  const lists = await Promise.all(
    (['monitors', 'incidents', 'keys'] as const).map((name) => send(`GET /api/${name}`)),
  )
  for (const { headers } of lists) t.notOk('etag' in headers)
})

await t.test(
  'each change returns the next ETag, and an outdated If-Match is 412 and changes nothing',
  async (t) => {
    for (const { path, created, change, canBeDeleted } of await createResources()) {
      const changed = await send(`PATCH ${path}`, { 'if-match': etagOf(created) }, change)
      t.equal(changed.statusCode, 200, path)
      t.not(etagOf(changed), etagOf(created))
      t.equal(etagOf(await send(`GET ${path}`)), etagOf(changed))
      const methods = canBeDeleted ? (['PATCH', 'DELETE'] as const) : (['PATCH'] as const)
      const more = path.includes('/monitors/') ? [`W/${etagOf(changed)}`, '"other"', 'malformed', ''] : []
      for (const outdated of [etagOf(created), ...more]) {
        for (const method of methods) {
          const reply = await send(
            `${method} ${path}`,
            { 'if-match': outdated },
            method === 'PATCH' ? change : undefined,
          )
          isErrorReply(t, reply, 412, 'PRECONDITION_FAILED', `${method} ${path} ${outdated}`)
          t.notOk('etag' in reply.headers)
        }
      }
      t.equal((await send(`GET ${path}`)).body, changed.body)
      const listed = `"a,b", ${etagOf(changed)}`
      const next = await send(`PATCH ${path}`, { 'if-match': listed }, change)
      t.equal(next.statusCode, 200, `${path}: a list`)
      t.equal((await send(`PATCH ${path}`, { 'if-match': '*' }, change)).statusCode, 200, `${path}: *`)
      if (!canBeDeleted) continue
      const last = etagOf(await send(`GET ${path}`))
      t.equal((await send(`DELETE ${path}`, { 'if-match': last })).statusCode, 204, path)
    }
  },
)

await t.test(
  'a PUT replaces only the version in If-Match, and with If-None-Match: * only creates',
  async (t) => {
    const path = '/api/monitors/put' as const
    const put = (name: string, headers: Record<string, string>) => send(`PUT ${path}`, headers, { name })
    isErrorReply(
      t,
      await put('A', { 'if-match': '*' }),
      412,
      'PRECONDITION_FAILED',
      '* requires that it exists',
    )
    const created = await put('A', { 'if-none-match': '*' })
    t.equal(created.statusCode, 201)
    isErrorReply(t, await put('B', { 'if-none-match': '*' }), 412, 'PRECONDITION_FAILED', 'it exists')
    isErrorReply(
      t,
      await put('B', { 'if-none-match': etagOf(created) }),
      412,
      'PRECONDITION_FAILED',
      'it has the tag',
    )
    t.equal((await send(`GET ${path}`)).json.data.name, 'A')
    const replaced = await put('B', { 'if-match': etagOf(created) })
    t.equal(replaced.statusCode, 200)
    isErrorReply(t, await put('C', { 'if-match': etagOf(created) }), 412, 'PRECONDITION_FAILED', 'outdated')
    await send(`DELETE ${path}`)
    t.equal((await put('D', {})).statusCode, 201)
    const stale = await put('E', { 'if-match': etagOf(replaced) })
    isErrorReply(t, stale, 412, 'PRECONDITION_FAILED', 'a monitor that was deleted and created again')
  },
)

await t.test('an ETag of another resource does not match', async (t) => {
  const [one, other] = [await createResources(), await createResources()]
  for (const [index, { path, change }] of one.entries()) {
    const reply = await send(`PATCH ${path}`, { 'if-match': etagOf(other[index]?.created as Reply) }, change)
    isErrorReply(t, reply, 412, 'PRECONDITION_FAILED', path)
  }
})

await t.test('of concurrent changes on two replicas with the same If-Match, one succeeds', async (t) => {
  const replicas = [replica, await startReplica(t, { url })]
  const race = (route: `${Method} ${string}`, headers: Record<string, string>, body?: object) =>
    times(6, async (index) => {
      const { statusCode } = (await replicas[index % 2]?.call(admin, route, body, { headers })) as Reply
      return statusCode
    })
  const losers = Array.from({ length: 5 }, () => 412)
  for (const { path, created, change, canBeDeleted } of await createResources()) {
    const statuses = await race(`PATCH ${path}`, { 'if-match': etagOf(created) }, change)
    t.same(statuses.sort(), [200, ...losers], `PATCH ${path}`)
    if (!canBeDeleted) continue
    const current = etagOf(await send(`GET ${path}`))
    t.same((await race(`DELETE ${path}`, { 'if-match': current })).sort(), [204, ...losers], `DELETE ${path}`)
  }
  const created = await race('PUT /api/monitors/raced', { 'if-none-match': '*' }, { name: 'Raced' })
  t.same(created.sort(), [201, ...losers])
})

await t.test('what changes without an editor changes the ETag, but not what If-Match compares', async (t) => {
  const [monitor, incident, maintenance, key] = (await createResources()) as Resources
  const changed: { path: string; etag: string }[] = []
  /** The body is another one, but If-Match with the tag from before `event` is fulfilled. */
  const keepsVersion = async ({ path, change }: Resource, event: () => Promise<unknown>) => {
    const before = etagOf(await send(`GET ${path}`))
    await event()
    const read = await send(`GET ${path}`, { 'if-none-match': before })
    t.equal(read.statusCode, 200, path)
    changed.push({ path, etag: etagOf(read) })
    t.equal((await send(`PATCH ${path}`, { 'if-match': before }, change)).statusCode, 200, path)
  }
  await keepsVersion(monitor, () => send(`POST ${monitor.path}/data`, {}, { status: 'UP' }))
  await keepsVersion(monitor, () => send(`DELETE ${incident.path}`))
  await keepsVersion(maintenance, async () => {
    const { json } = await send(`GET ${maintenance.path}/events`)
    await send(`PATCH ${maintenance.path}/events/${json.data[0].id}`, {}, { state: 'CANCELLED' })
  })
  await keepsVersion(key, async () => {
    await call(key.created.json.data.key as string, 'GET /api/me')
    // The use may be stored after the response.
    await sql`update api_keys set last_used_at = now() - interval '1 hour' where id = ${key.created.json.data.id}`.execute(
      replica.db,
    )
  })
  t.equal(changed.length, 4)
})

type Resource = Awaited<ReturnType<typeof createResources>>[number]
type Resources = [monitor: Resource, incident: Resource, maintenance: Resource, key: Resource]

await t.test('comments are part of the version of their incident', async (t) => {
  const [, { path, created }] = (await createResources()) as Resources
  const etags = new Set([etagOf(created)])
  const { json } = await send(`POST ${path}/comments`, {}, { comment: 'First' })
  const comment = `${path}/comments/${json.data.id}` as const
  for (const event of [
    () => Promise.resolve(),
    () => send(`PATCH ${comment}`, {}, { comment: 'Second' }),
    () => send(`DELETE ${comment}`),
  ]) {
    await event()
    for (const known of etags)
      t.equal((await send(`PATCH ${path}`, { 'if-match': known }, { title: 'New' })).statusCode, 412)
    etags.add(etagOf(await send(`GET ${path}`)))
  }
  t.equal(etags.size, 4)
})

await t.test('a condition is checked after permission and validation, and before the state', async (t) => {
  const outdated = { 'if-match': '"other"' }
  const { token: reader } = await newKey(replica, { permissions: ['read:monitors'] })
  const [{ path }, , , key] = (await createResources()) as Resources
  const forbidden = await call(reader, `PATCH ${path}`, { name: 'New' }, { headers: outdated })
  isErrorReply(t, forbidden, 403, 'FORBIDDEN', 'permission')
  isErrorReply(t, await send(`PATCH ${path}`, outdated, { name: 5 }), 400, 'INVALID_REQUEST', 'validation')
  isErrorReply(
    t,
    await send(`PATCH ${path}`, { 'if-none-match': '*' }, {}),
    412,
    'PRECONDITION_FAILED',
    'exists',
  )
  await send(`POST ${key.path}/revoke`)
  isErrorReply(
    t,
    await send(`PATCH ${key.path}`, outdated, { name: 'New' }),
    412,
    'PRECONDITION_FAILED',
    'state',
  )
  isErrorReply(
    t,
    await send(`PATCH ${key.path}`, { 'if-match': '*' }, { name: 'New' }),
    409,
    'CONFLICT',
    'state',
  )
})

await t.test(
  'every PUT, PATCH and DELETE evaluates If-Match, also if the resource does not exist',
  async (t) => {
    const withEtag = [
      '/api/monitors/{tag}',
      '/api/incidents/{id}',
      '/api/maintenances/{id}',
      '/api/keys/{id}',
    ]
    const { paths } = replica.app.swagger() as unknown as { paths: Record<string, Record<string, Operation>> }
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    )
    let evaluated = 0
    for (const { path, method, operation } of operations) {
      const { operationId, parameters = [], requestBody, responses } = operation
      const name = `${method} ${path}`
      const isChange = ['put', 'patch', 'delete'].includes(method) && !path.startsWith('/api/v4/')
      t.equal('412' in responses, isChange, name)
      const names = parameters.map(({ name }) => name)
      t.equal(names.includes('If-Match'), isChange && withEtag.includes(path), name)
      t.equal(names.includes('If-None-Match'), /get|put/.test(method) && withEtag.includes(path), name)
      if (method === 'get' && withEtag.includes(path))
        t.ok('304' in responses && responses['200']?.headers?.ETag, name)
      if (!isChange) continue
      const media = requestBody?.content['application/json']
      const body = media?.example ?? Object.values(media?.examples ?? {})[0]?.value
      const url = path.replace(/\{[a-z_]+\}/g, '999')
      const route = `${method.toUpperCase() as 'PUT'} ${url}` as const
      isErrorReply(
        t,
        await send(route, { 'if-match': '"other"' }, body),
        412,
        'PRECONDITION_FAILED',
        operationId,
      )
      evaluated++
    }
    t.ok(evaluated >= 12)
  },
)

type Media = { example?: object; examples?: Record<string, { value: object }> }
type Operation = {
  operationId: string
  parameters?: { name: string }[]
  requestBody?: { content: Record<string, Media> }
  responses: Record<string, { headers?: Record<string, unknown> }>
}

await t.test('If-Match does not reveal an incident or maintenance of other monitors', async (t) => {
  const { token } = await newKey(replica, { permissions: ['write:incidents'], monitors: ['mine'] })
  const [, incident, maintenance] = (await createResources()) as Resources
  for (const { path, created } of [incident, maintenance]) {
    const missing = path.replace(/\d+$/, '999')
    const replies = await Promise.all(
      [path, missing].map((path) =>
        call(token, `PATCH ${path}`, { title: 'New' }, { headers: { 'if-match': etagOf(created) } }),
      ),
    )
    for (const reply of replies) isErrorReply(t, reply, 412, 'PRECONDITION_FAILED', path)
    t.equal(replies[0]?.body, replies[1]?.body)
  }
})

await t.test('a change of a resource without an ETag is rejected if it has a condition', async (t) => {
  const [monitor, incident, maintenance] = (await createResources()) as Resources
  const { json: comment } = await send(`POST ${incident.path}/comments`, {}, { comment: 'First' })
  const { json: events } = await send(`GET ${maintenance.path}/events`)
  const fill = { from: '2026-01-01T00:00:00Z', to: '2026-01-01T00:01:00Z', status: 'UP' }
  const changes = [
    [`PATCH ${incident.path}/comments/${comment.data.id}`, { comment: 'Second' }],
    [`PATCH ${maintenance.path}/events/${events.data[0].id}`, { state: 'CANCELLED' }],
    [`PUT ${monitor.path}/data`, fill],
  ] as const
  for (const [route, body] of changes) {
    isErrorReply(t, await send(route, { 'if-match': '"other"' }, body), 412, 'PRECONDITION_FAILED', route)
    isErrorReply(t, await send(route, { 'if-none-match': '*' }, body), 412, 'PRECONDITION_FAILED', route)
    t.equal((await send(route, { 'if-match': '*' }, body)).statusCode, 200, route)
  }
  const kener = await send(
    `PATCH /api/v4/monitors/${monitor.path.split('/')[3]}`,
    { 'if-match': '"other"' },
    { name: 'New' },
  )
  t.equal(kener.statusCode, 200, 'Kener has no ETags')
})

await t.test(
  'a change by the previous release, which does not know the version, is a new version',
  async (t) => {
    for (const { path, created, change } of await createResources()) {
      const [, , table = '', id = ''] = path.split('/')
      const column = table === 'monitors' ? 'tag' : 'id'
      const set = table === 'keys' ? sql`name = 'Old release'` : sql`updated_at = now()`
      await sql`
      update ${sql.table(table === 'keys' ? 'api_keys' : table)} set ${set}
      where ${sql.ref(column)}::text = ${id}`.execute(replica.db)
      const reply = await send(`PATCH ${path}`, { 'if-match': etagOf(created) }, change)
      isErrorReply(t, reply, 412, 'PRECONDITION_FAILED', path)
    }
  },
)
