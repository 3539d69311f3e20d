import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Test } from 'tap'
import { shareConnections } from '../../src/database/open.ts'
import { readMinutes } from '../../src/reports/hour-codec.ts'
import { times } from '../helper.ts'
import { cli, listening, type Running, start } from '../process.ts'
import { loadPauseMs } from './scale.ts'

/**
 * Clients that read and write without a pause during a fault of the database, and a ledger of all acknowledged writes,
 * to be compared with the database.
 */

const kinds = ['read', 'report', 'incident', 'key', 'revocation'] as const
type Kind = (typeof kinds)[number]

/** Longest response time, in every state of the database. */
const responseMsMax = 5_000
/** Longest recovery after the database accepts connections again. */
const recoveryMsMax = 2_000
/** Time after which the server has ended an idle session. */
const idleSessionMsMax = 16_000
/** Longest wait of a test. */
const waitMsMax = 30_000

export type Service = { server: Running; origin: string; key: string }

/** Starts a server on the database at `url` with very high rate limits, and creates an admin key. */
export async function startService(t: Test, url: string, env: Record<string, string> = {}): Promise<Service> {
  const created = await cli(t, ['keys', 'create', '--name', 'ops', '--permissions', 'admin'], {
    DATABASE_URL: url,
  })
  if (created.code !== 0) throw new Error(created.stderr)
  const server = start(t, 'server', [], { DATABASE_URL: url, PORT: '0', ...wide, ...env })
  return { server, origin: await listening(server), key: created.stdout.trim() }
}

/** Starts a service on the database at `url`, with a ledger and its monitor. */
export async function startWithLedger(t: Test, url: string, poolMax: number) {
  const service = await startService(t, url, { DATABASE_POOL_MAX: String(poolMax) })
  const ledger = createLedger()
  await createMonitor(service, ledger)
  return { service, ledger }
}

export const wide = {
  RATE_LIMIT_MAX: '1000000000',
  AUTH_FAILURE_LIMIT_MAX: '1000000000',
  PUBLIC_RATE_LIMIT_MAX: '1000000000',
}

type Body = { success: boolean; data?: Record<string, unknown>; error?: { code: string } }

