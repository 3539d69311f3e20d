import { type RawBuilder, sql } from 'kysely'

/** Number of reported minutes per status. */
export type StatusTotals = { up: number; degraded: number; down: number; maintenance: number }

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

const statuses = ['up', 'degraded', 'down', 'maintenance'] as const

/** Number of values in the totals of the spans: the statuses of the first span, then those of the next. */
export const spanTotalsLength = (1 + spanDays.length) * statuses.length

/** SQL for the totals of the spans: 24 hours by hour, and UTC days by day, the current hour and day included. */
export function sumSpans(monitorId: RawBuilder<unknown>, hour: RawBuilder<unknown>) {
  const day = sql`floor(${hour} / 24.0)::integer`
  const columns = statuses.map((name) => sql.ref(name))
  const daySums = spanDays.flatMap((days) =>
    columns.map((status) => sql`sum(${status}) filter (where day > ${day} - ${sql.lit(days)})`),
  )
  const toArray = (sums: RawBuilder<unknown>[]) =>
    sql`array[${sql.join(sums.map((sum) => sql`coalesce(${sum}, 0)::integer`))}]`
  return sql`(
    (select ${toArray(columns.map((status) => sql`sum(${status})`))}
      from monitor_hours where monitor_id = ${monitorId} and hour > ${hour} - 24)
    || (select ${toArray(daySums)}
      from monitor_days where monitor_id = ${monitorId} and day > ${day} - ${sql.lit(Math.max(...spanDays))})
  )`
}

/** Adds the change of an hour to the totals of the spans that end with the hour `end`. */
export function addToSpans(totals: number[], hour: number, change: StatusTotals, end: number): void {
  const age = Math.floor(end / 24) - Math.floor(hour / 24)
  const includes = [hour > end - 24, ...spanDays.map((days) => age < days)]
  includes.forEach((isIncluded, span) => {
    if (!isIncluded) return
    statuses.forEach((status, index) => {
      const position = span * statuses.length + index
      totals[position] = (totals[position] ?? 0) + change[status]
    })
  })
}

/** Returns the uptime of each span. */
export function toUptimes(totals: number[], degradedCountsAsDown: boolean) {
  const uptime = (span: number) => {
    const [up = 0, degraded = 0, down = 0, maintenance = 0] = totals.slice(span * 4, span * 4 + 4)
    return toUptime({ up, degraded, down, maintenance }, degradedCountsAsDown)
  }
  return { '24h': uptime(0), '7d': uptime(1), '30d': uptime(2), '90d': uptime(3) }
}
