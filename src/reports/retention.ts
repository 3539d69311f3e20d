import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'

/** Rows per transaction, so that locks are held only briefly. */
const maxRows = 5_000

/** Key of the advisory lock: any number that no other lock in this database uses. */
const lockKey = 7_461_200

/**
 * Deletes the hours that ended more than `days` days ago; the totals per day stay. Returns the number of deleted rows.
 * If another replica holds the advisory lock, deletes nothing, because that replica does. Skips hours that another
 * transaction locks; the next call deletes them.
 */
export async function removeOldMinutes(db: Kysely<Tables>, days: number): Promise<number> {
  for (let removed = 0; ;) {
    const count = await db.transaction().execute((trx) => removeChunk(trx, days))
    removed += count
    if (count < maxRows) return removed
  }
}

async function removeChunk(trx: Transaction<Tables>, days: number): Promise<number> {
  const { rows } = await sql<{ is_locked: boolean }>`
    select pg_try_advisory_xact_lock(${lockKey}::bigint) as is_locked`.execute(trx)
  if (!rows[0]?.is_locked) return 0
  const { numAffectedRows = 0n } = await sql`
    delete from monitor_hours where ctid = any(array(
      select ctid from monitor_hours
      where hour < floor(extract(epoch from now()) / 3600)::integer - ${days * 24}::integer
      limit ${maxRows} for update skip locked
    ))`.execute(trx)
  return Number(numAffectedRows)
}
