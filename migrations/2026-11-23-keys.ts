import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table api_keys (
      id            text primary key,
      seq           bigint generated always as identity unique,
      name          text not null,
      permissions   text[] not null,
      secret_hash   text not null,
      rate_limit    integer,
      expires_at    timestamptz,
      created_at    timestamptz not null default now(),
      last_used_at  timestamptz,
      revoked_at    timestamptz,
      rotated_from  text references api_keys (id)
    ) with (fillfactor = 80)`.execute(db)

  // Unlogged, because a counter is valid for a minute and written by every request; a crash of PostgreSQL restarts the
  // window. One row per key, reset by the first request of a new minute, so that no cleanup is needed. Half of each page
  // stays free for HOT updates.
  await sql`
    create unlogged table rate_counters (
      key_id   text primary key,
      minute   integer not null,
      max      integer not null,
      used     integer not null,
      granted  integer not null
    ) with (fillfactor = 50)`.execute(db)

  await sql`comment on column rate_counters.minute is 'the window: minutes since 1970'`.execute(db)
  await sql`comment on column rate_counters.max is 'the limit when the row was last updated'`.execute(db)
  await sql`comment on column rate_counters.used is 'requests that were allowed in that window'`.execute(db)
  await sql`comment on column rate_counters.granted is 'of those, allowed by the last statement'`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table rate_counters, api_keys`.execute(db)
}
