import { type Kysely, type RawBuilder, sql } from 'kysely'
import { precompiled } from '../database/prepared.ts'
import type { PermissionColumn, Tables, UsageCounts } from '../database/schema.ts'
import { type Permission, permissions } from '../permissions.ts'

/** The columns that count requests by the permission that their route requires. */
export const permissionColumns = Object.fromEntries(
  permissions.map((permission) => [permission, permission.replace(':', '_')]),
) as Record<Permission, PermissionColumn>

export type UsageColumn = keyof UsageCounts

const columns: UsageColumn[] = [
  ...Object.values(permissionColumns),
  'no_permission',
  'forbidden',
  'rate_limited',
]

/** By the database's clock, which all replicas share. */
const thisHour = sql<number>`floor(extract(epoch from now()) / 3600)::integer`
export const today = sql<number>`floor(extract(epoch from now()) / 86400)::integer`

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
  const indexes = Object.fromEntries(columns.map((column, index) => [column, index])) as UsageCounts
  let pending = new Map<string, number[]>()
  let flushed = Promise.resolve()

  function add(id: string, index: number, requests: number): void {
    let counts = pending.get(id)
    if (counts === undefined) {
      if (pending.size >= maxKeys) return
      counts = columns.map(() => 0)
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
          ...columns.map((_, index) => rows.map(([, counts]) => counts[index])),
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

const list = (names: readonly string[]) => sql.join(names.map((name) => sql.ref(name)))

/**
 * $1: ids of keys, sorted; $2 and following: for each column, the requests of each key. Adds them to the current hour,
 * and stores the day as that of the last use of the permissions, at most once per key, permission and day.
 */
const addUsage = precompiled(sql`
  with counted as (
    select * from unnest(
      $1::text[], ${sql.raw(columns.map((_, index) => `$${index + 2}::integer[]`).join(', '))}
    ) as counted (key_id, ${list(columns)})
  ), added as (
    insert into key_usage_hours as total (hour, key_id, ${list(columns)})
    select ${thisHour}, key_id, ${list(columns)} from counted order by key_id
    on conflict (hour, key_id) do update set ${sql.join(
      columns.map(
        (name) => sql`${sql.ref(name)} = ${sql.ref(`total.${name}`)} + ${sql.ref(`excluded.${name}`)}`,
      ),
    )}
  )
  insert into key_last_uses as last (key_id, ${list(Object.values(permissionColumns))})
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

/** Requests of a key in an hour or a UTC day. */
export type UsageBucket = {
  /** Start of the bucket: hours or days since 1970. */
  start: number
  /** All requests, also the rejected ones. */
  requests: number
  by_permission: Record<Permission, number>
  rejected: { forbidden: number; rate_limited: number }
}

/** Length of a bucket in hours, and the number of buckets that are read by default. */
export const usageIntervals = {
  hour: { hours: 1, defaultCount: 24 },
  day: { hours: 24, defaultCount: 30 },
} as const

export type UsageInterval = keyof typeof usageIntervals

type UsageQuery = {
  interval: UsageInterval
  /** First bucket. By default, 24 hours or 30 days are read. */
  from?: number | undefined
  /** The bucket after the last one. By default, the bucket of the current time is the last one. */
  to?: number | undefined
  /** `start` of the last bucket of the previous page. */
  after?: number | undefined
  limit?: number | undefined
}

/** Returns the buckets with requests in [from, to), ascending. */
export async function readUsage(
  db: Kysely<Tables>,
  id: string,
  { interval, from, to, after = -1, limit }: UsageQuery,
): Promise<UsageBucket[]> {
  const { hours, defaultCount } = usageIntervals[interval]
  const end = sql<number>`coalesce(${to}::integer, ${thisHour} / ${hours}::integer + 1)`
  const first = sql<number>`greatest(coalesce(${from}::integer, ${end} - ${defaultCount}::integer), ${after}::integer + 1)`
  const perHour = usageOf('key_usage_hours', 'hour', id, {
    first: sql`${first} * ${hours}::integer`,
    end: sql`${end} * ${hours}::integer`,
  })
  const perDay = usageOf('key_usage_days', 'day', id, { first, end })
  const { rows } = await sql<UsageCounts & { bucket: number }>`
    select bucket, ${sql.join(columns.map((name) => sql`sum(${sql.ref(name)})::float8 as ${sql.ref(name)}`))}
    from (
      select start / ${hours}::integer as bucket, ${list(columns)} from (${perHour}) as per_hour
      ${interval === 'day' ? sql`union all select start, ${list(columns)} from (${perDay}) as per_day` : sql``}
    ) as usage
    group by bucket order by bucket limit ${limit ?? null}`.execute(db)
  return rows.map(toBucket)
}

/** A key, and its requests of the last 24 hours that were rejected because of its rate limit. */
export type LimitedKey = { id: string; name: string; rejected: number }

/** Lists the active keys that exceeded their rate limit in the last 24 hours, most rejected requests first. */
export async function listLimitedKeys(db: Kysely<Tables>, limit: number): Promise<LimitedKey[]> {
  const { rows } = await sql<LimitedKey>`
    select id, name, sum(rate_limited)::float8 as rejected
    from key_usage_hours join api_keys on id = key_id
    where hour > ${thisHour} - 24 and rate_limited > 0
      and revoked_at is null and coalesce(expires_at > now(), true)
    group by id, name order by rejected desc, id limit ${limit}`.execute(db)
  return rows
}

/**
 * Selects the rows of a key. Each hour or day is looked up by the primary key, because the table has no index on keys,
 * and only from the oldest row to the newest one of the table, which bounds the lookups.
 */
function usageOf(
  table: 'key_usage_hours' | 'key_usage_days',
  column: 'hour' | 'day',
  id: string,
  { first, end }: { first: RawBuilder<unknown>; end: RawBuilder<unknown> },
): RawBuilder<unknown> {
  return sql`
    select start, ${list(columns)}
    from (select coalesce(min(${sql.ref(column)}), 1) as oldest, coalesce(max(${sql.ref(column)}), 0) as newest
        from ${sql.table(table)}) as stored,
      generate_series(greatest(${first}, oldest), least(${end} - 1, newest)) as start,
      lateral (select * from ${sql.table(table)} where ${sql.ref(column)} = start and key_id = ${id} limit 1) as row`
}

function toBucket({ bucket, ...counts }: UsageCounts & { bucket: number }): UsageBucket {
  return {
    start: bucket,
    requests: columns.reduce((sum, column) => sum + counts[column], 0),
    by_permission: Object.fromEntries(
      permissions.map((permission) => [permission, counts[permissionColumns[permission]]]),
    ) as Record<Permission, number>,
    rejected: { forbidden: counts.forbidden, rate_limited: counts.rate_limited },
  }
}

/** How long usage is kept by the hour, then by the day, in days. */
export const usageRetention = { hourly: 90, daily: 400 }

/** Rows per statement, so that locks are held only briefly. */
const maxRemovedRows = 5_000

/**
 * Adds up the hours of days that ended more than 90 days ago, and deletes days that ended more than 400 days ago. Skips
 * rows that another replica removes at the same time.
 */
export async function rollUpUsage(db: Kysely<Tables>): Promise<void> {
  for (const statement of [rollUpHours, removeDays]) {
    for (;;) {
      const { rows } = await statement.execute(db)
      if ((rows[0]?.removed ?? 0) < maxRemovedRows) break
    }
  }
}

const rollUpHours = sql<{ removed: number }>`
  with expired as (
    select hour, key_id from key_usage_hours where hour < (${today} - ${sql.lit(usageRetention.hourly)}) * 24
    order by hour, key_id limit ${sql.lit(maxRemovedRows)} for update skip locked
  ), removed as (
    delete from key_usage_hours using expired
    where key_usage_hours.hour = expired.hour and key_usage_hours.key_id = expired.key_id
    returning key_usage_hours.*
  ), added as (
    insert into key_usage_days as total (day, key_id, ${list(columns)})
    select hour / 24, key_id, ${sql.join(columns.map((name) => sql`sum(${sql.ref(name)})`))}
    from removed group by 1, 2 order by 1, 2
    on conflict (day, key_id) do update set ${sql.join(
      columns.map(
        (name) => sql`${sql.ref(name)} = ${sql.ref(`total.${name}`)} + ${sql.ref(`excluded.${name}`)}`,
      ),
    )}
  )
  select count(*)::integer as removed from removed`

const removeDays = sql<{ removed: number }>`
  with expired as (
    select day, key_id from key_usage_days where day < ${today} - ${sql.lit(usageRetention.daily)}
    order by day, key_id limit ${sql.lit(maxRemovedRows)} for update skip locked
  ), removed as (
    delete from key_usage_days using expired
    where key_usage_days.day = expired.day and key_usage_days.key_id = expired.key_id
    returning key_usage_days.day
  )
  select count(*)::integer as removed from removed`
