import { type Kysely, sql } from 'kysely'
import pg from 'pg'
import { OperatorError } from '../operator-error.ts'
import { unresponsiveMs } from './pool.ts'
import type { Tables } from './schema.ts'

/** Longer than the 10 s after which the pool closes an idle connection itself. */
const idleSessionTimeoutMs = 15_000

/**
 * Settings on which statements and their results rely, for each connection, because the server, the database and the
 * role may have other defaults. default_transaction_read_only is left out: it is an operator's way to stop all writes.
 *
 * Time zone: times in JSON are in the session's zone, where the end of 9999 may be in the year 10000, which is invalid.
 *
 * jit: compiling a statement takes longer than executing it.
 */
const sessionSettings = {
  datestyle: 'ISO, YMD',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  jit: 'off',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
}

/** transaction_timeout exists since PostgreSQL 17. */
const setSession = `
  ${Object.entries(sessionSettings)
    .map(([name, value]) => `set ${name} = '${value}'`)
    .join(';')};
  select set_config('transaction_timeout', '0', false) where current_setting('server_version_num')::integer >= 170000`

/**
 * Settings of connections that serve requests.
 *
 * Idle timeouts: the server ends a session without a client, because a firewall may drop a connection without informing
 * either side, and an open transaction would keep its locks for hours.
 *
 * Generic plans: by default PostgreSQL plans statements for one key or monitor at every execution, which takes longer
 * than the execution (docs/decisions/0009).
 *
 * Search path: the schema that was migrated, so that the tables of another application never take precedence.
 */
const requestSettings = ({ statementMs, lockMs, schema }: RequestSettings) => `
  set statement_timeout = ${statementMs};
  set lock_timeout = ${lockMs};
  set idle_in_transaction_session_timeout = ${statementMs + unresponsiveMs};
  set idle_session_timeout = ${idleSessionTimeoutMs};
  set plan_cache_mode = force_generic_plan;
  set search_path = ${pg.escapeIdentifier(schema)}`

/** `lockMs` 0 is without limit. The schema is the one that was migrated. */
export type RequestSettings = { statementMs: number; lockMs: number; schema: string }

/** Configures a connection that serves requests or jobs, in one round trip. Poolers accept it, unlike startup parameters. */
export function configureForRequests(settings: RequestSettings): OnConnect {
  return awaited((client) => client.query(`${setSession};${requestSettings(settings)}`))
}

/**
 * Checks the settings of a connection through a pooler in transaction mode, which does not keep what a client sets: the
 * role must have them. Plans need no setting there, and the pooler limits the idle time.
 * @throws OperatorError with the statements that set what is missing
 */
export async function assertPooledSettings(
  db: Kysely<Tables>,
  { statementMs, lockMs, schema }: RequestSettings,
): Promise<void> {
  const expected: Record<string, string> = {
    ...sessionSettings,
    statement_timeout: String(statementMs),
    lock_timeout: String(lockMs),
    idle_in_transaction_session_timeout: String(statementMs + unresponsiveMs),
    transaction_timeout: '0',
  }
  const { rows } = await sql<{ name: string; setting: string; role: string; schema: string | null }>`
    select lower(name) as name, setting, current_user as role, current_schema() as schema from pg_settings
    where lower(name) = any(${Object.keys(expected)}::text[])`.execute(db)
  const missing = rows
    .filter(({ name, setting }) => setting !== expected[name])
    .map(({ name }) => `${name} = '${expected[name] ?? ''}'`)
  if (rows[0]?.schema !== schema) missing.push(`search_path = ${pg.escapeIdentifier(schema)}`)
  if (missing.length === 0) return
  const role = pg.escapeIdentifier(rows[0]?.role ?? '')
  const statements = missing.map((setting) => `alter role ${role} set ${setting};`).join(' ')
  throw new OperatorError(
    `The pooler at DATABASE_URL has connections without the settings of this service. Run these statements, then RECONNECT in the pooler: ${statements}`,
  )
}

/** Configures the only connection of the embedded database, which has its other settings by default, and no timeouts. */
export async function configureEmbedded(db: Kysely<Tables>): Promise<void> {
  await sql`set plan_cache_mode = force_generic_plan`.execute(db)
}

/**
 * Configures a connection for migrations, which have no timeouts. The server cancels a statement, such as one that waits
 * for a lock, when this process no longer exists; some platforms do not support that.
 */
export const configureForMigrations: OnConnect = awaited(async (client) => {
  await client.query(setSession)
  await client.query(`set client_connection_check_interval = '1s'`).catch((error: unknown) => {
    if ((error as { code?: string }).code !== invalidParameterValue) throw error
  })
})

const invalidParameterValue = '22023'

export type OnConnect = NonNullable<pg.PoolConfig['onConnect']>

/** The pool awaits the result, which its types do not declare. */
function awaited(configure: (client: pg.ClientBase) => unknown): OnConnect {
  return configure
}
