import { type Kysely, Migrator, sql } from 'kysely'
import { migrations } from '../../migrations/index.ts'

/**
 * Applies what is missing, in one transaction, under a lock of the database's: several replicas may start at once. A
 * database that a newer release has migrated further is left as it is: releases run on the schema of the next one.
 * @returns the names of the migrations that were applied.
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

/** True when no migration is missing. Those of a newer release do no harm. */
export async function isMigrated<Tables>(db: Kysely<Tables>): Promise<boolean> {
  const { rows: tables } = await sql`
    select from pg_tables where schemaname = any(current_schemas(false)) and tablename = 'kysely_migration'
    `.execute(db)
  if (tables.length === 0) return false
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db)
  const applied = new Set(rows.map(({ name }) => name))
  return Object.keys(migrations).every((name) => applied.has(name))
}
