import { type Kysely, sql } from 'kysely'

/**
 * Names the two checks that PostgreSQL had named after their table only. The generated names of keys, foreign keys and
 * indexes stay, because they contain the table, the columns and the kind (`monitors_tag_key`).
 *
 * Both tables are locked for an instant.
 *
 * Until its last replica is replaced, the previous release knows only the old name of the first check. It rejects an
 * incident that ends before it starts with 500 instead of 400, and stores nothing either.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await rename(db, 'incidents', 'incidents_check', 'incidents_end_not_before_start')
  await rename(db, 'maintenance_events', 'maintenance_events_check', 'maintenance_events_end_after_start')
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await rename(db, 'incidents', 'incidents_end_not_before_start', 'incidents_check')
  await rename(db, 'maintenance_events', 'maintenance_events_end_after_start', 'maintenance_events_check')
}

async function rename(db: Kysely<unknown>, table: string, from: string, to: string): Promise<void> {
  await sql`alter table ${sql.table(table)} rename constraint ${sql.ref(from)} to ${sql.ref(to)}`.execute(db)
}
