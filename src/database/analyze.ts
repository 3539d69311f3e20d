import { type Kysely, sql } from 'kysely'
import type { Tables } from './schema.ts'

/** Pause between the end of a run and the next one. */
const intervalMs = 60_000

/**
 * Analyzes tables that have doubled since they were analyzed, now and then every minute, because the embedded database
 * has no autovacuum: plans that were made for small tables would be kept.
 * @param onError called if a run fails. The next run tries again
 * @returns a function that stops it after the current run
 */
export function analyzeRegularly(
  db: Kysely<Tables>,
  onError: (error: Error) => void = () => undefined,
): () => Promise<void> {
  let timer: NodeJS.Timeout | undefined
  let current: Promise<void>
  const run = () => {
    current = analyzeGrownTables(db)
      .catch((error: unknown) => {
        onError(error as Error)
      })
      .then(() => {
        timer = setTimeout(run, intervalMs).unref()
      })
  }
  run()
  return async () => {
    await current
    clearTimeout(timer)
  }
}

/** `relpages` is the number of pages of the last ANALYZE. */
export async function analyzeGrownTables(db: Kysely<Tables>): Promise<void> {
  const { rows } = await sql<{ name: string }>`
    select relname as name from pg_class
    where relkind = 'r' and relnamespace = current_schema()::regnamespace
      and pg_relation_size(oid) >= 2 * 8192 * greatest(relpages, 1)`.execute(db)
  for (const { name } of rows) await sql`analyze ${sql.table(name)}`.execute(db)
}
