import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // So that a report of a minute's last second is not taken for a minute old. What is stored was made at its beginning,
  // and so is what a replica of the release before goes on to write.
  await sql`alter table last_reports add column second smallint not null default 0`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports drop column second`.execute(db)
}
