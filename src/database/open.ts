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

/** State of the pool: all connections, idle ones, and statements waiting for one. */
export type Connections = { total: number; idle: number; waiting: number }

/**
 * Together, the longest wait of a request for a database that does not respond (on a new connection, statementMs counts
 * twice).
 */
export const requestTimeouts: Timeouts = { connectMs: 2_000, statementMs: 2_500 }

type Timeouts = { connectMs: number; statementMs: number }

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
  // The pool awaits the result, which its types do not declare.
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

/** Uses a connection without statement timeout, because a migration may take long. */
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
    throw new OperatorError(`DATABASE_URL is PostgreSQL ${version}, but ${minVersion} or newer is required`)
  }
}

function explain(error: unknown): string {
  // A host with several addresses fails with an AggregateError without a message.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  const message = first instanceof Error ? first.message : String(first)
  return `The database at DATABASE_URL cannot be used: ${message}`
}

function connect(
  poolConfig: pg.PoolConfig,
  { onConnectionError, onStatement }: Options,
): Pick<Database, 'db' | 'connections'> {
  const pool = new pg.Pool({ ...poolConfig, Client: PreparedStatementClient })
  // Without listeners, an error of an idle connection would end the process.
  pool.on('error', (error) => onConnectionError?.(error))
  // So would an error of a connection in use, whose query also fails.
  pool.on('connect', (client) => client.on('error', (error) => onConnectionError?.(error)))
  destroyIdleConnections(pool)
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool }),
    ...(onStatement && { log: onStatement }),
  })
  const connections = () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount })
  return { db, connections }
}

/** Destroys all idle connections when one is broken: they probably are too, and each would time out a request. */
function destroyIdleConnections(pool: pg.Pool): void {
  const idle = new Set<PreparedStatementClient>()
  const destroyIdle = () => {
    for (const client of idle) client.destroySocket()
  }
  // The types of the pool do not reflect its `Client` option.
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
 * Sets the session's settings on which the service relies.
 *
 * Idle timeouts: the server ends a session without a client, because a firewall may drop a connection without informing
 * either side, and an open transaction would keep its locks for hours.
 *
 * Time zone: times in JSON are in the session's zone, where the end of 9999 may be in the year 10000, which is invalid.
 *
 * Generic plans: by default PostgreSQL plans statements for one key or monitor at every execution, which takes longer than
 * the execution. Only statements that write reports are faster with custom plans (docs/decisions/0009). The embedded
 * database keeps the default, because it never analyzes tables, and generic plans made for small tables would persist.
 */
async function configureConnection(client: pg.ClientBase, statementMs: number): Promise<void> {
  await client.query(`
    set timezone = 'UTC';
    set idle_in_transaction_session_timeout = ${statementMs};
    set idle_session_timeout = ${idleSessionTimeoutMs};
    set plan_cache_mode = force_generic_plan`)
}
