import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { type Status, statusesBySeverity } from '../enums.ts'
import { listOpenIncidents, listRecentIncidents } from '../incidents/public-incidents.ts'
import { listPublicMaintenances } from '../maintenances/public-maintenances.ts'
import { monitorIsVisible } from '../monitors/affected.ts'
import { currentStatus } from '../monitors/current-status.ts'
import type { Monitor } from '../monitors/repository.ts'
import { type StatusTotals, toUptime } from '../monitors/uptime.ts'

/** Days that the page shows of each monitor, in UTC, with the current day. */
export const shownDays = 90

/** Most monitors that are shown one by one: a monitor takes about 4 kB of the page. The worst are shown. */
const maxMonitors = 500
const maxIncidents = 50
const maxComments = 10
const maxMaintenances = 100
const recentDays = 14
const maxRecent = 20

export type MonitorDay = StatusTotals & { uptime: number }

export type PageMonitor = Pick<
  Monitor,
  'tag' | 'name' | 'description' | 'category_name' | 'external_url' | 'status'
> & {
  /** Oldest first. Null: nothing was reported. */
  days: (MonitorDay | null)[]
  uptime: number | null
}

export type StatusPage = {
  now: Date
  /** The first of the days, since 1970. */
  firstDay: number
  /** Number of all visible monitors, by status. */
  counts: Partial<Record<Status, number>>
  monitors: PageMonitor[]
  /** Open incidents. */
  incidents: Awaited<ReturnType<typeof listOpenIncidents>>
  /** Incidents of the last days that are no longer open. */
  recent: Awaited<ReturnType<typeof listRecentIncidents>>
  maintenances: Awaited<ReturnType<typeof listPublicMaintenances>>
}

/** Reads what the public page shows, without hidden and disabled monitors, in a fixed number of statements. */
export async function readStatusPage(db: Kysely<Tables>): Promise<StatusPage> {
  const [monitors, incidents, recent, maintenances] = await Promise.all([
    readMonitors(db),
    listOpenIncidents(db, { incidents: maxIncidents, comments: maxComments }),
    listRecentIncidents(db, recentDays, maxRecent),
    listPublicMaintenances(db, maxMaintenances, null),
  ])
  return { ...monitors, incidents, recent, maintenances }
}

/** Day, counted from the first, and the minutes of each status. */
type DayRow = [day: number, up: number, degraded: number, down: number, maintenance: number]

type MonitorRow = Omit<PageMonitor, 'days' | 'uptime'> & {
  degraded_counts_as_down: boolean
  days: DayRow[] | null
}

async function readMonitors(
  db: Kysely<Tables>,
): Promise<Pick<StatusPage, 'now' | 'firstDay' | 'counts' | 'monitors'>> {
  const { rows } = await sql<{
    now: Date
    first_day: number
    counts: StatusPage['counts']
    monitors: MonitorRow[]
  }>`
    ${currentStatus(sql`(select * from monitors where ${monitorIsVisible})`)}, days as materialized (
      select floor(extract(epoch from now()) / 86400)::integer - ${shownDays - 1}::integer as first
    ), worst as (
      select id, tag, name, description, category_name, external_url, degraded_counts_as_down, status
      from current order by array_position(${statusesBySeverity}::text[], status), tag limit ${maxMonitors}
    )
    select date_trunc('second', now()) as now, first as first_day,
      coalesce((select json_object_agg(status, total) from (
        select status, count(*) as total from current group by status) as totals), '{}') as counts,
      coalesce((select json_agg(monitor) from (
        select tag, name, description, category_name, external_url, degraded_counts_as_down, status, (
          select json_agg(json_build_array(day - first, up, degraded, down, maintenance) order by day)
          from monitor_days where monitor_id = worst.id and day between first and first + ${shownDays - 1}::integer
        ) as days from worst) as monitor), '[]') as monitors
    from days`.execute(db)
  const [row] = rows
  if (!row) throw new Error('A query of one row has one row')
  return {
    now: row.now,
    firstDay: row.first_day,
    counts: row.counts,
    monitors: row.monitors.map(toPageMonitor),
  }
}

function toPageMonitor({ degraded_counts_as_down, days, ...monitor }: MonitorRow): PageMonitor {
  const sums: StatusTotals = { up: 0, degraded: 0, down: 0, maintenance: 0 }
  const byDay = Array<MonitorDay | null>(shownDays).fill(null)
  for (const [day, up, degraded, down, maintenance] of days ?? []) {
    const totals = { up, degraded, down, maintenance }
    const uptime = toUptime(totals, degraded_counts_as_down)
    if (uptime !== null) byDay[day] = { ...totals, uptime }
    sums.up += up
    sums.degraded += degraded
    sums.down += down
    sums.maintenance += maintenance
  }
  return { ...monitor, days: byDay, uptime: toUptime(sums, degraded_counts_as_down) }
}
