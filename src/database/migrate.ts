import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql, type Transaction } from 'kysely'
import { migrations, type SchemaMigrations } from '../../migrations/index.ts'
import { OperatorError } from '../operator-error.ts'
import { prepared } from './prepared.ts'
import type { Tables } from './schema.ts'
import { isStillPrimary } from './still-primary.ts'

/**
 * Longest wait of a migration for a lock. While it waits, for example for the end of a dump, requests of the previous
 * release queue behind it.
 */
const lockTimeoutMs = 500

/** Pause before the next attempt, in which the queued requests are served. */
const retryMs = 2_000

/** Key of the advisory lock. It is that of Kysely's migrator, which earlier releases used. */
const lockKey = '3853314791062309107'

/**
 * Applies the pending migrations, each in a transaction of its own under an advisory lock, so that several replicas may
 * start at the same time. Accepts a schema that a newer release has migrated, because each release runs on the schema of
 * the next one, unless one of its migrations requires more.
 *
 * Not with Kysely's migrator: it keeps its records under names that it also has in other applications, which may share
 * the database, and it holds the locks of all migrations until the last one has been applied.
 *
 * @returns the names of the applied migrations. @throws OperatorError if this release cannot run on the schema
 */
export async function migrate<Tables>(
  db: Kysely<Tables>,
  onProgress?: (message: string) => void,
  known: SchemaMigrations = migrations,
): Promise<string[]> {
  const { missing, incompatible } = await compareSchema(db, known)
  if (incompatible.length > 0) {
    throw new OperatorError(
      `A newer release has migrated the database, and this one cannot run on its schema (${incompatible.join(', ')}): use that release`,
    )
  }
  if (missing.length === 0) return []
  onProgress?.('Applying the migrations of the database')
  const applied: string[] = []
  for (;;) {
    try {
      const name = await db.transaction().execute((trx) => applyNext(trx, known))
      if (name === undefined) return applied
      applied.push(name)
    } catch (error) {
      if (!isLockConflict(error)) throw error
      onProgress?.(
        `A migration needs a table that another transaction has locked: trying again in ${retryMs / 1000} s`,
      )
      await delay(retryMs)
    }
  }
}

/**
 * Changes nothing. Its statement is prepared, as those of requests are.
 * @throws an error of PostgreSQL if the database is read only, demoted to a standby, or behind a pooler that loses prepared
 * statements; a timeout if its commits wait for a standby in vain
 */
export async function assertWritable(db: Kysely<Tables>): Promise<void> {
  await prepared(sql`
    with nothing as (update rate_counters set used = used where false)
    select where ${isStillPrimary}`).execute(db)
}

/** How the schema of a database differs from that of this release. */
export type SchemaState = {
  /** Names of migrations that this release would apply. */
  missing: string[]
  /** Names of migrations of newer releases that were applied. */
  newer: string[]
  /** The newer migrations on whose schema this release cannot run. */
  incompatible: string[]
}

/** Compares the schema with this release. Writes nothing. */
export async function compareSchema<Tables>(
  db: Kysely<Tables>,
  known: SchemaMigrations = migrations,
): Promise<SchemaState> {
  const records = (await tableExists(db, 'kener_api_migrations')) ? await readRecords(db) : []
  const applied = new Set(records.map(({ name }) => name))
  const newer = records.filter(({ name }) => !(name in known))
  return {
    missing: Object.keys(known).filter((name) => !applied.has(name)),
    newer: newer.map(({ name }) => name),
    incompatible: newer
      .filter(({ requires }) => requires !== null && !(requires in known))
      .map(({ name }) => name),
  }
}

/** True if no migration is pending. Ignores those of a newer release. */
export async function isMigrated<Tables>(db: Kysely<Tables>): Promise<boolean> {
  if (!(await tableExists(db, 'kener_api_migrations'))) return false
  const applied = await readApplied(db)
  return Object.keys(migrations).every((name) => applied.has(name))
}

/**
 * Returns the schema of the tables. It is the first one of the search path, unless a later one already contains them.
 * Undefined if no schema of the search path exists.
 */
export async function findSchema<Tables>(db: Kysely<Tables>): Promise<string | undefined> {
  const { rows } = await sql<{ schema: string | null }>`
    select coalesce(
      (
        select schemaname from pg_tables
        where schemaname = any(current_schemas(false)) and tablename in ('kener_api_migrations', 'rate_counters')
        order by array_position(current_schemas(false), schemaname) limit 1
      ),
      current_schema()
    ) as schema`.execute(db)
  return rows[0]?.schema ?? undefined
}

/** Applies the first pending migration. @returns its name */
async function applyNext<Tables>(
  trx: Transaction<Tables>,
  known: SchemaMigrations,
): Promise<string | undefined> {
  await sql`select pg_advisory_xact_lock(${lockKey}::bigint)`.execute(trx)
  const schema = await findSchema(trx)
  if (schema !== undefined)
    await sql`select set_config('search_path', quote_ident(${schema}), true)`.execute(trx)
  if (!(await tableExists(trx, 'kener_api_migrations'))) await createRecords(trx)
  const applied = await readApplied(trx)
  const [name, migration] = Object.entries(known).find(([name]) => !applied.has(name)) ?? []
  if (name === undefined || migration === undefined) return undefined
  await sql`set local lock_timeout = ${sql.lit(lockTimeoutMs)}`.execute(trx)
  await migration.up(trx)
  await sql`insert into kener_api_migrations (name) values (${name})`.execute(trx)
  if (migration.requires !== undefined) {
    await sql`alter table kener_api_migrations add column if not exists requires text`.execute(trx)
    await sql`update kener_api_migrations set requires = ${migration.requires} where name = ${name}`.execute(
      trx,
    )
  }
  return name
}

/**
 * Creates the table of applied migrations. Earlier releases recorded them in Kysely's table, which stays, because such a
 * release may still run.
 */
async function createRecords<Tables>(trx: Transaction<Tables>): Promise<void> {
  await sql`
    create table kener_api_migrations (
      name        text primary key,
      applied_at  timestamptz not null default now()
    )`.execute(trx)
  if (!(await tableExists(trx, 'rate_counters')) || !(await tableExists(trx, 'kysely_migration'))) return
  await sql`
    insert into kener_api_migrations (name)
    select name from kysely_migration where name = any(${Object.keys(migrations)}::text[])`.execute(trx)
}

async function readApplied<Tables>(db: Kysely<Tables>): Promise<Set<string>> {
  return new Set((await readRecords(db)).map(({ name }) => name))
}

/** The column `requires` is added with the first migration that has such a requirement. */
async function readRecords<Tables>(db: Kysely<Tables>): Promise<{ name: string; requires: string | null }[]> {
  const { rows } = await sql<{ name: string; requires: string | null }>`
    select name, to_jsonb(kener_api_migrations) ->> 'requires' as requires from kener_api_migrations
    order by name`.execute(db)
  return rows
}

async function tableExists<Tables>(db: Kysely<Tables>, name: string): Promise<boolean> {
  const { rows } = await sql<{ exists: boolean }>`select to_regclass(${name}) is not null as exists`.execute(
    db,
  )
  return rows[0]?.exists === true
}

/** True for a lock timeout, and for a deadlock with a request. */
function isLockConflict(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === '55P03' || error.code === '40P01')
}
