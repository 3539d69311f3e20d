import { type Kysely, sql } from 'kysely'

/**
 * The hour, or the day, is the first column of the primary keys, so that rows that are written or deleted together are
 * next to each other. The usage of one key is read with one lookup per hour or day.
 *
 * Keys used by a replica of the previous release are not counted by that replica.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  // Each row is updated every 10 s while its hour lasts: free space keeps these updates within the page.
  await sql`
    create table key_usage_hours (
      hour             integer not null,
      key_id           text not null,
      read_monitors    integer not null,
      write_monitors   integer not null,
      delete_monitors  integer not null,
      read_incidents   integer not null,
      write_incidents  integer not null,
      admin            integer not null,
      no_permission    integer not null,
      forbidden        integer not null,
      rate_limited     integer not null,
      primary key (hour, key_id)
    ) with (fillfactor = 70)`.execute(db)
  await sql`
    create table key_usage_days (
      day              integer not null,
      key_id           text not null,
      read_monitors    bigint not null,
      write_monitors   bigint not null,
      delete_monitors  bigint not null,
      read_incidents   bigint not null,
      write_incidents  bigint not null,
      admin            bigint not null,
      no_permission    bigint not null,
      forbidden        bigint not null,
      rate_limited     bigint not null,
      primary key (day, key_id)
    )`.execute(db)
  await sql`comment on table key_usage_hours is 'requests of the last 90 days by key, permission and outcome'`.execute(
    db,
  )
  await sql`comment on table key_usage_days is 'the same for earlier days'`.execute(db)
  for (const table of ['key_usage_hours', 'key_usage_days']) {
    await sql`
      comment on column ${sql.ref(`${table}.no_permission`)} is
        'accepted requests to routes that need no permission, or to unknown paths'`.execute(db)
  }

  await sql`
    create table key_last_uses (
      key_id           text primary key,
      read_monitors    integer,
      write_monitors   integer,
      delete_monitors  integer,
      read_incidents   integer,
      write_incidents  integer,
      admin            integer
    )`.execute(db)
  await sql`
    comment on table key_last_uses is 'the last day, since 1970, on which a request of the key needed the permission'
    `.execute(db)

  await sql`alter table api_keys add column permissions_since timestamptz`.execute(db)
  await sql`
    comment on column api_keys.permissions_since is
      'when a permission was last added; of a rotated key: to its predecessors; null: created with them'`.execute(
    db,
  )
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table api_keys drop column permissions_since`.execute(db)
  await sql`drop table key_last_uses, key_usage_days, key_usage_hours`.execute(db)
}
