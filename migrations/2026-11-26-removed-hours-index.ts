import { type Kysely, sql } from 'kysely'

/**
 * The index is not used any more. A BRIN index degrades when the space of deleted rows is used again, until the plan of
 * the removal reads the whole table. Until it has been replaced, a replica of the previous release reads the table every
 * hour.
 *
 * A database that was migrated before 1.0.0 does not have it.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`drop index if exists monitor_hours_hour`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`create index monitor_hours_hour on monitor_hours using brin (hour)`.execute(db)
}
