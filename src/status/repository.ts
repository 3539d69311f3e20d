import { type Kysely, sql } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { type Status, statusesBySeverity } from '../enums.ts'
import { listStatusIncidents } from '../incidents/public-incidents.ts'
import { listPublicMaintenances } from '../maintenances/public-maintenances.ts'
import { monitorIsVisible } from '../monitors/affected.ts'
import { currentStatus } from '../monitors/current-status.ts'
import type { Monitor } from '../monitors/repository.ts'
import { type Scope, tagIsInScope } from '../monitors/scope.ts'

type PublicMonitor = Pick<Monitor, 'tag' | 'name' | 'category_name' | 'status'>

export type DescribedMonitor = PublicMonitor & Pick<Monitor, 'description' | 'created_at' | 'updated_at'>

const maxMaintenances = 100
const maintenanceDays = 7

/**
 * Reads the public status, without hidden and disabled monitors. The statements run one after the other, so that public
 * readers use one connection.
 */
export async function readPublicStatus(db: Kysely<Tables>) {
  const monitors = await listPublicMonitors(db)
  const incidents = await listStatusIncidents(db)
  const maintenances = await listPublicMaintenances(db, maxMaintenances, maintenanceDays)
  return { status: overallStatus(monitors), monitors, incidents, maintenances }
}

const withVisibleMonitors = currentStatus(sql`(select * from monitors where ${monitorIsVisible})`)

async function listPublicMonitors(db: Kysely<Tables>): Promise<PublicMonitor[]> {
  const { rows } = await sql<PublicMonitor>`
    ${withVisibleMonitors} select tag, name, category_name, status from current order by tag`.execute(db)
  return rows
}

/** Lists the visible monitors by category and tag, without a category last. */
export async function listDescribedMonitors(db: Kysely<Tables>): Promise<DescribedMonitor[]> {
  const { rows } = await prepared(sql<DescribedMonitor>`
    ${withVisibleMonitors}
    select tag, name, description, category_name, status, created_at, updated_at from current
    order by category_name, tag`).execute(db)
  return rows
}

/** Reads the overall status alone. */
export async function readOverallStatus(db: Kysely<Tables>): Promise<Status> {
  const { rows } = await prepared(sql<Pick<Monitor, 'status'>>`
    ${withVisibleMonitors} select distinct status from current`).execute(db)
  return overallStatus(rows)
}

/** Returns the most severe status of the monitors. */
function overallStatus(monitors: Pick<Monitor, 'status'>[]): Status {
  const present = new Set(monitors.map(({ status }) => status))
  return statusesBySeverity.find((status) => present.has(status)) ?? 'NO_DATA'
}

export type MonitorSummary = {
  counts: Partial<Record<Status, number>>
  /** The monitors that are down or degraded, in this order. */
  impaired: Pick<Monitor, 'tag' | 'name' | 'status' | 'status_source' | 'hidden'>[]
}

const impairedStatuses: readonly Status[] = ['DOWN', 'DEGRADED']

/** Counts the enabled monitors of the scope per status, and lists the first `limit` of those that are down or degraded. */
export async function summarizeMonitors(
  db: Kysely<Tables>,
  scope: Scope,
  limit: number,
): Promise<MonitorSummary> {
  const inScope = scope === null ? sql`true` : tagIsInScope(scope)
  const { rows } = await sql<MonitorSummary>`
    ${currentStatus(sql`(select * from monitors where enabled and ${inScope})`)}, ranked as (
      select tag, name, status, status_source, hidden, array_position(${impairedStatuses}::text[], status) as rank
      from current
    )
    select
      coalesce((select json_object_agg(status, total) from (
        select status, count(*) as total from ranked group by status) as totals), '{}') as counts,
      coalesce((select json_agg(first) from (
        select tag, name, status, status_source, hidden from ranked where rank is not null
        order by rank, tag limit ${limit}) as first), '[]') as impaired
    `.execute(db)
  const [summary] = rows
  if (!summary) throw new Error('A query without FROM has one row')
  return summary
}
