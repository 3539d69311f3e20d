import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // Replaces `second`, which is wrong after a replica of a release that does not know it has updated the minute.
  // `minute` and `second` are written as long as the previous release may run, which reads them.
  await sql`alter table last_reports add column reported_at bigint not null default 0`.execute(db)
  await sql`comment on column last_reports.reported_at is 'Unix time, in seconds'`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table last_reports drop column reported_at`.execute(db)
}
