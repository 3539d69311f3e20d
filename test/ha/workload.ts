import { randomInt, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type Answer, ask, keepAlive } from '../slow/client.ts'
import { responseMsMax } from './checker.ts'
import { query, role, until } from './cluster.ts'
import {
  type KeyUse,
  type Operation,
  type Sample,
  type Transition,
  transitions,
  type Write,
} from './history.ts'
import { pace } from './pace.ts'

/** After this time, a client gives up: later than the longest allowed response time. */
const clientTimeoutMs = responseMsMax * pace.patience + 1_000
const { pauseMs } = pace
/** A statement that takes longer counts as failed. */
const sampleTimeoutMs = 1_000

/** Limit of the keys whose windows are counted, per minute. */
export const testedLimit = 60
/** Limits of a key before and after it is lowered, which no client reaches. */
export const loweredLimits = { before: 50_000, after: 40_000 }
export const changedPermissions = { before: ['read:incidents', 'read:monitors'], after: ['read:monitors'] }

export type Workload = {
  operations: Operation[]
  samples: Sample[]
  /** Waits until a request of each client that started from now on is served. */
  untilServed: () => Promise<void>
  stop: () => Promise<void>
}

type Key = { id: string; token: string; limit: number }
type Sent = Answer | undefined
/** An operation without its times and its response. */
type Described =
  Write | { kind: 'change'; key: string; transition: Transition } | Pick<KeyUse, 'kind' | 'key' | 'limit'>

/**
 * Starts clients of all replicas: writers, clients that change keys and use them afterwards, and callers with limited
 * keys. Each waits for its response before it sends the next request.
 * @param name is part of the names of all that they create. The monitors of the replicas exist.
 */
export async function startWorkload(
  { origins, adminKey, databasePort }: { origins: string[]; adminKey: string; databasePort: number },
  name: string,
): Promise<Workload> {
  const operations: Operation[] = []
  const samples: Sample[] = []
  /** Start of the latest request that was served, by client. */
  const servedAt = new Map<string, number>()
  let over = false
  const isOver = () => over
  let created = 0

  async function send(
    client: string,
    replica: number,
    described: Described,
    request: { token?: string; method?: string; path: string; body?: object; idempotencyKey?: string },
  ): Promise<Sent> {
    const { token = adminKey, method = 'POST', path, body, idempotencyKey } = request
    const startedAt = performance.now()
    const answer = await ask(`${origins[replica] ?? ''}/api${path}`, {
      key: token,
      method,
      body,
      ...(idempotencyKey !== undefined && { headers: { 'idempotency-key': idempotencyKey } }),
      agent: agentOf(client, replica),
      signal: AbortSignal.timeout(clientTimeoutMs),
    }).catch(() => undefined)
    const status = answer?.status ?? null
    const outcome = {
      replica,
      startedAt,
      endedAt: performance.now(),
      status,
      irregularity: irregularityOf(answer),
    }
    if (described.kind === 'use') {
      const [seenLimit, window] = ['x-ratelimit-limit', 'x-ratelimit-reset'].map((header) => {
        const value = answer?.headers[header]
        return value === undefined ? null : Number(value)
      })
      operations.push({ ...described, ...outcome, seenLimit: seenLimit ?? null, window: window ?? null })
    } else {
      operations.push({ ...described, ...outcome })
    }
    // 429 too: the callers exceed their limit most of the time.
    if (status !== null && status < 500) servedAt.set(client, startedAt)
    return answer
  }

  const agents = new Map<string, ReturnType<typeof keepAlive>>()
  function agentOf(client: string, replica: number) {
    const agent = agents.get(`${client} ${replica}`) ?? keepAlive()
    agents.set(`${client} ${replica}`, agent)
    return agent
  }

  /** Repeats each write, at the next replica, until its outcome is known. */
  async function write(kind: Write['kind'], first: number): Promise<void> {
    const client = `${kind} ${first}`
    servedAt.set(client, 0)
    while (!isOver()) {
      const { path, body, text } = nextWrite(kind, monitorName(name, first))
      const idempotencyKey = randomUUID()
      for (let tries = 0; !isOver(); tries++) {
        const replica = (first + tries) % origins.length
        const answer = await send(client, replica, { kind, name: text }, { path, body, idempotencyKey })
        await delay(pauseMs)
        if (answer && answer.status < 500 && !answer.headers['retry-after']) break
      }
    }
  }

  let minute = Math.floor(Date.now() / 60_000)
  function nextWrite(kind: Write['kind'], monitor: string): { path: string; body: object; text: string } {
    if (kind === 'report') {
      // Each is a minute before the previous one, so that a later report cannot hide a lost one.
      const report = { status: 'UP', latency_ms: randomInt(86_400_001), timestamp: toTime(--minute) }
      return { path: `/monitors/${monitor}/data`, body: report, text: `${minute} ${report.latency_ms}` }
    }
    const text = `${name} ${kind} ${++created}`
    if (kind === 'key') return { path: '/keys', body: { name: text, permissions: ['read:monitors'] }, text }
    const monitors = [{ monitor_tag: monitor, impact: 'DOWN' }]
    return { path: '/incidents', body: { title: text, monitors, comment: 'It begins' }, text }
  }

  async function createKey(body: { rate_limit: number; permissions: string[] }): Promise<Key | undefined> {
    const text = `${name} tested ${++created}`
    const path = '/keys'
    const described = { kind: 'key', name: text } as const
    const answer = await send('keys', created % origins.length, described, {
      path,
      body: { ...body, name: text },
    })
    if (answer?.status !== 201) return undefined
    const { id, key } = JSON.parse(answer.body).data
    return { id, token: key, limit: body.rate_limit }
  }

  function use(client: string, { id, token, limit }: Key, replica: number, path = '/me'): Promise<Sent> {
    return send(client, replica, { kind: 'use', key: id, limit }, { token, method: 'GET', path })
  }

  /** Changes keys that have existed for some time, and uses each on all replicas as soon as the change is acknowledged. */
  async function changeKeys(transition: Transition, stock: Key[]): Promise<void> {
    const client = `change ${transition}`
    servedAt.set(client, 0)
    const path = transition === 'narrowed' ? '/incidents?limit=1' : '/me'
    const useEverywhere = (key: Key) =>
      Promise.all(origins.map((_, replica) => use(client, key, replica, path)))
    for (let round = 0; !isOver(); round++) {
      const next = await createKey(newTestedKey)
      if (next) stock.push(next)
      await delay(pauseMs)
      const key = stock.shift()
      if (!key) continue
      await useEverywhere(key)
      for (let tries = 0; !isOver(); tries++) {
        const replica = (round + tries) % origins.length
        const described = { kind: 'change', key: key.id, transition } as const
        const answer = await send(client, replica, described, toRequest(transition, key))
        if (answer?.status === 200) break
        await delay(pauseMs)
      }
      for (let times = 0; times < 3; times++) {
        await useEverywhere(key)
        await delay(pauseMs)
      }
    }
  }

  async function call(key: Key, replica: number): Promise<void> {
    const client = `call ${replica}`
    while (!isOver()) {
      await use(client, key, replica)
      await delay(pauseMs)
    }
  }

  /** Measures when the cluster itself accepts writes. */
  async function sample(): Promise<void> {
    while (!isOver()) {
      const startedAt = performance.now()
      const rows = await query(databasePort, role, role, identifyServer, sampleTimeoutMs).catch(() => [])
      const server = rows[0]?.server
      samples.push({
        startedAt,
        endedAt: performance.now(),
        server: typeof server === 'string' ? server : null,
      })
      await delay(pauseMs)
    }
  }

  const stock = await Promise.all(transitions.map(async () => createKeys(4, () => createKey(newTestedKey))))
  const [limited] = await createKeys(1, () => createKey({ ...newTestedKey, rate_limit: testedLimit }))
  if (!limited) throw new Error('The limited key was not created')
  const running = [
    ...origins.flatMap((_, replica) => [
      write('report', replica),
      write('incident', replica),
      write('key', replica),
      call(limited, replica),
    ]),
    ...transitions.map((transition, index) => changeKeys(transition, stock[index] ?? [])),
    sample(),
  ]

  return {
    operations,
    samples,
    untilServed: async () => {
      const since = performance.now()
      await until('every client is served', () => [...servedAt.values()].every((at) => at >= since))
    },
    stop: async () => {
      over = true
      await Promise.all(running)
      for (const agent of agents.values()) agent.destroy()
    },
  }
}

