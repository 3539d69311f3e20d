import { type Kysely, sql } from 'kysely'

/**
 * Names the check that PostgreSQL had named after its table only. The generated names of keys, foreign keys and indexes
 * stay, because they contain the table, the columns and the kind (`monitors_tag_key`).
 *
 * Until its last replica is replaced, the previous release knows only the old name. It rejects an incident that ends
 * before it starts with 500 instead of 400, and stores nothing either.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table incidents rename constraint incidents_check to incidents_end_not_before_start`.execute(
    db,
  )
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table incidents rename constraint incidents_end_not_before_start to incidents_check`.execute(
    db,
  )
}
