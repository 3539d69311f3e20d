import { type Kysely, sql } from 'kysely'
import { precompiled } from '../database/prepared.ts'
import type { Tables, UsageCounts } from '../database/schema.ts'
import {
  addedCounts,
  listColumns,
  permissionColumns,
  thisHour,
  today,
  type UsageColumn,
  usageColumns,
} from './usage-columns.ts'

/** Most keys whose requests are counted in memory between two writes. Each takes about 150 bytes. */
const maxKeys = 100_000

/** Most rows of one statement, so that it never exceeds the statement timeout. */
const maxRows = 2_000

export type UsageCounter = ReturnType<typeof createUsageCounter>

/**
 * Counts requests of keys in memory, so that no request waits for a statement. If they cannot be written, they are kept
 * for the next call of `flush`.
 * @param onError called if the counts could not be written
 */
export function createUsageCounter(db: Kysely<Tables>, onError: (error: unknown) => void) {
  const indexes = Object.fromEntries(usageColumns.map((column, index) => [column, index])) as UsageCounts
  let pending = new Map<string, number[]>()
  let flushed = Promise.resolve()

  function add(id: string, index: number, requests: number): void {
    let counts = pending.get(id)
    if (counts === undefined) {
      if (pending.size >= maxKeys) return
      counts = usageColumns.map(() => 0)
      pending.set(id, counts)
    }
    counts[index] = (counts[index] ?? 0) + requests
  }

  async function write(): Promise<void> {
    // Sorted, so that two replicas do not deadlock.
    const usage = [...pending].sort(([a], [b]) => (a < b ? -1 : 1))
    pending = new Map()
    while (usage.length > 0) {
      const rows = usage.slice(0, maxRows)
      try {
        await addUsage(db, [
          rows.map(([id]) => id),
          ...usageColumns.map((_, index) => rows.map(([, counts]) => counts[index])),
        ])
      } catch (error) {
        for (const [id, counts] of usage)
          for (const [index, requests] of counts.entries()) add(id, index, requests)
        onError(error)
        return
      }
      usage.splice(0, maxRows)
    }
  }

  return {
    count: (id: string, column: UsageColumn): void => {
      add(id, indexes[column], 1)
    },
    /** Writes what was counted before the call. Never rejects. */
    flush: (): Promise<void> => {
      flushed = flushed.then(write)
      return flushed
    },
  }
}

/**
 * $1: ids of keys, sorted; $2 and following: for each column, the requests of each key. Adds them to the current hour,
 * and stores the day as that of the last use of the permissions, at most once per key, permission and day.
 */
const addUsage = precompiled(sql`
  with counted as (
    select * from unnest(
      $1::text[], ${sql.raw(usageColumns.map((_, index) => `$${index + 2}::integer[]`).join(', '))}
    ) as counted (key_id, ${listColumns(usageColumns)})
  ), added as (
    insert into key_usage_hours as total (hour, key_id, ${listColumns(usageColumns)})
    select ${thisHour}, key_id, ${listColumns(usageColumns)} from counted order by key_id
    on conflict (hour, key_id) do update set ${addedCounts}
  )
  insert into key_last_uses as last (key_id, ${listColumns(Object.values(permissionColumns))})
  select key_id, ${sql.join(
    Object.values(permissionColumns).map(
      (name) => sql`case when ${sql.ref(`counted.${name}`)} > 0 then ${today} end`,
    ),
  )}
  from counted left join key_last_uses as known using (key_id)
  where ${sql.join(
    Object.values(permissionColumns).map(
      (name) =>
        sql`(${sql.ref(`counted.${name}`)} > 0 and coalesce(${sql.ref(`known.${name}`)} < ${today}, true))`,
    ),
    sql` or `,
  )}
  order by key_id
  on conflict (key_id) do update set ${sql.join(
    Object.values(permissionColumns).map(
      (name) => sql`${sql.ref(name)} = greatest(${sql.ref(`last.${name}`)}, ${sql.ref(`excluded.${name}`)})`,
    ),
  )}`)
