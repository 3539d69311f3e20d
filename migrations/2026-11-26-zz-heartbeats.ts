import { type Kysely, sql } from 'kysely'

/** The counter is part of the row, because each request that it counts also writes a report. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table heartbeats (
      monitor_id     integer primary key references monitors on delete cascade,
      secret_digest  text not null constraint heartbeats_secret_digest_unique unique,
      created_at     timestamptz not null default now(),
      minute         integer not null default 0,
      used           integer not null default 0,
      granted        integer not null default 0
    ) with (fillfactor = 50)`.execute(db)
  await sql`comment on table heartbeats is 'the URL of each monitor that reports its status without a key'`.execute(
    db,
  )
  await sql`comment on column heartbeats.secret_digest is 'SHA-256 of the secret in the URL, in base64url'`.execute(
    db,
  )
  await sql`comment on column heartbeats.minute is 'the window: minutes since 1970'`.execute(db)
  await sql`comment on column heartbeats.used is 'requests that were allowed in that window'`.execute(db)
  await sql`comment on column heartbeats.granted is 'of those, allowed by the last statement'`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table heartbeats`.execute(db)
}
