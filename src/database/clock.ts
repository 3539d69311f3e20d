import { type Kysely, sql } from 'kysely'
import type { Tables } from './schema.ts'

/** Returns the time of the database's clock, which all replicas use, in whole seconds. */
export async function databaseNow(db: Kysely<Tables>): Promise<Date> {
  const { now } = await db
    .selectNoFrom(sql<Date>`date_trunc('second', now())`.as('now'))
    .executeTakeFirstOrThrow()
  return now
}
