import { type RawBuilder, sql } from 'kysely'
import { jsonScalar } from '../database/json-text.ts'
import { statusColumns } from '../enums.ts'

/** Number of reported minutes per status. */
export type StatusTotals = Record<(typeof statusColumns)[number], number>

/** Returns the share of the reported minutes that count as up, 0 to 1, or null if no minute was reported. */
export function toUptime(
  { up, degraded, down, maintenance }: StatusTotals,
  degradedCountsAsDown: boolean,
): number | null {
  const reported = up + degraded + down + maintenance
  const good = up + maintenance + (degradedCountsAsDown ? 0 : degraded)
  return reported > 0 ? good / reported : null
}

/** Days of the spans of uptime, after the first, which is 24 hours. */
const spanDays = [7, 30, 90]

/** Names of the spans of uptime. */
const spanNames = ['24h', ...spanDays.map((days) => `${days}d`)]

/** Number of values in the totals of the spans: the statuses of the first span, then those of the next. */
export const spanTotalsLength = (1 + spanDays.length) * statusColumns.length

/**
 * SQL for the totals of the spans: 24 hours by hour, and UTC days by day, the current hour and day included. `offset 0`
 * prevents that the hour, which may be a nested select, is planned again for each span.
 */
export function sumSpans(monitorId: RawBuilder<unknown>, hour: RawBuilder<unknown>) {
  const day = sql`floor(${hour} / 24.0)::integer`
  const columns = statusColumns.map((name) => sql.ref(name))
  const daySums = spanDays.flatMap((days) =>
    columns.map((status) => sql`sum(${status}) filter (where day > today - ${sql.lit(days)})`),
  )
  const toArray = (sums: RawBuilder<unknown>[]) =>
    sql`array[${sql.join(sums.map((sum) => sql`coalesce(${sum}, 0)::integer`))}]`
  return sql`(
    (select ${toArray(columns.map((status) => sql`sum(${status})`))}
      from monitor_hours where monitor_id = ${monitorId} and hour > ${hour} - 24)
    || (select ${toArray(daySums)}
      from (select ${day} as today offset 0) as calendar, monitor_days
      where monitor_id = ${monitorId} and day > ${day} - ${sql.lit(Math.max(...spanDays))})
  )`
}

/**
 * SQL for the totals of the spans, given those that end one hour earlier on the same UTC day: only the 24 hours have moved,
 * so that one row is read instead of a hundred.
 */
export function moveSpans(
  totals: RawBuilder<unknown>,
  monitorId: RawBuilder<unknown>,
  hour: RawBuilder<unknown>,
) {
  const remaining = statusColumns.map(
    (name, index) => sql`${totals}[${sql.lit(index + 1)}] - ${sql.ref(name)}`,
  )
  const first = sql.lit(statusColumns.length)
  return sql`(
    coalesce(
      (select array[${sql.join(remaining)}] from monitor_hours where monitor_id = ${monitorId} and hour = ${hour} - 24),
      ${totals}[:${first}]
    ) || ${totals}[${first} + 1:]
  )`
}

/** Adds the change of an hour to the totals of the spans that end with the hour `end`. */
export function addToSpans(totals: number[], hour: number, change: StatusTotals, end: number): void {
  const age = Math.floor(end / 24) - Math.floor(hour / 24)
  const includes = [hour > end - 24, ...spanDays.map((days) => age < days)]
  includes.forEach((isIncluded, span) => {
    if (!isIncluded) return
    statusColumns.forEach((status, index) => {
      const position = span * statusColumns.length + index
      totals[position] = (totals[position] ?? 0) + change[status]
    })
  })
}

/** SQL for the JSON text of the uptime of each span, by its name: what toUptime returns for its totals. */
export function spanUptimes(totals: RawBuilder<unknown>, degradedCountsAsDown: RawBuilder<unknown>) {
  const uptime = (span: number) => {
    const [up, degraded, down, maintenance] = statusColumns.map(
      (_, index) => sql`${totals}[${sql.lit(span * statusColumns.length + index + 1)}]`,
    )
    const good = sql`${up} + ${maintenance} + case when ${degradedCountsAsDown} then 0 else ${degraded} end`
    return jsonScalar(sql`((${good})::float8 / nullif(${up} + ${degraded} + ${down} + ${maintenance}, 0))`)
  }
  return Object.fromEntries(spanNames.map((name, span) => [name, uptime(span)]))
}
