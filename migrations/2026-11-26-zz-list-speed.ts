import { type Kysely, sql } from 'kysely'

/**
 * Replaces past_hour and past_totals, which only the previous release uses. A release that knows the new columns sets
 * past_hour to null, and the previous one sets it to the current hour, so that a value shows that the totals lack a
 * report.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports add column totals_hour integer, add column totals integer[]`.execute(db)
  await sql`
    comment on column last_reports.totals_hour is
      'the hour, since 1970, that ends the spans of totals, which are valid if past_hour is null'`.execute(db)
  await sql`
    comment on column last_reports.totals is
      'reported minutes: up, degraded, down, maintenance of 24 hours, 7, 30 and 90 days'`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports drop column totals_hour, drop column totals`.execute(db)
}
