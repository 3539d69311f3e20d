import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Tables, UsageCounts } from '../database/schema.ts'
import { type Permission, permissions } from '../permissions.ts'
import { listColumns, permissionColumns, thisHour, usageColumns } from './usage-columns.ts'

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
    select bucket, ${sql.join(usageColumns.map((name) => sql`sum(${sql.ref(name)})::float8 as ${sql.ref(name)}`))}
    from (
      select start / ${hours}::integer as bucket, ${listColumns(usageColumns)} from (${perHour}) as per_hour
      ${interval === 'day' ? sql`union all select start, ${listColumns(usageColumns)} from (${perDay}) as per_day` : sql``}
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
    select start, ${listColumns(usageColumns)}
    from (select coalesce(min(${sql.ref(column)}), 1) as oldest, coalesce(max(${sql.ref(column)}), 0) as newest
        from ${sql.table(table)}) as stored,
      generate_series(greatest(${first}, oldest), least(${end} - 1, newest)) as start,
      lateral (select * from ${sql.table(table)} where ${sql.ref(column)} = start and key_id = ${id} limit 1) as row`
}

function toBucket({ bucket, ...counts }: UsageCounts & { bucket: number }): UsageBucket {
  return {
    start: bucket,
    requests: usageColumns.reduce((sum, column) => sum + counts[column], 0),
    by_permission: Object.fromEntries(
      permissions.map((permission) => [permission, counts[permissionColumns[permission]]]),
    ) as Record<Permission, number>,
    rejected: { forbidden: counts.forbidden, rate_limited: counts.rate_limited },
  }
}
