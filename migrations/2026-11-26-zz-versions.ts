import { type Kysely, sql } from 'kysely'

/**
 * Versions of keys, and the function for those of the other tables, which have migrations of their own, because each one
 * locks a single table.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  // Never repeats, also not if a row is deleted and created again with the same id.
  await sql`
    create function set_version() returns trigger language plpgsql as $$
    begin
      new.version := greatest(old.version + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint);
      return new;
    end $$`.execute(db)
  // Not of last_used_at and last_used_address, which each use of a key may write.
  const changed = sql`
    name, description, permissions, rate_limit, monitors, allowed_ips, expires_at, revoked_at, rotated_to`
  await addVersion(db, 'api_keys', changed)
}

/**
 * Adds the column `version`. A trigger sets it, so that changes by replicas of the previous release count too. Existing
 * rows are not rewritten: their version is 1.
 * @param changed columns of which an update is a new version
 */
export async function addVersion(
  db: Kysely<unknown>,
  name: 'api_keys' | 'monitors' | 'incidents' | 'maintenances',
  changed = sql`updated_at`,
): Promise<void> {
  const table = sql.table(name)
  await sql`alter table ${table} add column version bigint not null default 1`.execute(db)
  await sql`
    alter table ${table} alter column version
      set default (extract(epoch from clock_timestamp()) * 1000000)::bigint`.execute(db)
  await sql`comment on column ${table}.version is 'time of the last change, in microseconds; never repeats'`.execute(
    db,
  )
  await sql`
    create trigger set_version before update of ${changed} on ${table}
    for each row execute function set_version()`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await removeVersion(db, 'api_keys')
  await sql`drop function set_version()`.execute(db)
}

export async function removeVersion(
  db: Kysely<unknown>,
  name: Parameters<typeof addVersion>[1],
): Promise<void> {
  await sql`drop trigger set_version on ${sql.table(name)}`.execute(db)
  await sql`alter table ${sql.table(name)} drop column version`.execute(db)
}
