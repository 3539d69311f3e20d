import { type Kysely, sql } from 'kysely'

/** In a database that was migrated before 1.0.0, the check has the name already. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql`
    select from pg_constraint
    where conrelid = 'maintenance_events'::regclass and conname = 'maintenance_events_check'`.execute(db)
  if (rows.length === 0) return
  await sql`
    alter table maintenance_events
      rename constraint maintenance_events_check to maintenance_events_end_after_start`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table maintenance_events
      rename constraint maintenance_events_end_after_start to maintenance_events_check`.execute(db)
}
