import fc from 'fast-check'
import { sql } from 'kysely'
import t from 'tap'
import { type Permission, permissions as allPermissions } from '../../src/permissions.ts'
import { newKey, type Reply, startReplica } from '../helper.ts'
import { scaled } from './scale.ts'

/** To repeat a run: `FUZZ_SEED=1 npm run test:slow -- key-model`. */
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const permissions = allPermissions.filter((permission) => permission !== 'admin')
const tags = ['a', 'a-1', 'a_1', 'b', 'b-1']

/** The monitors that each incident affects. Their ids are 1, 2 and so on. */
const incidents: string[][] = [[], ['a'], ['a', 'b'], ['b-1'], ['a-1', 'a_1']]

/** Some addresses, and in which of the networks each one is. */
const networks = ['10.0.0.0/8', '192.0.2.7', '2001:db8::/32']
const addresses: Record<string, string[]> = {
  '10.1.2.3': ['10.0.0.0/8'],
  '192.0.2.7': ['192.0.2.7'],
  '192.0.2.8': [],
  '2001:db8::5': ['2001:db8::/32'],
  '::ffff:10.9.9.9': ['10.0.0.0/8'],
}

type Key = {
  permissions: Permission[]
  monitors: string[] | null
  allowedIps: string[] | null
  state: 'active' | 'expired' | 'revoked'
}

const subset = <Value>(values: Value[]) => fc.subarray(values, { minLength: 1 })
const keys: fc.Arbitrary<Key> = fc.record({
  permissions: subset(permissions),
  monitors: fc.option(subset(['a', 'a-*', 'a_*', 'b', 'b*', 'z*'])),
  allowedIps: fc.option(subset(networks)),
  state: fc.constantFrom('active', 'active', 'active', 'active', 'expired', 'revoked'),
})

/** A request, what it needs, and what it names. */
type Request = {
  route: `${'GET' | 'POST' | 'PATCH' | 'DELETE'} ${string}`
  permission: Permission | 'any-key'
  body?: object
  /** Tags in the path or body. */
  named?: string[]
  incident?: number
  /** Tags in the response of a list. */
  list?: (reply: Reply) => string[]
}

const tag = fc.constantFrom(...tags, 'a-none')
const incident = fc.integer({ min: 1, max: incidents.length + 1 })
const prefix = fc.constantFrom('/api', '/api/v4')
const listed = (reply: Reply, field: string) =>
  ((reply.json.data ?? reply.json[field]) as { tag: string }[]).map((item) => item.tag)

