import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // A separate table, so that only /api/v4 reads these fields. json, not jsonb, because it preserves the order of fields.
  await sql`
    create table kener_monitors (
      monitor_id  integer primary key references monitors on delete cascade,
      fields      json not null
    )`.execute(db)
  await sql`comment on table kener_monitors is 'fields of Kener that we keep and give back'`.execute(db)

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
  await sql`comment on table kener_imports is 'what of a Kener is what here, so that nothing comes twice'`.execute(
    db,
  )
  await sql`comment on column kener_imports.source is 'the URL of the Kener'`.execute(db)
  await sql`comment on column kener_imports.kind is 'monitor, incident, comment'`.execute(db)
  await sql`comment on column kener_imports.id is 'here'`.execute(db)
  await sql`comment on column kener_imports.updated_at is 'as the source said: the same again, and nothing is to do'`.execute(
    db,
  )

  await sql`alter table incident_comments add column updated_at timestamptz not null default now()`.execute(
    db,
  )
  await sql`update incident_comments set updated_at = created_at`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table incident_comments drop column updated_at`.execute(db)
  await sql`drop table kener_imports, kener_monitors`.execute(db)
}
