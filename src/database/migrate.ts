import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql, type Transaction } from 'kysely'
import { migrations, type SchemaMigration, type SchemaMigrations } from '../../migrations/index.ts'
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

/** Pause between two attempts to get the advisory lock. */
const advisoryLockPauseMs = 200

/** Key of the advisory lock. It is that of Kysely's migrator, which earlier releases used. */
const lockKey = sql.lit('3853314791062309107')

type OnProgress = (message: string) => void

/**
 * Applies the pending migrations, one after the other, under an advisory lock, so that several replicas may start at the
 * same time. Accepts a schema that a newer release has migrated, because each release runs on the schema of the next
 * one, unless one of its migrations requires more.
 *
 * Not with Kysely's migrator: it keeps its records under names that it also has in other applications, which may share
 * the database, and it holds the locks of all migrations until the last one has been applied.
 *
 * If it fails, the session keeps the advisory lock until its connection is closed.
 *
 * @returns the names of the applied migrations. @throws OperatorError if this release cannot run on the schema
 */
export async function migrate<Tables>(
  db: Kysely<Tables>,
  onProgress: OnProgress = () => undefined,
  known: SchemaMigrations = migrations,
): Promise<string[]> {
  const { missing, incompatible } = await compareSchema(db, known)
  if (incompatible.length > 0) {
    throw new OperatorError(
      `A newer release has migrated the database, and this one cannot run on its schema (${incompatible.join(', ')}): use that release`,
    )
  }
  if (missing.length === 0) return []
  onProgress('Applying the migrations of the database')
  return db.connection().execute(async (session) => {
    await lock(session, onProgress)
    const applied = await applyMissing(session, known, onProgress)
    await sql`select pg_advisory_unlock(${lockKey})`.execute(session)
    return applied
  })
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
  const records = await readRecords(db)
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

/**
 * Takes the advisory lock, for the session, because an index is not built in a transaction. Does not wait for it in the
 * server: the build of an index waits for every statement that runs, also for one that waits for this lock.
 */
async function lock<Tables>(session: Kysely<Tables>, onProgress: OnProgress): Promise<void> {
  for (let isFirst = true; ; isFirst = false) {
    const { rows } = await sql<{ locked: boolean }>`
      select pg_try_advisory_lock(${lockKey}) as locked`.execute(session)
    if (rows[0]?.locked) return
    if (isFirst) onProgress('Waiting for another process, which applies the migrations')
    await delay(advisoryLockPauseMs)
  }
}

async function applyMissing<Tables>(
  session: Kysely<Tables>,
  known: SchemaMigrations,
  onProgress: OnProgress,
): Promise<string[]> {
  const schema = await findSchema(session)
  if (schema !== undefined)
    await sql`select set_config('search_path', quote_ident(${schema}), false)`.execute(session)
  if (!(await tableExists(session, 'kener_api_migrations')))
    await session.transaction().execute((trx) => createRecords(trx))
  const applied = await readApplied(session)
  const missing = Object.entries(known).filter(([name]) => !applied.has(name))
  for (const [name, migration] of missing) {
    const timer = setTimeout(() => {
      onProgress(`Applying ${name} takes longer, because a table is large or a transaction is open`)
    }, retryMs)
    try {
      await apply(session, name, migration, onProgress)
    } finally {
      clearTimeout(timer)
    }
  }
  return missing.map(([name]) => name)
}

/** A process that ends before it has recorded the migration leaves steps that are repeated. */
async function apply<Tables>(
  session: Kysely<Tables>,
  name: string,
  migration: SchemaMigration,
  onProgress: OnProgress,
): Promise<void> {
  if ('indexes' in migration) {
    for (const [index, definition] of Object.entries(migration.indexes)) {
      await retryLocked(() => buildIndex(session, index, definition), onProgress)
    }
  }
  if ('fill' in migration) {
    const fillNext = (after: number) =>
      retryLocked(() => transaction(session, (trx) => migration.fill(trx, after)), onProgress)
    for (let after: number | null = 0; after !== null;) after = await fillNext(after)
  }
  const finish = async (trx: Transaction<Tables>) => {
    if ('up' in migration) await migration.up(trx)
    await record(trx, name, migration.requires)
  }
  await retryLocked(() => transaction(session, finish), onProgress)
}

/** Blocks no request, and therefore waits without limit for transactions that are open. */
async function buildIndex<Tables>(session: Kysely<Tables>, name: string, definition: string): Promise<void> {
  const { rows } = await sql<{ valid: boolean }>`
    select indisvalid as valid from pg_index where indexrelid = to_regclass(${name})`.execute(session)
  if (rows[0]?.valid) return
  // An earlier build was interrupted.
  if (rows[0]) await sql`drop index concurrently ${sql.id(name)}`.execute(session)
  await sql`create index concurrently ${sql.id(name)} on ${sql.raw(definition)}`.execute(session)
}

function transaction<Tables, Result>(
  session: Kysely<Tables>,
  run: (trx: Transaction<Tables>) => Promise<Result>,
): Promise<Result> {
  return session.transaction().execute(async (trx) => {
    await sql`set local lock_timeout = ${sql.lit(lockTimeoutMs)}`.execute(trx)
    return run(trx)
  })
}

/** Runs a step again after a lock timeout, or a deadlock with a request. */
async function retryLocked<Result>(step: () => Promise<Result>, onProgress: OnProgress): Promise<Result> {
  for (;;) {
    try {
      return await step()
    } catch (error) {
      if (!isLockConflict(error)) throw error
      onProgress(
        `A migration needs a table that another transaction has locked: trying again in ${retryMs / 1000} s`,
      )
      await delay(retryMs)
    }
  }
}

async function record<Tables>(
  trx: Transaction<Tables>,
  name: string,
  requires: string | undefined,
): Promise<void> {
  await sql`insert into kener_api_migrations (name) values (${name})`.execute(trx)
  if (requires === undefined) return
  await sql`alter table kener_api_migrations add column if not exists requires text`.execute(trx)
  await sql`update kener_api_migrations set requires = ${requires} where name = ${name}`.execute(trx)
}

/** Creates the table of applied migrations. */
async function createRecords<Tables>(trx: Transaction<Tables>): Promise<void> {
  const earlier = await readRecords(trx)
  await sql`
    create table kener_api_migrations (
      name        text primary key,
      applied_at  timestamptz not null default now()
    )`.execute(trx)
  await sql`
    insert into kener_api_migrations (name)
    select unnest(${earlier.map(({ name }) => name)}::text[])`.execute(trx)
}

async function readApplied<Tables>(db: Kysely<Tables>): Promise<Set<string>> {
  return new Set((await readRecords(db)).map(({ name }) => name))
}

type MigrationRecord = { name: string; requires: string | null }

/** The column `requires` is added with the first migration that has such a requirement. */
async function readRecords<Tables>(db: Kysely<Tables>): Promise<MigrationRecord[]> {
  if (!(await tableExists(db, 'kener_api_migrations'))) return readEarlierRecords(db)
  const { rows } = await sql<MigrationRecord>`
    select name, to_jsonb(kener_api_migrations) ->> 'requires' as requires from kener_api_migrations
    order by name`.execute(db)
  return rows
}

/**
 * Reads what the first releases recorded in Kysely's table, which stays, because such a release may still run. They lack
 * some of the migrations.
 */
async function readEarlierRecords<Tables>(db: Kysely<Tables>): Promise<MigrationRecord[]> {
  if (!(await tableExists(db, 'rate_counters')) || !(await tableExists(db, 'kysely_migration'))) return []
  const { rows } = await sql<MigrationRecord>`
    select name, null as requires from kysely_migration
    where name = any(${Object.keys(migrations)}::text[])`.execute(db)
  return rows
}

async function tableExists<Tables>(db: Kysely<Tables>, name: string): Promise<boolean> {
  const { rows } = await sql<{ exists: boolean }>`select to_regclass(${name}) is not null as exists`.execute(
    db,
  )
  return rows[0]?.exists === true
}

function isLockConflict(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === '55P03' || error.code === '40P01')
}
