import { type Kysely, sql } from 'kysely'
import type { Tables } from './schema.ts'

/** The clock that all replicas and their visitors go by, to the whole second, as all our times. */
export async function databaseNow(db: Kysely<Tables>): Promise<Date> {
  const { now } = await db
    .selectNoFrom(sql<Date>`date_trunc('second', now())`.as('now'))
    .executeTakeFirstOrThrow()
  return now
}
