import { type QueryExecutorProvider, type RawBuilder, sql } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { MonitorHoursTable } from '../database/schema.ts'
import type { ReportStatus } from '../enums.ts'
import { moveSpans, spanTotalsLength, sumSpans } from '../monitors/uptime.ts'
import { hourKey } from './chunks.ts'
import { emptyHour, type Hour, type Totals, toTotals } from './hour-codec.ts'

/** `is_removed`: retention has removed the hour. Reports about it are ignored, because its day contains its totals. */
export type MonitorHour = Hour & { monitor_id: number; hour: number; is_removed: boolean }
export type DayTotals = { monitor_id: number; day: number; totals: Totals }

/**
 * Makes all plans of a transaction use primary keys. Statistics are no reliable basis: a plan that was made while the
 * table was small, or that estimates most of it to be affected, reads all of it.
 */
export const forceKeyLookups = sql`
  select set_config(name, 'off', true)
  from unnest(array['enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin']) as name`

/** Returns the hours that are stored or removed. @param wanted SQL for rows of monitor_id and hour, without duplicates */
export async function readHours(
  trx: QueryExecutorProvider,
  wanted: RawBuilder<unknown>,
): Promise<Map<string, MonitorHour>> {
  const { rows } = await prepared(sql<
    { monitor_id: number; hour: number } & (
      ({ is_removed: false } & MonitorHoursTable) | { is_removed: true }
    )
  >`
    select wanted.monitor_id, wanted.hour, is_removed,
      up, degraded, down, maintenance, latency_count, latency_sum, statuses, latencies
    from ${wanted} as wanted (monitor_id, hour)
    left join monitor_hours as stored on stored.monitor_id = wanted.monitor_id and stored.hour = wanted.hour
    cross join lateral (select floor(wanted.hour / 24.0)::integer as day) as days
    cross join lateral (
      select coalesce((
        select removed_hours & (1 << (wanted.hour - days.day * 24)) from monitor_days
        where monitor_id = wanted.monitor_id and day = days.day
      ), 0) <> 0 as is_removed
    ) as removal
    where is_removed or stored.hour is not null`).execute(trx)
  return new Map(
    rows.map((row) => {
      const { monitor_id, hour } = row
      const content = row.is_removed
        ? emptyHour()
        : { totals: toTotals(row), statuses: row.statuses, latencies: row.latencies }
      return [hourKey(row), { monitor_id, hour, is_removed: row.is_removed, ...content }]
    }),
  )
}

/** The report of the newest minute of a monitor. */
export type LatestReport = {
  monitor_id: number
  minute: number
  second: number
  status: ReportStatus
  latency_ms: number | null
  /** Change of the totals of the spans of uptime that end with `hour`. */
  totals: number[]
  hour: number
}

/** Rows to be written. A latest report is stored unless a newer one is; its totals are added in any case. */
export type ReportRows = { hours: MonitorHour[]; days: DayTotals[]; latest: LatestReport[] }

/**
 * Writes rows, in one statement, because a round trip takes longer than the rows of most batches. Sends one array per
 * column; the bytes of all hours are concatenated, and split by the database, and so are the totals of spans.
 *
 * Adds the differences to days, because the totals of a day outlive its minutes; and to the totals that uptime is
 * calculated from, so that lists do not sum them. When those that are stored end one hour earlier, the hour that has left
 * the spans is subtracted; otherwise, and on a new day, they are summed, so that no error in them stays. The last reports are
 * read in a lateral query, because a generic plan reads all rows of a small table to join ten.
 */
