import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await addStaysHidden(db, 'incidents')
}

/** A database that was migrated before 1.0.0 has the column in both tables already. */
export async function addStaysHidden(db: Kysely<unknown>, name: 'incidents' | 'maintenances'): Promise<void> {
  const table = sql.table(name)
  await sql`
    alter table ${table} add column if not exists stays_hidden boolean not null default false`.execute(db)
  await sql`
    comment on column ${table}.stays_hidden is
      'the last of its monitors was hidden or disabled when it was deleted; false while it has monitors'
    `.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table incidents drop column stays_hidden`.execute(db)
}
