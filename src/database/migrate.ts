import { type Kysely, Migrator, sql } from 'kysely'
import { migrations } from '../../migrations/index.ts'

/**
 * Applies the pending migrations in one transaction, under an advisory lock, so that several replicas may start at the
 * same time. Accepts a schema that a newer release has migrated, because each release runs on the schema of the next
 * one.
 * @returns the names of the applied migrations
 */
export async function migrate<Tables>(
  db: Kysely<Tables>,
  onProgress?: (message: string) => void,
): Promise<string[]> {
  if (await isMigrated(db)) return []
  onProgress?.('Applying the migrations of the database')
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } })
  const { error, results = [] } = await migrator.migrateToLatest()
  if (error instanceof Error) throw error
  if (error !== undefined) throw new Error('The migrations failed', { cause: error })
  return results.map(({ migrationName }) => migrationName)
}

/** @throws an error of PostgreSQL if the database is read only, or demoted to a standby. Writes nothing. */
export async function assertWritable<Tables>(db: Kysely<Tables>): Promise<void> {
  await sql`update rate_counters set used = used where false`.execute(db)
}

/** True if no migration is pending. Ignores those of a newer release. */
export async function isMigrated<Tables>(db: Kysely<Tables>): Promise<boolean> {
  const { rows: tables } = await sql`
    select from pg_tables where schemaname = any(current_schemas(false)) and tablename = 'kysely_migration'
    `.execute(db)
  if (tables.length === 0) return false
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db)
  const applied = new Set(rows.map(({ name }) => name))
  return Object.keys(migrations).every((name) => applied.has(name))
}