export async function upsertRows(
  trx: QueryExecutorProvider,
  { hours, days, latest }: ReportRows,
): Promise<void> {
  const statuses = Buffer.concat(hours.map((hour) => hour.statuses))
  const latencies = Buffer.concat(hours.map((hour) => hour.latencies))
  await prepared(sql`
    with written_hours as (
      insert into monitor_hours
        (monitor_id, hour, up, degraded, down, maintenance, latency_count, latency_sum, statuses, latencies)
      select monitor_id, hour, up, degraded, down, maintenance, latency_count, latency_sum,
        substring(${statuses}::bytea from (position::integer - 1) * 60 + 1 for 60),
        substring(${latencies}::bytea from (position::integer - 1) * 240 + 1 for 240)
      from unnest(
        ${list(hours.map(({ monitor_id }) => monitor_id))}::integer[], ${list(hours.map(({ hour }) => hour))}::integer[],
        ${column(hours, 'up')}::smallint[], ${column(hours, 'degraded')}::smallint[], ${column(hours, 'down')}::smallint[],
        ${column(hours, 'maintenance')}::smallint[], ${column(hours, 'latency_count')}::smallint[],
        ${column(hours, 'latency_sum')}::bigint[]
      ) with ordinality
        as row (monitor_id, hour, up, degraded, down, maintenance, latency_count, latency_sum, position)
      on conflict (monitor_id, hour) do update set
        up = excluded.up, degraded = excluded.degraded, down = excluded.down, maintenance = excluded.maintenance,
        latency_count = excluded.latency_count, latency_sum = excluded.latency_sum,
        statuses = excluded.statuses, latencies = excluded.latencies
    ), written_days as (
      insert into monitor_days as stored (monitor_id, day, up, degraded, down, maintenance, latency_count, latency_sum)
      select * from unnest(
        ${list(days.map(({ monitor_id }) => monitor_id))}::integer[], ${list(days.map(({ day }) => day))}::integer[],
        ${column(days, 'up')}::integer[], ${column(days, 'degraded')}::integer[], ${column(days, 'down')}::integer[],
        ${column(days, 'maintenance')}::integer[], ${column(days, 'latency_count')}::integer[],
        ${column(days, 'latency_sum')}::bigint[])
      on conflict (monitor_id, day) do update set
        up = stored.up + excluded.up, degraded = stored.degraded + excluded.degraded,
        down = stored.down + excluded.down, maintenance = stored.maintenance + excluded.maintenance,
        latency_count = stored.latency_count + excluded.latency_count,
        latency_sum = stored.latency_sum + excluded.latency_sum
    ), row as (
      select *, (${list(latest.flatMap(({ totals }) => totals))}::integer[])
        [(position - 1) * ${sql.lit(spanTotalsLength)} + 1 : position * ${sql.lit(spanTotalsLength)}] as change
      from unnest(
        ${list(latest.map(({ monitor_id }) => monitor_id))}::integer[], ${list(latest.map(({ minute }) => minute))}::integer[],
        ${list(latest.map(({ second }) => second))}::smallint[], ${latest.map(({ status }) => status)}::text[],
        ${list(latest.map(({ latency_ms }) => latency_ms))}::integer[], ${list(latest.map(({ hour }) => hour))}::integer[]
      ) with ordinality as row (monitor_id, minute, second, status, latency_ms, totals_hour, position)
    ), before as materialized (
      select row.*, case
        when last.past_hour is null and last.totals_hour = row.totals_hour then last.totals
        when last.past_hour is null and last.totals_hour = row.totals_hour - 1 and row.totals_hour % 24 <> 0
          then ${moveSpans(sql`last.totals`, sql`row.monitor_id`, sql`row.totals_hour`)}
        else ${sumSpans(sql`row.monitor_id`, sql`row.totals_hour`)}
      end as totals
      from row left join lateral (
        select totals_hour, past_hour, totals from last_reports where monitor_id = row.monitor_id offset 0
      ) as last on true
    )
    insert into last_reports as stored
      (monitor_id, minute, second, reported_at, status, latency_ms, totals_hour, totals)
    select monitor_id, minute, second, minute * 60::bigint + second, status, latency_ms, totals_hour, ${addedTotals}
    from before
    on conflict (monitor_id) do update set
      ${sql.join(['minute', 'second', 'reported_at', 'status', 'latency_ms'].map(ofNewest))},
      totals = excluded.totals, totals_hour = excluded.totals_hour, past_hour = null, past_totals = null`).execute(
    trx,
  )
}

function ofNewest(name: string) {
  const column = sql.ref(name)
  return sql`${column} = case when excluded.minute >= stored.minute then excluded.${column} else stored.${column} end`
}

/** Each element by its position, because a sub-select takes twice as long. */
const addedTotals = sql`array[${sql.join(
  Array.from({ length: spanTotalsLength }, (_, index) => {
    const position = sql.lit(index + 1)
    return sql`totals[${position}] + change[${position}]`
  }),
)}]`

function column(rows: { totals: Totals }[], name: keyof Totals): string {
  return list(rows.map(({ totals }) => totals[name]))
}

/** Formats an array, because pg takes ten times as long. */
export function list(numbers: (number | null)[]): string {
  return `{${numbers.map(String).join(',')}}`
}
