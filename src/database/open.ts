import type { EventEmitter } from 'node:events'
import { Kysely, type LogEvent, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import type { Config } from '../config.ts'
import { OperatorError } from '../operator-error.ts'
import { ConnectFailure, isUnresponsive } from './failures.ts'
import { lockTimeouts, retryWhileLocked } from './locks.ts'
import { migrate } from './migrate.ts'
import { PreparedStatementClient } from './prepared.ts'
import type { Tables } from './schema.ts'

export type Database = {
  /** For everything except admission. */
  db: Kysely<Tables>
  /**
   * For what every request needs (keys, quotas, panel sessions) and readiness, so that they never wait for a connection
   * that other statements use. The same as `db` if there is only one connection.
   */
  admissionDb: Kysely<Tables>
  /** Names of the migrations that were applied on opening. */
  applied: string[]
  /** Longest wait, in memory, for a lock that another transaction holds. */
  maxLockWaitMs: number
  connections: () => Connections
  close: () => Promise<void>
}

/** State of the pools: all connections, idle ones, and statements waiting for one. */
export type Connections = { total: number; idle: number; waiting: number }

/** The longest wait for a connection, for a statement, and, again, for locks that other transactions hold. */
export const requestTimeouts: Timeouts = { connectMs: 2_000, statementMs: 2_000 }

type Timeouts = { connectMs: number; statementMs: number }

/**
 * After the server's own timeout of a statement, the time until the connection counts as broken: a slow statement is
 * cancelled by the server, and its connection is kept.
 */
const unresponsiveMs = 500

/** Longer than the 10 s after which the pool closes an idle connection itself. */
const idleSessionTimeoutMs = 15_000

const minVersion = 14

type Options = {
  /** By default requestTimeouts. */
  timeouts?: Timeouts
  /** Called before each step that may take seconds, with a message for the operator. */
  onProgress?: ((message: string) => void) | undefined
  onConnectionError?: (error: Error) => void
  onStatement?: (event: LogEvent) => void
}

/**
 * Opens the database that the configuration names, embedded or a server, and brings its schema up to date.
 * @throws OperatorError
 */
export async function openDatabase(
  config: Pick<Config, 'databaseUrl' | 'databasePoolMax' | 'dataDir'>,
  options: Options = {},
): Promise<Database> {
  return config.databaseUrl === undefined
    ? openInProcess(config.dataDir, options)
    : openServer(config.databaseUrl, config.databasePoolMax, options)
}

async function openInProcess(dataDir: string, options: Options): Promise<Database> {
  // Loaded only if it is used, because it takes about 0.5 GB of memory.
  const { openEmbedded } = await import('./embedded.ts')
  const embedded = await openEmbedded(dataDir, options.onProgress)
  const pool = openPool(embedded.poolConfig, options)
  const db = createKysely(pool, options)
  return {
    db,
    admissionDb: db,
    applied: await migrate(db, options.onProgress),
    maxLockWaitMs: requestTimeouts.statementMs,
    connections: () => toConnections(pool),
    close: async () => {
      await pool.end()
      await embedded.close()
    },
  }
}

async function openServer(connectionString: string, max: number, options: Options): Promise<Database> {
  const { connectMs, statementMs } = options.timeouts ?? requestTimeouts
  const target = { connectionString, application_name: 'kener-api', keepAlive: true }
  const applied = await prepareServer(target, options)
  const open = (share: number, lockMs: number) =>
    openPool(
      {
        ...target,
        max: share,
        connectionTimeoutMillis: connectMs,
        query_timeout: statementMs + unresponsiveMs,
        onConnect: onConnect(`${sessionSettings};${requestSettings(statementMs, lockMs)}`),
      },
      options,
    )
  const admissionMax = admissionShare(max)
  const main = open(max - admissionMax, lockTimeouts.mainMs)
  const admission = admissionMax === 0 ? main : open(admissionMax, lockTimeouts.admissionMs)
  const db = createKysely(main, options)
  rerunWhileLocked(db, statementMs)
  const pools = [...new Set([main, admission])]
  return {
    db,
    admissionDb: createKysely(admission, options),
    applied,
    maxLockWaitMs: statementMs,
    connections: () => pools.map(toConnections).reduce(addConnections),
    close: async () => {
      await Promise.all(pools.map((pool) => pool.end()))
    },
  }
}

/** Returns how many of the connections are for admission: a third, 3 at most. A single one is shared. */
export function admissionShare(max: number): number {
  return max === 1 ? 0 : Math.max(1, Math.min(3, Math.floor(max / 3)))
}

function toConnections({ totalCount, idleCount, waitingCount }: pg.Pool): Connections {
  return { total: totalCount, idle: idleCount, waiting: waitingCount }
}

function addConnections(one: Connections, other: Connections): Connections {
  return {
    total: one.total + other.total,
    idle: one.idle + other.idle,
    waiting: one.waiting + other.waiting,
  }
}

/** Uses a connection without statement timeout, because a migration may take long. */
async function prepareServer(target: pg.PoolConfig, { onProgress }: Options): Promise<string[]> {
  const pool = openPool(
    { ...target, max: 1, connectionTimeoutMillis: 5_000, onConnect: onConnect(sessionSettings) },
    {},
  )
  const db = createKysely(pool, {})
  try {
    await checkServer(db)
    return await migrate(db, onProgress)
  } catch (error) {
    throw error instanceof OperatorError ? error : new OperatorError(explain(error), { cause: error })
  } finally {
    await pool.end()
  }
}

async function checkServer(db: Kysely<Tables>): Promise<void> {
  const { rows } = await sql<{ version: string; encoding: string }>`
    select current_setting('server_version') as version, current_setting('server_encoding') as encoding`.execute(
    db,
  )
  const { version, encoding } = rows[0] ?? { version: '', encoding: '' }
  if (Number.parseInt(version) < minVersion) {
    throw new OperatorError(`DATABASE_URL is PostgreSQL ${version}, but ${minVersion} or newer is required`)
  }
  if (encoding !== 'UTF8') {
    throw new OperatorError(
      `The database at DATABASE_URL has the encoding ${encoding}, but UTF8 is required: ` +
        "create it with ENCODING 'UTF8' TEMPLATE template0",
    )
  }
}

function explain(error: unknown): string {
  return `The database at DATABASE_URL cannot be used: ${error instanceof Error ? error.message : String(error)}`
}

function openPool(poolConfig: pg.PoolConfig, { onConnectionError }: Options): pg.Pool {
  const pool = new pg.Pool({ ...poolConfig, Client: PreparedStatementClient })
  // Without listeners, an error of an idle connection would end the process.
  pool.on('error', (error) => onConnectionError?.(error))
  // So would an error of a connection in use, whose query also fails.
  pool.on('connect', (client) => client.on('error', (error) => onConnectionError?.(error)))
  replaceBrokenConnections(pool)
  return pool
}

/** The pool is not closed with it. */
function createKysely(pool: pg.Pool, { onStatement }: Options): Kysely<Tables> {
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
function rerunWhileLocked(db: Kysely<Tables>, maxWaitMs: number): void {
  const executor = db.getExecutor()
  const provide = executor.provideConnection.bind(executor)
  executor.provideConnection = (consumer) => retryWhileLocked(() => provide(consumer), maxWaitMs)
}

/**
 * After an error that makes a connection unusable, destroys the idle ones too, because each would fail a request. After
 * a missing response it checks them, because only some may be lost.
 */
function replaceBrokenConnections(pool: pg.Pool): void {
  const idle = new Set<PreparedStatementClient>()
  const checking = new Set<PreparedStatementClient>()

  async function check(client: PreparedStatementClient): Promise<void> {
    checking.add(client)
    // If there is no response, the client destroys its socket.
    await (client.query({ text: 'select', query_timeout: unresponsiveMs }) as Promise<unknown>).catch(
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
  // The types of the pool do not reflect its `Client` option.
  const events = pool as unknown as EventEmitter<PoolEvents>
  events.on('connect', (client) => (client.onBroken = onBroken))
  events.on('release', (_error, client) => idle.add(client))
  events.on('acquire', (client) => idle.delete(client))
  events.on('remove', (client) => idle.delete(client))
}

type PoolEvents = {
  connect: [PreparedStatementClient]
  release: [error: unknown, client: PreparedStatementClient]
  acquire: [PreparedStatementClient]
  remove: [PreparedStatementClient]
}

/**
 * Settings on which statements and their results rely, for each connection, because the server, the database and the
 * role may have other defaults. default_transaction_read_only is left out: it is an operator's way to stop all writes.
 *
 * Time zone: times in JSON are in the session's zone, where the end of 9999 may be in the year 10000, which is invalid.
 *
 * jit: compiling a statement takes longer than executing it.
 *
 * transaction_timeout exists since PostgreSQL 17.
 */
const sessionSettings = `
  set datestyle = 'ISO, YMD';
  set intervalstyle = 'postgres';
  set timezone = 'UTC';
  set bytea_output = 'hex';
  set extra_float_digits = 1;
  set standard_conforming_strings = on;
  set array_nulls = on;
  set default_transaction_isolation = 'read committed';
  set default_transaction_deferrable = off;
  set jit = off;
  set statement_timeout = 0;
  set lock_timeout = 0;
  set idle_in_transaction_session_timeout = 0;
  select set_config('transaction_timeout', '0', false) where current_setting('server_version_num')::integer >= 170000`

/**
 * Settings of connections that serve requests.
 *
 * Idle timeouts: the server ends a session without a client, because a firewall may drop a connection without informing
 * either side, and an open transaction would keep its locks for hours.
 *
 * Generic plans: by default PostgreSQL plans statements for one key or monitor at every execution, which takes longer
 * than the execution. Only statements that write reports are faster with custom plans (docs/decisions/0009). The
 * embedded database keeps the default, because it never analyzes tables, and generic plans made for small tables would
 * persist.
 */
const requestSettings = (statementMs: number, lockMs: number) => `
  set statement_timeout = ${statementMs};
  set lock_timeout = ${lockMs};
  set idle_in_transaction_session_timeout = ${statementMs + unresponsiveMs};
  set idle_session_timeout = ${idleSessionTimeoutMs};
  set plan_cache_mode = force_generic_plan`

/** Sends settings in one round trip. Poolers accept them, unlike startup parameters. */
function onConnect(settings: string): NonNullable<pg.PoolConfig['onConnect']> {
  // The pool awaits the result, which its types do not declare.
  return ((client: pg.ClientBase) => client.query(settings)) as (client: pg.ClientBase) => void
}
