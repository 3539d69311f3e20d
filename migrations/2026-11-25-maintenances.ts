import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table maintenances (
      id                integer generated always as identity primary key,
      title             text not null,
      description       text,
      starts_at         timestamptz not null,
      rrule             text not null,
      duration_seconds  integer not null,
      enabled           boolean not null,
      generated_until   timestamptz,
      created_at        timestamptz not null default now(),
      updated_at        timestamptz not null default now()
    )`.execute(db)
  await sql`comment on column maintenances.rrule is 'RRULE of RFC 5545, in UTC; FREQ=MINUTELY;COUNT=1 occurs once'`.execute(
    db,
  )
  await sql`
    comment on column maintenances.generated_until is 'time up to which the events were generated'
    `.execute(db)
  await sql`create index maintenances_started on maintenances (starts_at, id)`.execute(db)

  await sql`
    create table maintenance_monitors (
      maintenance_id  integer not null references maintenances on delete cascade,
      monitor_id      integer not null references monitors on delete cascade,
      impact          text not null,
      primary key (maintenance_id, monitor_id)
    )`.execute(db)
  await sql`create index maintenance_monitors_monitor on maintenance_monitors (monitor_id)`.execute(db)

  await sql`
    create table maintenance_events (
      id              integer generated always as identity primary key,
      maintenance_id  integer not null references maintenances on delete cascade,
      occurrence      timestamptz not null,
      starts_at       timestamptz not null,
      ends_at         timestamptz not null,
      closed_as       text,
      created_at      timestamptz not null default now(),
      updated_at      timestamptz not null default now(),
      unique (maintenance_id, occurrence),
      check (ends_at > starts_at)
    )`.execute(db)
  await sql`
    comment on column maintenance_events.occurrence is 'start by the rule, also of an event that was moved'
    `.execute(db)
  await sql`comment on column maintenance_events.closed_as is 'by a request: COMPLETED or CANCELLED'`.execute(
    db,
  )
  await sql`create index maintenance_events_timetable on maintenance_events (maintenance_id, starts_at, id)`.execute(
    db,
  )
  // For ongoing events, without scanning past or future ones.
  await sql`
    create index maintenance_events_open on maintenance_events using gist (tstzrange(starts_at, ends_at))
    where closed_as is null`.execute(db)
  await sql`
    create index maintenance_events_next on maintenance_events (maintenance_id, ends_at) where closed_as is null
    `.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table maintenance_events, maintenance_monitors, maintenances`.execute(db)
}
