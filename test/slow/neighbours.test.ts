import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectSocket, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'
import { openDatabase } from '../../src/database/open.ts'
import { formatToken, generateTokenParts } from '../../src/keys/token.ts'
import type { Permission } from '../../src/permissions.ts'
import { createDatabase, newKey, times } from '../helper.ts'
import { ask } from './client.ts'
import type { NeighbourReport, NeighbourTask } from './neighbours-client.ts'
import { startServer } from './replicas.ts'
import { scaled } from './scale.ts'

/**
 * Bad neighbours beside a good key, with the default quota and settings. Clients are in other processes than the
 * server, so that they do not delay each other.
 */

const phaseMs = scaled(10_000)
/** Below the default quota of 100 requests per minute for each of the good keys. */
const goodKeys = 20
const intervalMs = 50
/** Measurements of which the best counts, because other work on the machine may slow one down. */
const attempts = 3

/** `more` are keys that no neighbour has used: a neighbour removes those that it uses. */
type Context = { origin: string; token: string; more: string[]; client: pg.Client }

/** Starts the bad neighbour. Returns a function that ends it. */
type Neighbour = (context: Context) => Promise<() => Promise<void> | void>

const year = { from: '2025-01-01T00:00:00Z', to: '2026-01-01T00:00:00Z', status: 'UP' }

/** Sends the same request on `clients` connections, one after the other on each. */
function repeat(clients: number, send: (client: number) => Promise<unknown>) {
  let over = false
  const running = times(clients, async (client) => {
    while (!over) {
      await send(client).catch(() => undefined)
      await delay(5)
    }
  })
  return async () => {
    over = true
    await running
  }
}

/** Runs statements in a transaction that stays open. */
function holdLocks(statement: string): Neighbour {
  return async ({ client }) => {
    await client.query(`begin; ${statement}`)
    return async () => {
      await client.query('rollback')
    }
  }
}

const neighbours: Record<string, Neighbour> = {
  'a key that fills a year of one monitor, 12 at a time': ({ origin, token }) =>
    Promise.resolve(
      repeat(12, () => ask(`${origin}/api/monitors/m1/data`, { key: token, method: 'PUT', body: year })),
    ),
  'keys that fill years of several monitors': ({ origin, more }) => {
    const keys = more.splice(0, 3)
    return Promise.resolve(
      repeat(12, (client) =>
        ask(`${origin}/api/monitors/m${client}/data`, {
          key: keys[client % keys.length] ?? '',
          method: 'PUT',
          body: year,
        }),
      ),
    )
  },
  '95 concurrent lists': ({ origin, token }) =>
    // Different ones, because requests for the same list share a statement.
    Promise.resolve(
      repeat(95, (client) => ask(`${origin}/api/monitors?enabled=true&limit=${client + 6}`, { key: token })),
    ),
  'a locked counter': async (context) => {
    await ask(`${context.origin}/api/me`, { key: context.token })
    const id = context.token.split('_')[1] ?? ''
    const unlock = await holdLocks(`select from rate_counters where key_id = '${id}' for update`)(context)
    const end = repeat(20, () => ask(`${context.origin}/api/me`, { key: context.token }))
    return async () => {
      await unlock()
      await end()
    }
  },
  'a locked monitor': async (context) => {
    const unlock = await holdLocks(`select from monitors where tag = 'm1' for update`)(context)
    const report = { method: 'POST', body: { status: 'UP' }, key: context.token }
    const end = repeat(20, () => ask(`${context.origin}/api/monitors/m1/data`, report))
    return async () => {
      await unlock()
      await end()
    }
  },
  'a reader that does not read its responses': async ({ origin, token }) => {
    const sockets = await times(20, async () => {
      const socket = connectSocket(Number(new URL(origin).port), '127.0.0.1')
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      socket.pause()
      const request = `GET /api/monitors?limit=100 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n\r\n`
      socket.write(request.repeat(4))
      return socket
    })
    return () => {
      sockets.forEach((socket: Socket) => socket.destroy())
    }
  },
  'an expensive rule': ({ origin, token }) => {
    const weeks = Array.from({ length: 53 }, (_, week) => week + 1).join(',')
    const body = {
      title: 'Upgrade',
      starts_at: '1999-01-01T00:00:00Z',
      duration_seconds: 60,
      rrule: `FREQ=YEARLY;BYWEEKNO=${weeks};BYDAY=MO,TU,WE,TH,FR,SA;BYSETPOS=366`,
    }
    return Promise.resolve(
      repeat(4, () => ask(`${origin}/api/maintenances`, { key: token, method: 'POST', body })),
    )
  },
  'an address that sends wrong secrets': ({ origin, token }) => {
    const id = token.split('_')[1] ?? ''
    const guess = () => formatToken({ ...generateTokenParts(), id })
    return Promise.resolve(repeat(40, () => ask(`${origin}/api/me`, { key: guess() })))
  },
  'a flood of keys that are used for the first time': ({ origin, more }) =>
    Promise.resolve(
      repeat(20, (client) => ask(`${origin}/api/me`, { key: more.splice(client % 10, 1)[0] ?? 'none' })),
    ),
}