/** Sends a request with the key, and reads the complete response. */
export async function send(
  { origin, key }: Pick<Service, 'origin' | 'key'>,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; headers: Headers; body: Body }> {
  const reply = await fetch(`${origin}/api${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: reply.status, headers: reply.headers, body: (await reply.json()) as Body }
}

export type Ledger = ReturnType<typeof createLedger>

/** The acknowledged writes. Each value is written once, so that a later write cannot hide a lost one. */
export function createLedger() {
  return {
    monitor: 'checked',
    /** Latencies by minute. Each report is a minute before the previous one. */
    reports: new Map<number, number>(),
    nextMinute: Math.floor(Date.now() / 60_000),
    incidents: new Map<number, string>(),
    nextTitle: 1,
    /** A revocation that was requested and not acknowledged may have been applied or not. */
    keys: new Map<string, { token: string; revocation: 'none' | 'requested' | 'acknowledged' }>(),
    nextName: 1,
  }
}

export async function createMonitor(service: Service, { monitor }: Ledger): Promise<void> {
  const { status } = await send(service, 'PUT', `/monitors/${monitor}`, { name: 'Checked' })
  if (status !== 200 && status !== 201) throw new Error(`The monitor was not created: ${status}`)
}

export type Load = ReturnType<typeof startLoad>

/** @param cutsAllowed accepts requests without a response, for tests that kill the server itself */
export function startLoad(
  t: Test,
  service: Service,
  ledger: Ledger,
  { clients = 24, cutsAllowed = false } = {},
) {
  const counts = new Map<string, number>()
  const irregular: string[] = []
  /** Start of the latest successful request, by kind. */
  const served = new Map<Kind, number>()
  let slowestMs = 0
  let lastRejectedAt = 0
  let over = false

  const write: Record<Kind, () => Promise<number>> = {
    read: () => ask('read', 'GET', '/me', undefined, () => undefined),
    report: () => {
      const minute = ledger.nextMinute--
      const latency = randomInt(86_400_001)
      const timestamp = new Date(minute * 60_000).toISOString()
      const report = { status: 'UP', latency_ms: latency, timestamp }
      return ask('report', 'POST', `/monitors/${ledger.monitor}/data`, report, () => {
        ledger.reports.set(minute, latency)
      })
    },
    incident: () => {
      const title = `Outage ${ledger.nextTitle++}`
      const incident = {
        title,
        monitors: [{ monitor_tag: ledger.monitor, impact: 'DOWN' }],
        comment: 'It begins',
      }
      return ask('incident', 'POST', '/incidents', incident, ({ id }) => {
        ledger.incidents.set(id as number, title)
      })
    },
    key: () => {
      const attributes = { name: `key ${ledger.nextName++}`, permissions: ['read:monitors'] }
      return ask('key', 'POST', '/keys', attributes, ({ id, key }) => {
        ledger.keys.set(id as string, { token: key as string, revocation: 'none' })
      })
    },
    revocation: async () => {
      const keys = [...ledger.keys]
      const [id, key] = keys.findLast(([, { revocation }]) => revocation !== 'acknowledged') ?? []
      if (id === undefined || key === undefined) return write.key()
      key.revocation = 'requested'
      return ask('revocation', 'POST', `/keys/${id}/revoke`, {}, () => {
        key.revocation = 'acknowledged'
      })
    },
  }

  async function ask(
    kind: Kind,
    method: string,
    path: string,
    body: object | undefined,
    acknowledge: (data: Record<string, unknown>) => void,
  ): Promise<number> {
    const began = performance.now()
    const reply = await send(service, method, path, body).catch((error: unknown) => {
      if (!cutsAllowed) irregular.push(`${kind}: ${String(error)}`)
    })
    const ended = performance.now()
    slowestMs = Math.max(slowestMs, ended - began)
    if (!reply) return 0
    const { status, headers } = reply
    counts.set(`${kind} ${status}`, (counts.get(`${kind} ${status}`) ?? 0) + 1)
    if (!isRegular(reply)) irregular.push(`${kind}: ${status} ${JSON.stringify(reply.body)}`)
    if (status === 503) lastRejectedAt = ended
    if (status === 200 || status === 201) {
      acknowledge(reply.body.data ?? {})
      served.set(kind, Math.max(served.get(kind) ?? 0, began))
    }
    return headers.has('retry-after') ? status : 0
  }

  const running = Array.from({ length: clients }, async (_, index) => {
    const kind = kinds[index % kinds.length] ?? 'read'
    while (!over) {
      const rejected = await write[kind]()
      // Without a delay, clients would spend all CPU time on rejected requests.
      if (rejected || loadPauseMs > 0) await delay(Math.max(20, loadPauseMs))
    }
  })

  async function stop() {
    over = true
    await Promise.all(running)
  }
  t.teardown(stop)

  async function until(what: string, isMissing: (kind: Kind) => boolean): Promise<void> {
    for (const deadline = performance.now() + waitMsMax; ;) {
      const missing = kinds.filter(isMissing)
      if (missing.length === 0) return
      if (performance.now() > deadline) {
        throw new Error(`${what} none of ${missing.join(', ')}; irregular: ${irregular[0] ?? 'nothing'}`)
      }
      await delay(5)
    }
  }

  /** Waits until a request of every kind that started after `moment` succeeds. */
  function untilServed(moment = performance.now()): Promise<void> {
    return until('Served was', (kind) => (served.get(kind) ?? 0) <= moment)
  }

  return {
    irregular,
    untilServed,
    /** Waits until requests of every kind are rejected, so that the fault has taken effect. */
    untilRejected: () => {
      const before = new Map(counts)
      const rejections = (kind: Kind) => (counts.get(`${kind} 503`) ?? 0) - (before.get(`${kind} 503`) ?? 0)
      return until('Rejected was', (kind) => rejections(kind) === 0)
    },
    /**
     * Checks that all kinds of requests succeed soon after the database accepts connections, and none fails from then
     * on.
     */
    checkRecovery: async (t: Test, since: number) => {
      await untilServed(since)
      await delay(since + recoveryMsMax + 500 - performance.now())
      const ms = Math.max(0, lastRejectedAt - since)
      t.ok(ms <= recoveryMsMax, `recovered ${Math.round(ms)} ms after the database`)
    },
    stop,
    /** Call it after stop. */
    check: (t: Test) => {
      const all = [...counts].sort(([a], [b]) => a.localeCompare(b))
      t.comment(`responses: ${all.map(([name, count]) => `${name}: ${count}`).join(', ')}`)
      t.comment(`slowest response: ${Math.round(slowestMs)} ms`)
      t.same(irregular.slice(0, 10), [], 'only expected responses')
      t.ok(slowestMs <= responseMsMax, `no response is slower than ${responseMsMax} ms`)
      t.ok(service.server.child.exitCode === null || cutsAllowed, 'the process is running')
      t.equal(service.server.output.stderr, '', 'nothing on stderr')
      t.notMatch(service.server.output.stdout, /"level":[56]0/, 'no error in the log')
    },
  }
}

function isRegular({ status, headers, body }: Awaited<ReturnType<typeof send>>): boolean {
  const retry = /^\d+$/.test(headers.get('retry-after') ?? '')
  if (!headers.has('x-request-id')) return false
  if (status === 200 || status === 201) return body.success
  if (status === 429) return retry && body.error?.code === 'RATE_LIMIT_EXCEEDED'
  return status === 503 && retry && body.error?.code === 'SERVICE_UNAVAILABLE' && !body.success
}

/**
 * Stops the load, and checks that there were only expected responses, that no acknowledged write is lost, and that the
 * pool is intact.
 * @param url of a role that can see all sessions
 */
export async function checkAftermath(
  t: Test,
  { load, service, ledger, url, poolMax }: Aftermath,
): Promise<void> {
  await load.stop()
  load.check(t)
  await checkBySql(t, url, ledger)
  await checkByApi(t, service, ledger)
  await checkPool(t, service, url, poolMax)
}

type Aftermath = { load: Load; service: Service; ledger: Ledger; url: string; poolMax: number }

/** Compares the ledger with the API. */
export async function checkByApi(t: Test, service: Service, ledger: Ledger): Promise<void> {
  const from = new Date(ledger.nextMinute * 60_000).toISOString()
  const data = `/monitors/${ledger.monitor}/data?from=${from}`
  const minutes = await readPages(service, `${data}&limit=10000`)
  const days = await readPages(service, `${data}&interval=day&limit=10000`)
  const latencies = new Map(
    minutes.map(({ timestamp, latency_ms }) => [Date.parse(String(timestamp)) / 60_000, latency_ms]),
  )
  const lostReports = [...ledger.reports].filter(([minute, latency]) => latencies.get(minute) !== latency)
  const inDays = days.reduce((sum, { up }) => sum + Number(up), 0)
  t.equal(inDays, minutes.length, 'daily totals match the minutes')

  const incidents = await readPages(service, '/incidents?limit=100')
  const titles = new Map(incidents.map(({ id, title }) => [id, title]))
  const lostIncidents = [...ledger.incidents].filter(([id, title]) => titles.get(id) !== title)

  const keys = [...ledger.keys.values()]
  const lostKeys: string[] = []
  for (let at = 0; at < keys.length; at += 20) {
    const some = keys.slice(at, at + 20)
    await times(some.length, async (index) => {
      const { token, revocation } = some[index] ?? { token: '', revocation: 'none' }
      const { status, body } = await send({ ...service, key: token }, 'GET', '/me')
      const isRevoked = status === 401 && body.error?.code === 'KEY_REVOKED'
      const isExpected = {
        none: status === 200,
        requested: status === 200 || isRevoked,
        acknowledged: isRevoked,
      }
      if (!isExpected[revocation]) lostKeys.push(`${revocation}: ${status}`)
    })
  }
  report(t, 'by the API', ledger, { reports: lostReports, incidents: lostIncidents, keys: lostKeys })
}

async function readPages(service: Service, path: string): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = []
  for (let cursor: string | null = ''; cursor !== null;) {
    const { status, body } = await send(service, 'GET', path + (cursor && `&cursor=${cursor}`))
    const page = body as unknown as Page
    if (status !== 200) throw new Error(`${path}: ${status}`)
    rows.push(...page.data)
    cursor = page.pagination.next_cursor
  }
  return rows
}

type Page = { data: Record<string, unknown>[]; pagination: { next_cursor: string | null } }

/** Compares the ledger with the tables, and checks that no write was partial. */
async function checkBySql(t: Test, url: string, ledger: Ledger): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const hours = await client.query<{ hour: number; statuses: Buffer; latencies: Buffer }>(
    'select hour, statuses, latencies from monitor_hours',
  )
  const incidents = await client.query<{ id: number; title: string; parts: string }>(
    `select id, title,
      (select count(*) from incident_comments where incident_id = incidents.id)
        || ' ' || (select count(*) from incident_monitors where incident_id = incidents.id) as parts
    from incidents`,
  )
  const keys = await client.query<{ id: string; revoked: boolean }>(
    'select id, revoked_at is not null as revoked from api_keys',
  )
  await client.end()

  const latencies = new Map(
    hours.rows.flatMap(({ hour, ...data }) =>
      readMinutes(data, 0, 60).map((found) => [hour * 60 + found.minute, found.latency_ms]),
    ),
  )
  const titles = new Map(incidents.rows.map(({ id, title }) => [id, title]))
  const revoked = new Map(keys.rows.map((row) => [row.id, row.revoked]))
  report(t, 'by SQL', ledger, {
    reports: [...ledger.reports].filter(([minute, latency]) => latencies.get(minute) !== latency),
    incidents: [...ledger.incidents].filter(([id, title]) => titles.get(id) !== title),
    keys: [...ledger.keys].filter(
      ([id, { revocation }]) =>
        revoked.get(id) !== (revocation === 'acknowledged') && revocation !== 'requested',
    ),
  })
  const halves = incidents.rows.filter(({ parts }) => parts !== '1 1')
  t.same(halves, [], 'every incident has its comment and its monitor')
}

function report(
  t: Test,
  how: string,
  { reports, incidents, keys }: Ledger,
  lost: { reports: unknown[]; incidents: unknown[]; keys: unknown[] },
): void {
  const revocations = [...keys.values()].filter(({ revocation }) => revocation === 'acknowledged').length
  const lostCount = lost.reports.length + lost.incidents.length + lost.keys.length
  t.comment(
    `acknowledged: ${reports.size} reports, ${incidents.size} incidents, ${keys.size} keys, ` +
      `${revocations} revocations; lost, ${how}: ${lostCount}`,
  )
  for (const [name, missing] of Object.entries(lost)) {
    t.same(missing.slice(0, 5), [], `${how}: no acknowledged write is lost (${name})`)
  }
}

/**
 * Checks that the pool is intact: all its connections can run statements at the same time, there are no further
 * connections, and none is left in a transaction.
 */
async function checkPool(t: Test, service: Service, url: string, max: number): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const count = async (condition: string) => {
    const { rows } = await client.query<{ count: number }>(
      `select count(*)::integer from pg_stat_activity where application_name = 'kener-api' and ${condition}`,
    )
    return rows[0]?.count ?? 0
  }
  async function untilCount(
    condition: string,
    isRight: (count: number) => boolean,
    msMax = 2_000,
  ): Promise<number> {
    for (const deadline = performance.now() + msMax; ;) {
      const found = await count(condition)
      if (isRight(found) || performance.now() > deadline) return found
      await delay(5)
    }
  }

  // The server keeps a connection without a client until the idle timeout.
  const connections = await untilCount('true', (found) => found <= max, idleSessionMsMax)
  t.ok(connections <= max, `${connections} connections to the server, of ${max}`)
  const left = await untilCount("state like 'idle in transaction%'", (found) => found === 0)
  t.equal(left, 0, 'no connection is left in a transaction')
  // Each filtered list of incidents is a separate statement that waits for the lock on the table: requests for the same one,
  // and pages of the whole list, would share it. A key has half of the connections, so that two are needed. Retries, because
  // a statement waits only briefly on a connection, and because on a busy machine, opening connections may take longer than
  // the statement timeout.
  const { main } = shareConnections(max)
  const { body } = await send(service, 'POST', '/keys', { name: 'second', permissions: ['admin'] })
  const keys = [service.key, String(body.data?.key)]
  const list = () =>
    times(main, (index) =>
      send({ ...service, key: keys[index % 2] ?? '' }, 'GET', `/incidents?open=true&limit=${index + 1}`),
    )
  let waiting = 0
  let statuses: number[] = []
  for (let tries = 0; (waiting < main || statuses.some((status) => status !== 200)) && tries < 10; tries++) {
    // Opens the connections.
    await list()
    await client.query('begin; lock table incidents in access exclusive mode')
    const asked = list()
    waiting = await untilCount("wait_event_type = 'Lock'", (found) => found === main, 1_000)
    await client.query('rollback')
    statuses = (await asked).map(({ status }) => status)
  }
  const used = await untilCount('true', (found) => found <= max, idleSessionMsMax)
  await client.end()
  t.equal(waiting, main, 'all connections for requests run a statement at the same time')
  t.ok(used <= max, `no further connections: ${used}`)
  t.same(statuses, Array<number>(main).fill(200), 'all requests succeed')
}
