import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // Without the second, a report from the end of a minute looks up to a minute older than it is. Existing reports count
  // as made at the start of their minute. While a replica of the previous release runs, which does not update the
  // second, a report may look younger than it is, by less than a minute.
  await sql`alter table last_reports add column second smallint not null default 0`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports drop column second`.execute(db)
}
