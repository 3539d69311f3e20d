import { type Kysely, sql } from 'kysely'

/**
 * Stores when the key of a session was entered. Existing sessions last 8 hours from then, or less if their key expires
 * earlier, so that the time is not later than it was.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table admin_sessions add column logged_in_at timestamptz not null default now()`.execute(db)
  await sql`update admin_sessions set logged_in_at = least(now(), ends_at - interval '8 hours')`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table admin_sessions drop column logged_in_at`.execute(db)
}
