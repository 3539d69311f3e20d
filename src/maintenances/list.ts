import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { affectedByMaintenance } from '../monitors/affected.ts'
import { eventIsOngoing } from '../monitors/current-status.ts'
import type { Scope } from '../monitors/scope.ts'
import { type Maintenance, maintenanceColumns } from './repository.ts'

type MaintenanceFilter = {
  /** Monitors of the calling key. */
  scope: Scope
  enabled?: boolean | undefined
  /** Matches maintenances that affect at least one of these monitors. */
  monitor_tags?: readonly string[] | undefined
  /** Start and id of the last maintenance of the previous page. */
  cursor?: { at: Date; id: number } | undefined
  /** Id of the last maintenance of the previous page, if they are listed by id. */
  before?: number | undefined
}

/** Lists maintenances by start or by id, newest first. */
export async function listMaintenances(
  db: Kysely<Tables>,
  filter: MaintenanceFilter,
  limit: number,
  newest: 'start' | 'id' = 'start',
): Promise<Maintenance[]> {
  const { scope, enabled, monitor_tags: tags, cursor, before } = filter
  const conditions = [
    ...(enabled === undefined ? [] : [sql`enabled = ${enabled}`]),
    ...(cursor === undefined
      ? []
      : [sql`(starts_at, id) < (${cursor.at}::timestamptz, ${cursor.id}::integer)`]),
    ...(before === undefined ? [] : [sql`id < ${before}`]),
    ...(tags === undefined ? [] : [affectedByMaintenance.includes(tags, scope)]),
    ...(scope === null ? [] : [affectedByMaintenance.isInScope(scope)]),
  ]
  const where = conditions.length > 0 ? sql`where ${sql.join(conditions, sql` and `)}` : sql``
  const order = newest === 'start' ? sql`starts_at desc, id desc` : sql`id desc`
  const { rows } = await sql<Maintenance>`
    select ${maintenanceColumns(scope)} from maintenances ${where} order by ${order} limit ${limit}`.execute(
    db,
  )
  return rows
}

export type OngoingMaintenance = Pick<Maintenance, 'id' | 'title' | 'monitors'> & {
  starts_at: Date
  ends_at: Date
}

/** Lists the enabled maintenances that are ongoing and affect a monitor of the scope, soonest end first. */
export async function listOngoingMaintenances(
  db: Kysely<Tables>,
  scope: Scope,
  limit: number,
): Promise<OngoingMaintenance[]> {
  const { rows } = await sql<OngoingMaintenance>`
    select maintenances.id, title, event.starts_at, ends_at, ${affectedByMaintenance.column(scope)}
    from (
      select maintenance_id, starts_at, ends_at from maintenance_events where ${eventIsOngoing}
    ) as event join maintenances on maintenances.id = maintenance_id
    where enabled and ${affectedByMaintenance.isInScope(scope)} order by ends_at, maintenances.id limit ${limit}`.execute(
    db,
  )
  return rows
}
