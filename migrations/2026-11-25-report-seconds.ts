import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // So that a report of a minute's last second is not taken for a minute old. What is stored counts as made at its
  // beginning. A replica of the release before leaves the second as it is when it updates a row: while both releases run,
  // a report may look younger than it is, by less than a minute.
  await sql`alter table last_reports add column second smallint not null default 0`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports drop column second`.execute(db)
}
