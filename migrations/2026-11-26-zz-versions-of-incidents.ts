import type { Kysely } from 'kysely'
import { addVersion, removeVersion } from './2026-11-26-zz-versions.ts'

export async function up(db: Kysely<unknown>): Promise<void> {
  await addVersion(db, 'incidents')
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await removeVersion(db, 'incidents')
}
