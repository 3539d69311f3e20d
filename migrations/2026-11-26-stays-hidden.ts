import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const table of ['incidents', 'maintenances']) {
    await sql`alter table ${sql.table(table)} add column stays_hidden boolean not null default false`.execute(
      db,
    )
    await sql`
      comment on column ${sql.table(table)}.stays_hidden is
        'the last of its monitors was hidden or disabled when it was deleted; false while it has monitors'
      `.execute(db)
  }
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table incidents drop column stays_hidden`.execute(db)
  await sql`alter table maintenances drop column stays_hidden`.execute(db)
}
