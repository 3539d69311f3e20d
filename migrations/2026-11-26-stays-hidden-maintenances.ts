import { type Kysely, sql } from 'kysely'
import { addStaysHidden } from './2026-11-26-stays-hidden.ts'

export async function up(db: Kysely<unknown>): Promise<void> {
  await addStaysHidden(db, 'maintenances')
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table maintenances drop column stays_hidden`.execute(db)
}