/** Measures the good keys, in a process of their own. */
async function useGoodKeys(task: NeighbourTask): Promise<NeighbourReport> {
  const child = fork(join(import.meta.dirname, 'neighbours-client.js'), { execArgv: [] })
  child.send(task)
  const [report] = (await once(child, 'message')) as [NeighbourReport]
  return report
}

async function startAll() {
  const url = await createDatabase(t)
  const database = await openDatabase({ databaseUrl: url, databasePoolMax: 2, dataDir: '' })
  const { db } = database
  const permissions: Permission[] = ['read:monitors', 'write:monitors', 'read:incidents', 'write:incidents']
  const tokens: string[] = []
  for (let index = 0; index < 400 + goodKeys; index++) {
    tokens.push((await newKey({ db }, { permissions })).token)
  }
  await db
    .insertInto('monitors')
    .values(
      Array.from({ length: 200 }, (_, index) => ({
        tag: `m${index}`,
        name: `Monitor ${index}`,
        enabled: true,
        hidden: false,
        default_status: 'NO_DATA' as const,
        degraded_counts_as_down: false,
      })),
    )
    .execute()
  await database.close()
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  // The good keys have another address than the bad ones.
  const { origin } = await startServer(t, url, { TRUST_PROXY: '1' })
  return { origin, client, tokens }
}

const { origin, client, tokens } = await startAll()
const task = { origin, tokens: tokens.splice(0, goodKeys), durationMs: phaseMs, intervalMs }

for (const [name, start] of Object.entries(neighbours)) {
  await t.test(`a good key beside ${name}`, async (t) => {
    const alone = await useGoodKeys(task)
    const end = await start({ origin, token: tokens.shift() ?? '', more: tokens, client })
    await delay(500)
    t.comment(`alone: ${JSON.stringify(alone)}`)
    const maxMs = Math.max(100, alone.p99Ms * 3)
    let p99Ms = Infinity
    for (let attempt = 0; attempt < attempts && p99Ms > maxMs; attempt++) {
      const beside = await useGoodKeys(task)
      t.comment(`beside: ${JSON.stringify(beside)}`)
      t.same(Object.keys(beside.statuses), ['200'], 'the good key gets only 200')
      t.equal(beside.notReady, 0, '/readyz never fails')
      p99Ms = Math.min(p99Ms, beside.p99Ms)
    }
    await end()
    // The shared server has no autovacuum, and the next neighbour would measure what this one has left behind.
    await client.query('vacuum analyze')
    t.ok(p99Ms <= maxMs, `p99 ${p99Ms} ms, alone ${alone.p99Ms} ms`)
  })
}
