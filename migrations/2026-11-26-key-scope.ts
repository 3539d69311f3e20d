import { type Kysely, sql } from 'kysely'

/**
 * The lock on the table is short, because nothing is scanned: the check is not validated, since no existing row has
 * monitors, and `created_by` and `rotated_to` have no foreign keys, since keys are not deleted.
 *
 * Until its last replica is replaced, the previous release ignores `monitors` and `allowed_ips`.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table api_keys
      add column description text,
      add column monitors text[],
      add column allowed_ips text[],
      add column created_by text,
      add column last_used_address text,
      add column rotated_to text,
      add constraint api_keys_admin_has_no_monitors
        check (monitors is null or not 'admin' = any(permissions)) not valid`.execute(db)
  await sql`comment on column api_keys.monitors is 'tags, or prefixes ending in *; null: all'`.execute(db)
  await sql`comment on column api_keys.allowed_ips is 'addresses or CIDRs; null: any'`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table api_keys
      drop column description,
      drop column monitors,
      drop column allowed_ips,
      drop column created_by,
      drop column last_used_address,
      drop column rotated_to`.execute(db)
}
