import { type Kysely, sql } from 'kysely'

/** Building these indexes takes less than 0.1 s with 10,000 monitors. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index monitors_category on monitors (category_name, tag)`.execute(db)
  // Small, because few monitors are hidden or disabled.
  await sql`create index monitors_hidden on monitors (tag) where hidden`.execute(db)
  await sql`create index monitors_disabled on monitors (tag) where not enabled`.execute(db)
  await sql`create index monitors_default_status on monitors (default_status, tag)`.execute(db)
  // Reports that do not change the status are still HOT updates.
  await sql`create index last_reports_status on last_reports (status)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop index last_reports_status, monitors_default_status, monitors_disabled, monitors_hidden, monitors_category
    `.execute(db)
}
