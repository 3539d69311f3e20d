import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table monitors (
      id                        integer generated always as identity primary key,
      tag                       text not null unique collate "C",
      name                      text not null,
      description               text,
      category_name             text,
      external_url              text,
      enabled                   boolean not null,
      hidden                    boolean not null,
      default_status            text not null,
      stale_after_seconds       integer,
      degraded_counts_as_down   boolean not null,
      created_at                timestamptz not null default now(),
      updated_at                timestamptz not null default now()
    )`.execute(db)

  // The latest report of each monitor, so that lists do not search the hours.
  await sql`
    create table last_reports (
      monitor_id  integer primary key references monitors on delete cascade,
      minute      integer not null,
      status      text not null,
      latency_ms  integer
    ) with (fillfactor = 50)`.execute(db)
  await sql`comment on column last_reports.minute is 'minutes since 1970'`.execute(db)

  // One row per hour: a status byte per minute (0: none, 1 UP, 2 DEGRADED, 3 DOWN, 4 MAINTENANCE), four bytes of latency
  // per minute, and totals. A quarter of each page stays free for HOT updates.
  await sql`
    create table monitor_hours (
      monitor_id     integer not null references monitors on delete cascade,
      hour           integer not null,
      up             smallint not null,
      degraded       smallint not null,
      down           smallint not null,
      maintenance    smallint not null,
      latency_count  smallint not null,
      latency_sum    bigint not null,
      statuses       bytea not null,
      latencies      bytea not null,
      primary key (monitor_id, hour)
    ) with (fillfactor = 75)`.execute(db)
  await sql`alter table monitor_hours alter statuses set storage plain, alter latencies set storage plain`.execute(
    db,
  )
  await sql`comment on column monitor_hours.hour is 'hours since 1970'`.execute(db)
  // For the removal of expired hours. Rows are inserted in the order of time, so that a BRIN index is small.
  await sql`create index monitor_hours_hour on monitor_hours using brin (hour)`.execute(db)

  await sql`
    create table monitor_days (
      monitor_id     integer not null references monitors on delete cascade,
      day            integer not null,
      up             integer not null,
      degraded       integer not null,
      down           integer not null,
      maintenance    integer not null,
      latency_count  integer not null,
      latency_sum    bigint not null,
      primary key (monitor_id, day)
    ) with (fillfactor = 75)`.execute(db)
  await sql`comment on column monitor_days.day is 'days since 1970, in UTC'`.execute(db)

  await sql`
    create table incidents (
      id          integer generated always as identity primary key,
      title       text not null,
      state       text not null,
      started_at  timestamptz not null,
      ended_at    timestamptz,
      created_at  timestamptz not null default now(),
      updated_at  timestamptz not null default now(),
      check (ended_at >= started_at)
    )`.execute(db)
  await sql`create index incidents_started on incidents (started_at, id)`.execute(db)
  await sql`create index incidents_open on incidents (started_at) where state <> 'RESOLVED'`.execute(db)

  await sql`
    create table incident_monitors (
      incident_id  integer not null references incidents on delete cascade,
      monitor_id   integer not null references monitors on delete cascade,
      impact       text not null,
      primary key (incident_id, monitor_id)
    )`.execute(db)
  await sql`create index incident_monitors_monitor on incident_monitors (monitor_id)`.execute(db)

  await sql`
    create table incident_comments (
      id            integer generated always as identity primary key,
      incident_id   integer not null references incidents on delete cascade,
      comment       text not null,
      state         text not null,
      commented_at  timestamptz not null,
      created_at    timestamptz not null default now()
    )`.execute(db)
  await sql`create index incident_comments_incident on incident_comments (incident_id, commented_at, id)`.execute(
    db,
  )
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`
    drop table incident_comments, incident_monitors, incidents, monitor_days, monitor_hours, last_reports, monitors
    `.execute(db)
}
