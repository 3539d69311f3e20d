import type { EventEmitter } from 'node:events'
import { Kysely, type LogEvent, PostgresDialect } from 'kysely'
import pg from 'pg'
import { ConnectFailure, isUnresponsive } from './failures.ts'
import { retryWhileLocked } from './locks.ts'
import { type ClientConfig, PreparedStatementClient } from './prepared.ts'
import type { Tables } from './schema.ts'
import { confirmPrimary } from './still-primary.ts'

/** State of the pools: all connections, idle ones, and statements waiting for one. */
export type Connections = { total: number; idle: number; waiting: number }

/**
 * After the server's own timeout of a statement, the time until the connection counts as broken: a slow statement is
 * cancelled by the server, and its connection is kept.
 */
export const unresponsiveMs = 500

export function openPool(
  poolConfig: pg.PoolConfig & ClientConfig,
  { onConnectionError }: { onConnectionError?: (error: Error) => void },
): pg.Pool {
  const pool = new pg.Pool({ ...poolConfig, Client: PreparedStatementClient })
  // Without listeners, an error of an idle connection would end the process.
  pool.on('error', (error) => {
    // pg adds the client, which contains all statements, and a secret that cancels them: neither belongs in the log.
    delete (error as { client?: unknown }).client
    onConnectionError?.(error)
  })
  // So would an error of a connection in use, whose query also fails.
  pool.on('connect', (client) => client.on('error', (error) => onConnectionError?.(error)))
  return pool
}

/** The pool is not closed with it. */
export function createKysely(
  pool: pg.Pool,
  { onStatement }: { onStatement?: (event: LogEvent) => void },
): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: new PostgresDialect({
      pool: {
        connect: () =>
          pool.connect().catch((error: unknown) => {
            throw new ConnectFailure(error)
          }),
        end: () => Promise.resolve(),
      },
    }),
    ...(onStatement && { log: onStatement }),
  })
}

/**
 * Runs a statement, or a whole transaction, again while another transaction holds a lock that it needs. In between it
 * has no connection. Kysely has no hook for this.
 */
export function rerunWhileLocked(db: Kysely<Tables>, maxWaitMs: number): void {
  const executor = db.getExecutor()
  const provide = executor.provideConnection.bind(executor)
  executor.provideConnection = (consumer) => retryWhileLocked(() => provide(consumer), maxWaitMs)
}

export function toConnections({ totalCount, idleCount, waitingCount }: pg.Pool): Connections {
  return { total: totalCount, idle: idleCount, waiting: waitingCount }
}

export function addConnections(one: Connections, other: Connections): Connections {
  return {
    total: one.total + other.total,
    idle: one.idle + other.idle,
    waiting: one.waiting + other.waiting,
  }
}

/**
 * After an error that makes a connection unusable, destroys the idle ones too, because each would fail a request. After
 * a missing response it checks them, because only some may be lost. Those that lead to a deposed primary fail the check:
 * otherwise a request that was admitted on a new connection could read from them.
 * @param pools of one server: a request uses connections of several pools, one after the other
 */
export function replaceBrokenConnections(pools: pg.Pool[]): void {
  const idle = new Set<PreparedStatementClient>()
  const checking = new Set<PreparedStatementClient>()

  async function check(client: PreparedStatementClient): Promise<void> {
    checking.add(client)
    // If there is no response, the client destroys its socket.
    await (client.query({ text: confirmPrimary, query_timeout: unresponsiveMs }) as Promise<unknown>).catch(
      () => undefined,
    )
    checking.delete(client)
  }

  const onBroken = (error: unknown) => {
    for (const client of idle) {
      if (!isUnresponsive(error)) client.destroySocket()
      else if (!checking.has(client)) void check(client)
    }
  }
  for (const pool of pools) {
    // The types of the pool do not reflect its `Client` option.
    const events = pool as unknown as EventEmitter<PoolEvents>
    events.on('connect', (client) => (client.onBroken = onBroken))
    events.on('release', (_error, client) => idle.add(client))
    events.on('acquire', (client) => idle.delete(client))
    events.on('remove', (client) => idle.delete(client))
  }
}

type PoolEvents = {
  connect: [PreparedStatementClient]
  release: [error: unknown, client: PreparedStatementClient]
  acquire: [PreparedStatementClient]
  remove: [PreparedStatementClient]
}
