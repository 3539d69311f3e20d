import { type RawBuilder, sql } from 'kysely'
import type { ReportStatus } from '../enums.ts'
import { currentStatus } from './current-status.ts'
import { uptimeText } from './monitor-text.ts'
import type { Monitor } from './repository.ts'
import { sumSpans } from './uptime.ts'

/** The current hour. A nested select, which is evaluated once: evaluating the clock per row takes longer than the rest. */
const hour = sql`(select this_hour from clock)`

/** Totals that uptime is calculated from. They are added up only if no report of this hour has stored them. */
const totals = sql`,
  coalesce(
    case when last.totals_hour = ${hour} and last.past_hour is null then last.totals end, ${sumSpans(sql`monitors.id`, hour)}
  ) as totals`

export const withTotals = (monitors: RawBuilder<unknown>) => currentStatus(monitors, totals)

/** The rows of `current`. `offset 0` prevents that their totals are read again for each use. */
export const currentOnce = sql`(select * from current offset 0) as current`

/** Returns one JSON value, because pg takes twice as long for fifty rows of twenty columns. */
export function withUptime(monitors: RawBuilder<unknown>) {
  return sql<{ monitors: MonitorRow[] | null }>`
    ${withTotals(monitors)}
    select json_agg(monitor order by tag) as monitors
    from (select *, ${uptimeText}::json as uptime from ${currentOnce}) as monitor`
}

/** `version` is a number, because microseconds since 1970 are exact until the year 2255. */
export type MonitorRow = Omit<Monitor, 'last_report' | 'created_at' | 'updated_at' | 'version'> & {
  version: number
  created_at: string
  updated_at: string
  last_minute: number | null
  last_status: ReportStatus | null
  last_latency_ms: number | null
}

/** Lists the fields, because spreading a row of twenty takes ten times as long. */
export function toMonitors([row]: { monitors: MonitorRow[] | null }[]): Monitor[] {
  return (row?.monitors ?? []).map((monitor) => ({
    id: monitor.id,
    tag: monitor.tag,
    name: monitor.name,
    description: monitor.description,
    category_name: monitor.category_name,
    external_url: monitor.external_url,
    enabled: monitor.enabled,
    hidden: monitor.hidden,
    default_status: monitor.default_status,
    stale_after_seconds: monitor.stale_after_seconds,
    degraded_counts_as_down: monitor.degraded_counts_as_down,
    status: monitor.status,
    status_source: monitor.status_source,
    last_report:
      monitor.last_minute === null || monitor.last_status === null
        ? null
        : { minute: monitor.last_minute, status: monitor.last_status, latency_ms: monitor.last_latency_ms },
    uptime: monitor.uptime,
    created_at: new Date(monitor.created_at),
    updated_at: new Date(monitor.updated_at),
    version: String(monitor.version),
  }))
}
