import { type Kysely, sql } from 'kysely'
import { prepared } from '../database/prepared.ts'
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

/** Most open incidents that are shown. One more is read, to know whether there are more. */
export const maxOpenIncidents = 50

const maxComments = 10
const maxMaintenances = 100
const maxRecent = 20

/** Days of which the page lists the incidents that are no longer open. */
export const recentDays = 14

/** Uptime, and the reported minutes of the other statuses. */
export type MonitorDay = Omit<StatusTotals, 'up'> & { uptime: number }

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

/**
 * Reads what the public page shows, without hidden and disabled monitors, in a fixed number of statements. They run one
 * after the other, so that public readers use one connection.
 */
export async function readStatusPage(db: Kysely<Tables>): Promise<StatusPage> {
  const monitors = await readMonitors(db)
  const incidents = await listOpenIncidents(db, { incidents: maxOpenIncidents + 1, comments: maxComments })
  const recent = await listRecentIncidents(db, recentDays, maxRecent)
  const maintenances = await listPublicMaintenances(db, maxMaintenances, null)
  return { ...monitors, incidents, recent, maintenances }
}

type MonitorRow = Omit<PageMonitor, 'days' | 'uptime'> & {
  degraded_counts_as_down: boolean
  /** Minutes of UP on all days. */
  up: number | null
  /** Days with no other status than UP, counted from the first. Most days are listed here, which takes a third of the time. */
  clean_days: number[] | null
  /** The other days, with the minutes of each status. */
  other_days: [day: number, up: number, degraded: number, down: number, maintenance: number][] | null
}

const isClean = sql`degraded = 0 and down = 0 and maintenance = 0`

async function readMonitors(
  db: Kysely<Tables>,
): Promise<Pick<StatusPage, 'now' | 'firstDay' | 'counts' | 'monitors'>> {
  const { rows } = await prepared(sql<{
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
        select tag, name, description, category_name, external_url, degraded_counts_as_down, status, history.*
        from worst, lateral (
          select sum(up) as up,
            array_agg(day - first) filter (where up > 0 and ${isClean}) as clean_days,
            json_agg(json_build_array(day - first, up, degraded, down, maintenance)) filter (where not (${isClean}))
              as other_days
          from monitor_days where monitor_id = worst.id and day between first and first + ${shownDays - 1}::integer
        ) as history
      ) as monitor), '[]') as monitors
    from days`).execute(db)
  const [row] = rows
  if (!row) throw new Error('A query of one row has one row')
  return {
    now: row.now,
    firstDay: row.first_day,
    counts: row.counts,
    monitors: row.monitors.map(toPageMonitor),
  }
}

function toPageMonitor(row: MonitorRow): PageMonitor {
  const { degraded_counts_as_down, up, clean_days, other_days, ...monitor } = row
  const totals: StatusTotals = { up: up ?? 0, degraded: 0, down: 0, maintenance: 0 }
  const days = Array<MonitorDay | null>(shownDays).fill(null)
  for (const day of clean_days ?? []) days[day] = cleanDay
  for (const [day, up, degraded, down, maintenance] of other_days ?? []) {
    const uptime = toUptime({ up, degraded, down, maintenance }, degraded_counts_as_down) ?? 0
    days[day] = { uptime, degraded, down, maintenance }
    totals.degraded += degraded
    totals.down += down
    totals.maintenance += maintenance
  }
  return { ...monitor, days, uptime: toUptime(totals, degraded_counts_as_down) }
}

const cleanDay: MonitorDay = { uptime: 1, degraded: 0, down: 0, maintenance: 0 }
