import { type Kysely, type RawBuilder, type Selectable, sql, type Updateable } from 'kysely'
import { precompiled, prepared, sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { ReportStatus, Status } from '../enums.ts'
import { monitorNotFound, tagTaken } from '../errors.ts'
import { withinLimits } from '../limits.ts'
import { affectedByIncident, affectedByMaintenance, monitorIsVisible } from './affected.ts'
import { currentStatus, selectPage } from './current-status.ts'
import { type Scope, tagIsInScope } from './scope.ts'
import { currentTotals, pastTotals, toUptimes } from './uptime.ts'

export type MonitorAttributes = Omit<Selectable<Tables['monitors']>, 'id' | 'created_at' | 'updated_at'>

export type Monitor = Selectable<Tables['monitors']> & {
  status: Status
  status_source: 'incident' | 'maintenance' | 'report' | 'default'
  /** `minute` is counted since 1970. */
  last_report: { minute: number; status: ReportStatus; latency_ms: number | null } | null
  /** Share of the reported minutes, 0 to 1; null if none was reported. */
  uptime: Record<'24h' | '7d' | '30d' | '90d', number | null>
}

export type MonitorFilter = {
  /** Monitors of the calling key. */
  scope: Scope
  status?: Status | undefined
  category_name?: string | undefined
  enabled?: boolean | undefined
  hidden?: boolean | undefined
  /** Tag of the last monitor of the previous page. */
  after?: string | undefined
}

/** Lists monitors by tag, in one statement. */
export async function listMonitors(
  db: Kysely<Tables>,
  filter: MonitorFilter,
  limit: number,
): Promise<Monitor[]> {
  const conditions = [
    sql`tag > ${filter.after ?? ''}`,
    ...(filter.scope === null ? [] : [tagIsInScope(filter.scope)]),
    ...(filter.category_name === undefined ? [] : [sql`category_name = ${filter.category_name}`]),
    ...(filter.enabled === undefined ? [] : [sql`enabled = ${sql.lit(filter.enabled)}`]),
    ...(filter.hidden === undefined ? [] : [sql`hidden = ${sql.lit(filter.hidden)}`]),
  ]
  const statement = withUptime(selectPage(conditions, filter.status, limit))
  // Not with several filters, because each combination is a text of its own, which every connection would keep.
  const filters = conditions.length - 1 + (filter.status === undefined ? 0 : 1)
  const { rows } = await (filters > 1 ? statement : prepared(statement)).execute(db)
  return rows.map(toMonitor)
}

/** Returns the monitors that exist, by tag. */
export async function findMonitors(
  db: Kysely<Tables>,
  tags: readonly string[],
): Promise<Map<string, Monitor>> {
  const rows = await selectByTag(db, [[...new Set(tags)]])
  return new Map(rows.map((row) => [row.tag, toMonitor(row)]))
}

/** @throws ApiError 404 if the monitor does not exist. */
export async function getMonitor(db: Kysely<Tables>, tag: string): Promise<Monitor> {
  const monitor = (await findMonitors(db, [tag])).get(tag)
  if (!monitor) throw monitorNotFound()
  return monitor
}

/** @throws ApiError 404 if the monitor does not exist. */
export async function getMonitorId(
  db: Kysely<Tables>,
  tag: string,
): Promise<Pick<Monitor, 'id' | 'degraded_counts_as_down'>> {
  const monitor = await db
    .selectFrom('monitors')
    .select(['id', 'degraded_counts_as_down'])
    .where('tag', '=', tag)
    .executeTakeFirst()
  if (!monitor) throw monitorNotFound()
  return monitor
}

/** The current hour. A nested select, which is evaluated once: evaluating the clock per row takes longer than the rest. */
const hour = sql`(select this_hour from clock)`

/**
 * Totals that uptime is calculated from: the last 24 hours by hour, and the last 7, 30 and 90 UTC days by day, the
 * current hour and day included. The past is added up only if no report of this hour has stored it.
 */
const totals = sql`,
  array_to_json(coalesce(
    case when last.past_hour = ${hour} then last.past_totals end, ${pastTotals(sql`monitors.id`, hour)}
  )) as past_totals,
  array_to_json(${currentTotals(sql`monitors.id`, hour)}) as current_totals`

function withUptime(monitors: RawBuilder<unknown>) {
  return sql<Row>`${currentStatus(monitors, totals)} select * from current order by tag`
}

const selectByTag = precompiled(withUptime(sql`(select * from monitors where tag = any($1))`))

type Row = Omit<Monitor, 'last_report' | 'uptime'> & {
  last_minute: number | null
  last_status: ReportStatus | null
  last_latency_ms: number | null
  past_totals: number[]
  current_totals: number[]
}

/** Leaves the inputs in the row, because removing them would copy it once more. */
function toMonitor(row: Row): Monitor {
  const { last_minute, last_status, last_latency_ms } = row
  return {
    ...row,
    last_report:
      last_minute === null || last_status === null
        ? null
        : { minute: last_minute, status: last_status, latency_ms: last_latency_ms },
    uptime: toUptimes(row.past_totals, row.current_totals, row.degraded_counts_as_down),
  }
}

/** @throws ApiError 409 if the tag is taken. */
export function createMonitor(db: Kysely<Tables>, attributes: MonitorAttributes): Promise<Monitor> {
  // In a transaction, so that a concurrent DELETE cannot remove the monitor before it is read.
  return db.transaction().execute(async (trx) => {
    if (!(await insertMonitor(trx, attributes))) throw tagTaken(attributes.tag)
    return getMonitor(trx, attributes.tag)
  })
}

/** Returns false if the tag is taken. */
export async function insertMonitor(db: Kysely<Tables>, attributes: MonitorAttributes): Promise<boolean> {
  const inserted = await db
    .insertInto('monitors')
    .values(sortFields(withinLimits('monitors', attributes)))
    .onConflict((conflict) => conflict.column('tag').doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** Creates a monitor, or replaces the attributes of the monitor with this tag, whose data stays. */
export function putMonitor(
  db: Kysely<Tables>,
  attributes: MonitorAttributes,
): Promise<{ created: boolean; monitor: Monitor }> {
  return db.transaction().execute(async (trx) => {
    const { created } = await trx
      .insertInto('monitors')
      .values(sortFields(withinLimits('monitors', attributes)))
      .onConflict((conflict) =>
        conflict.column('tag').doUpdateSet({ ...sortFields(attributes), updated_at: sql`now()` }),
      )
      // xmax is 0 only for a freshly inserted row.
      .returning(sql<boolean>`xmax = 0`.as('created'))
      .executeTakeFirstOrThrow()
    return { created, monitor: await getMonitor(trx, attributes.tag) }
  })
}

/** @throws ApiError 404 if the monitor does not exist. */
export async function updateMonitor(
  db: Kysely<Tables>,
  tag: string,
  changes: Updateable<Tables['monitors']>,
): Promise<void> {
  const { numUpdatedRows } = await db
    .updateTable('monitors')
    .set({ ...sortFields(withinLimits('monitors', changes)), updated_at: sql`now()` })
    .where('tag', '=', tag)
    .executeTakeFirst()
  if (numUpdatedRows === 0n) throw monitorNotFound()
}

/**
 * Deletes a monitor and its data. Incidents and maintenances that the public page does not show because of this monitor
 * stay hidden. @throws ApiError 404 if the monitor does not exist.
 */
export function deleteMonitor(db: Kysely<Tables>, tag: string): Promise<void> {
  return db.transaction().execute(async (trx) => {
    const monitor = await trx
      .selectFrom('monitors')
      .select(['id', monitorIsVisible.as('is_visible')])
      .where('tag', '=', tag)
      .forUpdate()
      .executeTakeFirst()
    if (!monitor) throw monitorNotFound()
    if (!monitor.is_visible) {
      await affectedByIncident.keepHidden(trx, monitor.id)
      await affectedByMaintenance.keepHidden(trx, monitor.id)
    }
    await trx.deleteFrom('monitors').where('id', '=', monitor.id).execute()
  })
}
