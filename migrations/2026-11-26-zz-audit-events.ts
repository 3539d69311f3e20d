import { type Kysely, sql } from 'kysely'

/**
 * Rows are never updated, and deleted only by the function, which runs with the rights of its owner: a role that serves
 * requests needs no right to update or delete events.
 *
 * The previous release writes no events, and is not affected.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table audit_events (
      id              bigint generated always as identity primary key,
      at              timestamptz not null default date_trunc('second', now()),
      actor_key_id    text,
      actor_key_name  text,
      via             text not null,
      action          text not null,
      target_type     text not null,
      target_id       text not null,
      target_name     text,
      changes         json not null,
      address         text,
      request_id      text,
      retained_until  timestamptz not null
    )`.execute(db)
  await sql`create index audit_events_at on audit_events (at, id)`.execute(db)
  await sql`create index audit_events_actor on audit_events (actor_key_id, at, id)`.execute(db)
  await sql`create index audit_events_action on audit_events (action, at, id)`.execute(db)
  await sql`create index audit_events_target on audit_events (target_id, at, id)`.execute(db)
  await sql`create index audit_events_retained_until on audit_events (retained_until)`.execute(db)
  const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db)
  const table = sql.id(rows[0]?.schema ?? 'public', 'audit_events')
  // Its search_path has no schema in which a caller could create a table or function that hides the real one.
  await sql`
    create function delete_expired_audit_events(max_events integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
    declare
      deleted integer;
    begin
      delete from ${table} where id in (
        select id from ${table} where retained_until <= now()
        order by retained_until limit max_events for update skip locked
      );
      get diagnostics deleted = row_count;
      return deleted;
    end $$`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop function delete_expired_audit_events(integer)`.execute(db)
  await sql`drop table audit_events`.execute(db)
}
