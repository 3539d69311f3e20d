import { type Kysely, sql } from 'kysely'

/**
 * While a replica of the previous release runs, uptime may lack what that replica writes about earlier hours, until the
 * end of the current hour.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports add column past_hour integer, add column past_totals integer[]`.execute(
    db,
  )
  await sql`comment on column last_reports.past_hour is 'the hour, since 1970, before which past_totals end'`.execute(
    db,
  )
  await sql`
    comment on column last_reports.past_totals is
      'reported minutes before that hour, or its day: up, degraded, down, maintenance of 24 hours, 7, 30 and 90 days'`.execute(
    db,
  )
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports drop column past_hour, drop column past_totals`.execute(db)
}
