import { type Kysely, sql } from 'kysely'

/**
 * Stores when the key of a session was entered. Sessions of the previous release that exist already count as older: what
 * cannot be undone asks for their key again.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table admin_sessions add column logged_in_at timestamptz not null default '-infinity'`.execute(db)
  await sql`alter table admin_sessions alter column logged_in_at set default now()`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table admin_sessions drop column logged_in_at`.execute(db)
}
