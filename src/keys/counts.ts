import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import type { KeyStatus } from '../enums.ts'
import { keyStatus } from './repository.ts'

/** Keys that expire within so many days are counted. */
const expiryDays = [1, 7, 14, 30] as const

type KeyCounts = {
  byStatus: Record<KeyStatus, number>
  /** Active keys that were not rotated, by the days until they expire. A rotated key is meant to expire. */
  expiring: Record<(typeof expiryDays)[number], number>
}

/**
 * Reads the whole table: about half a second with a million keys. Times are computed in subqueries, because they are then
 * not computed for each key, which takes as long as the rest.
 */
export async function countKeys(db: Kysely<Tables>): Promise<KeyCounts> {
  const { rows } = await sql<{ status: KeyStatus; keys: number; expiring: number[] }>`
    select ${keyStatus} as status, count(*)::integer as keys, array[${sql.join(
      expiryDays.map(
        (days) => sql`
          count(*) filter (where expires_at <= (select now() + make_interval(days => ${sql.lit(days)})) and rotated_to is null)::integer`,
      ),
    )}] as expiring
    from api_keys group by 1`.execute(db)
  const ofStatus = (status: KeyStatus) => rows.find((row) => row.status === status)
  return {
    byStatus: {
      active: ofStatus('active')?.keys ?? 0,
      expired: ofStatus('expired')?.keys ?? 0,
      revoked: ofStatus('revoked')?.keys ?? 0,
    },
    expiring: Object.fromEntries(
      expiryDays.map((days, index) => [days, ofStatus('active')?.expiring[index] ?? 0]),
    ) as KeyCounts['expiring'],
  }
}
