import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table admin_sessions (
      token_digest  text primary key,
      key_id        text not null references api_keys (id),
      seen_at       timestamptz not null default now(),
      ends_at       timestamptz not null
    )`.execute(db)
  await sql`create index on admin_sessions (key_id)`.execute(db)
  await sql`comment on table admin_sessions is 'sessions of the panel at /manage'`.execute(db)
  await sql`comment on column admin_sessions.token_digest is 'SHA-256 of the token in the cookie, base64url'`.execute(
    db,
  )

  // Unlogged, because losing a chart of the last hour in a crash is acceptable.
  await sql`
    create unlogged table traffic (
      minute    integer primary key,
      requests  integer not null
    )`.execute(db)
  await sql`comment on table traffic is 'requests under /api, of all replicas'`.execute(db)
  await sql`comment on column traffic.minute is 'minutes since 1970'`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table traffic, admin_sessions`.execute(db)
}