const requests: fc.Arbitrary<Request> = fc.oneof(
  fc.constant<Request>({ route: 'GET /api/me', permission: 'any-key' }),
  fc.constant<Request>({ route: 'GET /api/keys', permission: 'admin' }),
  prefix.map((start): Request => ({
    route: `GET ${start}/monitors`,
    permission: 'read:monitors',
    list: (reply) => listed(reply, 'monitors'),
  })),
  fc.tuple(prefix, tag).map(([start, name]): Request => ({
    route: `GET ${start}/monitors/${name}`,
    permission: 'read:monitors',
    named: [name],
  })),
  fc.tuple(prefix, tag).map(([start, name]): Request => ({
    route: `PATCH ${start}/monitors/${name}`,
    permission: 'write:monitors',
    body: { name: 'N' },
    named: [name],
  })),
  tag.map((name): Request => ({
    route: `POST /api/monitors/${name}/data`,
    permission: 'write:monitors',
    body: { status: 'UP' },
    named: [name],
  })),
  fc.constant<Request>({
    route: 'DELETE /api/monitors/a-none',
    permission: 'delete:monitors',
    named: ['a-none'],
  }),
  fc.tuple(prefix, incident).map(([start, id]): Request => ({
    route: `GET ${start}/incidents/${id}`,
    permission: 'read:incidents',
    incident: id,
  })),
  fc.tuple(prefix, incident).map(([start, id]): Request => ({
    route: `PATCH ${start}/incidents/${id}`,
    permission: 'write:incidents',
    body: { title: 'T' },
    incident: id,
  })),
  fc.tuple(incident, subset(tags)).map(([id, named]): Request => ({
    route: `PATCH /api/incidents/${id + incidents.length + 1}`,
    permission: 'write:incidents',
    body: { monitors: named.map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' })) },
    named,
    incident: id + incidents.length + 1,
  })),
)

/** The expected status: the checks in the order of the documentation. */
function expectedStatus(key: Key, request: Request, address: string): number {
  if (key.state !== 'active') return 401
  const isFromAllowed = key.allowedIps?.some((network) => addresses[address]?.includes(network)) ?? true
  if (!isFromAllowed) return 403
  if (request.permission !== 'any-key' && !key.permissions.includes(request.permission)) return 403
  if (request.named?.some((name) => !mayUse(key, name))) return 403
  if (request.incident !== undefined) {
    const affected = incidents[request.incident - 1]
    if (!affected) return 404
    if (key.monitors && !affected.some((name) => mayUse(key, name))) return 404
    if (request.route.startsWith('PATCH') && !affected.every((name) => mayUse(key, name))) return 403
  }
  return request.named?.includes('a-none') ? 404 : 200
}

function mayUse({ monitors }: Key, name: string): boolean {
  if (monitors === null) return true
  return monitors.some((pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
  )
}

await t.test(`random keys may do what a simple model allows (FUZZ_SEED=${seed})`, async (t) => {
  const replica = await startReplica(t)
  const admin = (await newKey(replica)).token
  for (const name of tags) await replica.call(admin, 'POST /api/monitors', { tag: name, name })
  for (const affected of incidents) {
    const monitors = affected.map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' }))
    await replica.call(admin, 'POST /api/incidents', { title: 'T', monitors })
  }
  const counts = new Map<number, number>()

  const property = fc.asyncProperty(
    keys,
    fc.array(fc.tuple(requests, fc.constantFrom(...Object.keys(addresses))), { minLength: 5, maxLength: 10 }),
    async (key, sent) => {
      const { token, id } = await newKey(replica, key)
      const change = {
        expired: sql`expires_at = now()`,
        revoked: sql`revoked_at = now()`,
        active: undefined,
      }[key.state]
      if (change) await sql`update api_keys set ${change} where id = ${id}`.execute(replica.db)
      let counted = 0
      for (const [request, address] of sent) {
        const reply = await replica.call(token, request.route, request.body, { remoteAddress: address })
        const expected = expectedStatus(key, request, address)
        counts.set(expected, (counts.get(expected) ?? 0) + 1)
        const what = `${request.route} ${JSON.stringify(request.body)} from ${address} with ${JSON.stringify(key)}`
        if (reply.statusCode !== expected)
          throw new Error(`${what}: ${reply.statusCode}, not ${expected}: ${reply.body}`)
        const remaining = reply.headers['x-ratelimit-remaining']
        if (remaining !== undefined) counted++
        if (expected !== 200) continue
        const visible = tags.filter((name) => mayUse(key, name))
        const shown = request.list?.(reply).sort() ?? visible
        if (shown.join() !== visible.join())
          throw new Error(`${what}: lists ${shown.join()}, not ${visible.join()}`)
        const affected: { monitor_tag: string }[] = (reply.json.data ?? reply.json.incident)?.monitors ?? []
        if (request.incident && !affected.every(({ monitor_tag }) => mayUse(key, monitor_tag)))
          throw new Error(`${what}: shows ${JSON.stringify(affected)}`)
      }
      const { rows } = await sql<{ used: number }>`
        select used from rate_counters where key_id = ${id}`.execute(replica.db)
      // A new window may have started meanwhile.
      if ((rows[0]?.used ?? 0) > counted)
        throw new Error(`${JSON.stringify(key)}: counted ${rows[0]?.used}, not ${counted}`)
    },
  )
  const outcome = await fc.check(property, { seed, numRuns: scaled(300) })
  if (outcome.failed)
    throw new Error(fc.defaultReportMessage(outcome) ?? 'failed', { cause: outcome.errorInstance })
  for (const status of [200, 401, 403, 404])
    t.ok((counts.get(status) ?? 0) > 10, `${status}: ${counts.get(status)}`)
})
