import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { type Status, statusesBySeverity } from '../enums.ts'
import { currentStatus } from '../monitors/current-status.ts'
import type { Monitor } from '../monitors/repository.ts'

/** What the public page shows: monitors that are neither hidden nor disabled. */
export async function listPublicMonitors(
  db: Kysely<Tables>,
): Promise<Pick<Monitor, 'tag' | 'name' | 'category_name' | 'status'>[]> {
  const { rows } = await sql<Monitor>`
    ${currentStatus}
    select tag, name, category_name, status from current where enabled and not hidden order by tag`.execute(
    db,
  )
  return rows
}

/** How many of the enabled monitors are what, and the first of them, the worst ahead. */
export async function summarizeMonitors(db: Kysely<Tables>, limit: number): Promise<MonitorSummary> {
  const { rows } = await sql<MonitorSummary>`
    ${currentStatus}, ranked as (
      select tag, name, status, hidden, array_position(${statusesBySeverity}::text[], status) as rank
      from current where enabled
    )
    select
      coalesce((select json_object_agg(status, total) from (
        select status, count(*) as total from ranked group by status) as totals), '{}') as counts,
      coalesce((select json_agg(first) from (
        select tag, name, status, hidden from ranked order by rank, tag limit ${limit}) as first), '[]') as monitors
    `.execute(db)
  const [summary] = rows
  if (!summary) throw new Error('A query without FROM has one row')
  return summary
}

export type MonitorSummary = {
  counts: Partial<Record<Status, number>>
  monitors: Pick<Monitor, 'tag' | 'name' | 'status' | 'hidden'>[]
}
