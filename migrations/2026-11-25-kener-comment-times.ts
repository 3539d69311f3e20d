import { type Kysely, sql } from 'kysely'

/**
 * A constant default does not rewrite existing rows. The next migration replaces it in them.
 *
 * A database that was migrated before 1.0.0 has the column already.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table incident_comments
      add column if not exists updated_at timestamptz not null default '-infinity'`.execute(db)
  await sql`alter table incident_comments alter column updated_at set default now()`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table incident_comments drop column updated_at`.execute(db)
}
