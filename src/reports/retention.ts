import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'

/** Few enough for a statement that no one waits for. */
const maxRows = 5_000

/** Any number will do, as long as nothing else in this database takes it. */
const lockKey = 7_461_200

/**
 * Removes the hours that ended more than `days` days ago; the daily sums stay. One replica at a time does so: the
 * others find the lock taken, and leave it to that one. Hours that someone writes to just now are left for the next time.
 * @returns how many rows went.
 */
export async function removeOldMinutes(db: Kysely<Tables>, days: number): Promise<number> {
  for (let removed = 0; ;) {
    const count = await db.transaction().execute((trx) => removeSome(trx, days))
    removed += count
    if (count < maxRows) return removed
  }
}

async function removeSome(trx: Transaction<Tables>, days: number): Promise<number> {
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
