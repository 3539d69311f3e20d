import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // Without it, a report about an hour that retention has removed would count twice in its day.
  await sql`alter table monitor_days add column removed_hours integer not null default 0`.execute(db)
  await sql`
    comment on column monitor_days.removed_hours is
      'hours of the day that retention has removed from monitor_hours: bit 0 is 00:00 to 01:00'`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table monitor_days drop column removed_hours`.execute(db)
}
