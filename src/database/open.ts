import type { EventEmitter } from 'node:events'
import { Kysely, type LogEvent, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import type { Config } from '../config.ts'
import { OperatorError } from '../operator-error.ts'
import { migrate } from './migrate.ts'
import { PreparedStatementClient } from './prepared.ts'
import type { Tables } from './schema.ts'

export type Database = {
  db: Kysely<Tables>
  /** Names of the migrations that were applied on opening. */
  applied: string[]
  connections: () => Connections
  close: () => Promise<void>
}

/** How many there are, how many of these are free, and how many statements wait for one. */
export type Connections = { total: number; idle: number; waiting: number }

/**
 * A request waits no longer than these together for a database that does not answer (twice the latter on a new
 * connection).
 */
export const requestTimeouts: Timeouts = { connectMs: 2_000, statementMs: 2_500 }

type Timeouts = { connectMs: number; statementMs: number }

/** Longer than the 10 s after which the pool gives up an idle connection itself. */
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
  // Only when it is wanted: it is a whole database.
  const { openEmbedded } = await import('./embedded.ts')
  const embedded = await openEmbedded(dataDir, options.onProgress)
  const { db, connections } = connect(embedded.poolConfig, options)
  const close = async () => {
    await db.destroy()
    await embedded.close()
  }
  return { db, applied: await migrate(db, options.onProgress), connections, close }
}

async function openServer(connectionString: string, max: number, options: Options): Promise<Database> {
  const { connectMs, statementMs } = options.timeouts ?? requestTimeouts
  const target = { connectionString, application_name: 'kener-api', keepAlive: true }
  const applied = await prepareServer(target, options)
  // The pool waits for what it returns, which its types do not say.
  const onConnect = ((client: pg.ClientBase) => configureConnection(client, statementMs)) as (
    client: pg.ClientBase,
  ) => void
  const { db, connections } = connect(
    {
      ...target,
      max,
      connectionTimeoutMillis: connectMs,
      query_timeout: statementMs,
      statement_timeout: statementMs,
      onConnect,
    },
    options,
  )
  return { db, applied, connections, close: () => db.destroy() }
}

/** On a connection without the time limits of a request: a migration may take long. */
async function prepareServer(target: pg.PoolConfig, { onProgress }: Options): Promise<string[]> {
  const { db } = connect({ ...target, max: 1, connectionTimeoutMillis: 5_000 }, {})
  try {
    await checkVersion(db)
    return await migrate(db, onProgress)
  } catch (error) {
    throw error instanceof OperatorError ? error : new OperatorError(explain(error), { cause: error })
  } finally {
    await db.destroy()
  }
}

async function checkVersion(db: Kysely<Tables>): Promise<void> {
  const { rows } = await sql<{
    version: string
  }>`select current_setting('server_version') as version`.execute(db)
  const version = rows[0]?.version ?? ''
  if (Number.parseInt(version) < minVersion) {
    throw new OperatorError(
      `DATABASE_URL leads to PostgreSQL ${version}, but ${minVersion} or newer is needed`,
    )
  }
}

function explain(error: unknown): string {
  // A host with several addresses fails with one error for each, and a message only inside.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  const message = first instanceof Error ? first.message : String(first)
  return `The database at DATABASE_URL cannot be used: ${message}`
}

function connect(
  poolConfig: pg.PoolConfig,
  { onConnectionError, onStatement }: Options,
): Pick<Database, 'db' | 'connections'> {
  const pool = new pg.Pool({ ...poolConfig, Client: PreparedStatementClient })
  // An idle connection that breaks has no query to fail: unheard, it would end the process.
  pool.on('error', (error) => onConnectionError?.(error))
  // So would one that breaks while it is lent out: its query fails all the same, and with it the request.
  pool.on('connect', (client) => client.on('error', (error) => onConnectionError?.(error)))
  destroyIdleConnections(pool)
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool }),
    ...(onStatement && { log: onStatement }),
  })
  const connections = () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount })
  return { db, connections }
}

/** When one connection has fallen silent, each idle one that has, too, would cost those who ask another wait. */
function destroyIdleConnections(pool: pg.Pool): void {
  const idle = new Set<PreparedStatementClient>()
  const destroyIdle = () => {
    for (const client of idle) client.destroySocket()
  }
  // The pool's types do not know which clients it was told to make.
  const events = pool as unknown as EventEmitter<PoolEvents>
  events.on('connect', (client) => (client.onBroken = destroyIdle))
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
 * The server ends a session that says nothing, be it in a transaction, whose locks it would hold, or out of one. It may
 * not hear for hours that the connection is gone: a firewall that forgets one tells neither side.
 *
 * Times that come as JSON are in the session's zone, where the last day of 9999 may be one of 10000, which is no date.
 *
 * PostgreSQL holds a plan made for one key or one monitor to be so much better than the one for any number of them that
 * it plans anew each time, which takes longer than to run it. None of our statements is better off with a plan of its
 * own (docs/decisions/0009), but for those that write reports. Not in the embedded database: plans made while a table was
 * small hold until it is analyzed, and nobody analyzes there.
 */
async function configureConnection(client: pg.ClientBase, statementMs: number): Promise<void> {
  await client.query(`
    set timezone = 'UTC';
    set idle_in_transaction_session_timeout = ${statementMs};
    set idle_session_timeout = ${idleSessionTimeoutMs};
    set plan_cache_mode = force_generic_plan`)
}
