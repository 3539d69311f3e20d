import type { EventEmitter } from 'node:events'
import { Kysely, type LogEvent, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import type { Config } from '../config.ts'
import { type DatabaseTarget, parseDatabaseUrl } from '../database-url.ts'
import { OperatorError } from '../operator-error.ts'
import { findSchema, migrate } from './migrate.ts'
import { PreparedStatementClient } from './prepared.ts'
import type { Tables } from './schema.ts'

export type Database = {
  db: Kysely<Tables>
  /**
   * For background jobs: another connection, so that they never take that of a request, with a longer timeout. With the
   * embedded database, the same one.
   */
  jobs: Kysely<Tables>
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

/** For the statements of background jobs. The server's timeout comes first. */
const jobStatementMs = 60_000

/** Longer than the 10 s after which the pool closes an idle connection itself. */
const idleSessionTimeoutMs = 15_000

const minVersion = 14

type Options = {
  /** By default requestTimeouts. */
  timeouts?: Timeouts
  /** Called before each step that may take seconds, with a message for the operator. */
  onProgress?: ((message: string) => void) | undefined
  onConnectionError?: (error: Error) => void
  /** Called when the embedded database has failed: the process must end. */
  onFailure?: (error: Error) => void
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
  const embedded = await openEmbedded(dataDir, options)
  const { db, connections } = connect(embedded.poolConfig, options)
  const close = async () => {
    await db.destroy()
    await embedded.close()
  }
  return { db, jobs: db, applied: await migrate(db, options.onProgress), connections, close }
}

async function openServer(databaseUrl: string, max: number, options: Options): Promise<Database> {
  const { connectMs, statementMs } = options.timeouts ?? requestTimeouts
  const { target, applied, schema } = await prepareServer(parseDatabaseUrl(databaseUrl), options)
  const onConnect = awaited((client) => configureConnection(client, { statementMs, schema }))
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
  const { db: jobs } = connect(
    {
      ...target,
      max: 1,
      connectionTimeoutMillis: connectMs,
      query_timeout: jobStatementMs + 1_000,
      statement_timeout: jobStatementMs,
      onConnect: awaited((client) => configureConnection(client, { statementMs: jobStatementMs, schema })),
    },
    options,
  )
  const close = async () => {
    await Promise.all([db.destroy(), jobs.destroy()])
  }
  return { db, jobs, applied, connections, close }
}

/** What the pool needs to connect to a server that is prepared. */
type PreparedServer = { target: pg.PoolConfig; applied: string[]; schema: string }

async function prepareServer(
  { isTlsOptional, ...address }: DatabaseTarget,
  options: Options,
): Promise<PreparedServer> {
  const target = { ...address, application_name: 'kener-api', keepAlive: true }
  try {
    return await migrateServer(target, options)
  } catch (error) {
    if (isTlsOptional && error instanceof Error && error.message === withoutTls) {
      return prepareServer({ ...address, ssl: false, isTlsOptional: false }, options)
    }
    throw error instanceof OperatorError ? error : new OperatorError(explain(error), { cause: error })
  }
}

/** The message of pg, which has no code. */
const withoutTls = 'The server does not support SSL connections'

/** Uses a connection of its own, without timeouts, because a migration may take long. */
async function migrateServer(target: pg.PoolConfig, { onProgress }: Options): Promise<PreparedServer> {
  const onConnect = awaited(configureMigrations)
  const { db } = connect({ ...target, max: 1, connectionTimeoutMillis: 5_000, onConnect }, {})
  try {
    await checkVersion(db)
    const schema = await findSchema(db)
    if (schema === undefined) {
      throw new OperatorError(
        'The database at DATABASE_URL has no schema that this role can use: create a schema named in its search_path',
      )
    }
    return { target, applied: await migrate(db, onProgress), schema }
  } finally {
    await db.destroy()
  }
}

/** The pool awaits the result, which its types do not declare. */
function awaited(configure: (client: pg.ClientBase) => Promise<void>) {
  return configure as (client: pg.ClientBase) => void
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
  const { code } = first as { code?: string }
  const hint = hints.find(({ codes, pattern }) => codes.includes(code ?? '') && pattern.test(message))?.hint
  return `The database at DATABASE_URL cannot be used: ${message}${hint ? `. ${hint}` : ''}`
}

/** What the operator can do about an error with one of the codes, if its message matches. */
const hints: { codes: string[]; pattern: RegExp; hint: string }[] = [
  {
    codes: [
      'SELF_SIGNED_CERT_IN_CHAIN',
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    ],
    pattern: /^/,
    hint: 'Add sslrootcert with the file of the certificate authority',
  },
  { codes: ['28000'], pattern: /no encryption|SSL off/, hint: 'Add sslmode=require or sslmode=verify-full' },
  {
    codes: ['42501'],
    pattern: /schema/,
    hint: 'Make the role the owner of the database, or give it a schema of its own',
  },
  {
    codes: ['42P07'],
    pattern: /^/,
    hint: 'Another application uses this schema: use another database, or another schema with ?options=-csearch_path%3DNAME',
  },
]

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
 * Generic plans: by default PostgreSQL plans statements for one key or monitor at every execution, which takes longer
 * than the execution. Only statements that write reports are faster with custom plans (docs/decisions/0009). The
 * embedded database keeps the default, because it never analyzes tables, and generic plans made for small tables would
 * persist.
 *
 * Search path: the schema that was migrated, so that the tables of another application never take precedence.
 */
async function configureConnection(
  client: pg.ClientBase,
  { statementMs, schema }: { statementMs: number; schema: string },
): Promise<void> {
  await client.query(`
    set timezone = 'UTC';
    set idle_in_transaction_session_timeout = ${statementMs};
    set idle_session_timeout = ${idleSessionTimeoutMs};
    set plan_cache_mode = force_generic_plan;
    set search_path = ${pg.escapeIdentifier(schema)}`)
}

/**
 * Sets the session's settings for migrations. Timeouts of the database or the role do not apply. Each statement sees what
 * was committed before it, also after waiting for another replica. The server cancels a statement, such as one that waits
 * for a lock, when this process no longer exists; some platforms do not support that.
 */
async function configureMigrations(client: pg.ClientBase): Promise<void> {
  await client.query(`
    select set_config(name, value, false)
    from (values ('statement_timeout', '0'), ('transaction_timeout', '0'), ('lock_timeout', '0'),
      ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'),
      ('default_transaction_isolation', 'read committed')) as needed (name, value)
    join pg_settings using (name)`)
  await client.query(`set client_connection_check_interval = '1s'`).catch((error: unknown) => {
    if ((error as { code?: string }).code !== invalidParameterValue) throw error
  })
}

const invalidParameterValue = '22023'
