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

/**
 * SQL for the totals of the four spans, four statuses each, without the hour and its UTC day: they do not change while
 * the hour lasts, unless the past is written.
 */
export function pastTotals(monitorId: RawBuilder<unknown>, hour: RawBuilder<unknown>) {
  const day = sql`floor(${hour} / 24.0)::integer`
  const statuses = ['up', 'degraded', 'down', 'maintenance'].map((name) => sql.ref(name))
  const daySums = spanDays.flatMap((days) =>
    statuses.map((status) => sql`sum(${status}) filter (where day > ${day} - ${sql.lit(days)})`),
  )
  const columns = (sums: RawBuilder<unknown>[]) =>
    sql.join(sums.map((sum) => sql`coalesce(${sum}, 0)::integer`))
  return sql`(
    (select array[${columns(statuses.map((status) => sql`sum(${status})`))}]
      from monitor_hours where monitor_id = ${monitorId} and hour > ${hour} - 24 and hour < ${hour})
    || (select array[${columns(daySums)}]
      from monitor_days where monitor_id = ${monitorId} and day > ${day} - 90 and day < ${day})
  )`
}

/** SQL for the totals of the hour and of its UTC day, and of what is reported after them: four statuses each. */
export function currentTotals(monitorId: RawBuilder<unknown>, hour: RawBuilder<unknown>) {
  const sums = sql`array[coalesce(sum(up), 0)::integer, coalesce(sum(degraded), 0)::integer,
    coalesce(sum(down), 0)::integer, coalesce(sum(maintenance), 0)::integer]`
  return sql`(
    (select ${sums} from monitor_hours where monitor_id = ${monitorId} and hour >= ${hour})
    || (select ${sums} from monitor_days where monitor_id = ${monitorId} and day >= floor(${hour} / 24.0)::integer)
  )`
}

/** Returns the uptime of each span. @param past from pastTotals. @param current from currentTotals */
export function toUptimes(past: number[], current: number[], degradedCountsAsDown: boolean) {
  const uptime = (span: number) => {
    const [up, degraded, down, maintenance] = [0, 1, 2, 3].map(
      (status) => (past[span * 4 + status] ?? 0) + (current[(span === 0 ? 0 : 4) + status] ?? 0),
    ) as [number, number, number, number]
    return toUptime({ up, degraded, down, maintenance }, degradedCountsAsDown)
  }
  return { '24h': uptime(0), '7d': uptime(1), '30d': uptime(2), '90d': uptime(3) }
}
