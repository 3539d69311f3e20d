import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // A separate table, so that only /api/v4 reads these fields. json, not jsonb, because it preserves the order of
  // fields.
  await sql`
    create table kener_monitors (
      monitor_id  integer primary key references monitors on delete cascade,
      fields      json not null
    )`.execute(db)
  await sql`comment on table kener_monitors is 'fields of /api/v4 that are stored and returned, and not used'`.execute(
    db,
  )

  await sql`
    create table kener_imports (
      source       text not null,
      kind         text not null,
      source_id    integer not null,
      id           integer not null,
      updated_at   text not null,
      imported_at  timestamptz not null default now(),
      primary key (source, kind, source_id)
    )`.execute(db)
  await sql`comment on table kener_imports is 'which item of a Kener was imported as which local item, so that imports are idempotent'`.execute(
    db,
  )
  await sql`comment on column kener_imports.source is 'URL of the Kener'`.execute(db)
  await sql`comment on column kener_imports.kind is 'monitor, incident or comment'`.execute(db)
  await sql`comment on column kener_imports.id is 'local id'`.execute(db)
  await sql`comment on column kener_imports.updated_at is 'version at the source: an item with the same version is not imported again'`.execute(
    db,
  )
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table kener_imports, kener_monitors`.execute(db)
}