/** Writers of different replicas use different monitors, so that they do not wait for each other's locks. */
export function monitorName(name: string, replica: number): string {
  return `${name}-${replica}`
}

/** The emitted message makes it a write, whose commit waits for the synchronous standby. */
const identifyServer = `
  select pg_logical_emit_message(true, 'test', ''),
    left(pg_walfile_name(pg_current_wal_lsn()), 8) || ' ' || pg_postmaster_start_time() as server`

const newTestedKey = { rate_limit: loweredLimits.before, permissions: changedPermissions.before }

function toRequest(transition: Transition, { id }: Key): { method?: string; path: string; body?: object } {
  const path = `/keys/${id}`
  switch (transition) {
    case 'revoked':
      return { path: `${path}/revoke` }
    case 'narrowed':
      return { method: 'PATCH', path, body: { permissions: changedPermissions.after } }
    case 'expired':
      return { method: 'PATCH', path, body: { expires_at: new Date().toISOString() } }
    case 'limited':
      return { method: 'PATCH', path, body: { rate_limit: loweredLimits.after } }
  }
}

/** Tries again until there are that many. */
async function createKeys(count: number, create: () => Promise<Key | undefined>): Promise<Key[]> {
  const keys: Key[] = []
  while (keys.length < count) {
    const key = await create()
    if (key) keys.push(key)
    else await delay(pauseMs)
  }
  return keys
}

function toTime(minute: number): string {
  return new Date(minute * 60_000).toISOString()
}

const regularErrors: Record<number, string[]> = {
  400: ['INVALID_REQUEST'],
  401: ['KEY_REVOKED', 'KEY_EXPIRED'],
  403: ['FORBIDDEN'],
  409: ['CONFLICT'],
  429: ['RATE_LIMIT_EXCEEDED'],
  503: ['SERVICE_UNAVAILABLE'],
}

function irregularityOf(answer: Sent): string | null {
  if (!answer) return null
  const { status, headers, body } = answer
  const shown = `${status} ${body.slice(0, 200)}`
  if (headers['x-request-id'] === undefined) return `no X-Request-Id: ${shown}`
  const { success, error } = JSON.parse(body)
  if (status === 200 || status === 201) return success === true ? null : shown
  if ((status === 503 || status === 429) && !/^\d+$/.test(headers['retry-after'] ?? ''))
    return `no Retry-After: ${shown}`
  return regularErrors[status]?.includes(error?.code) ? null : shown
}
