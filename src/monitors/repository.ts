import { type Kysely, type Selectable, sql, type Updateable } from 'kysely'
import { type Change, diff, diffDeleted, diffNew, type FieldChanges } from '../audit/transaction.ts'
import { precompiled, sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { ReportStatus, Status } from '../enums.ts'
import { changedConcurrently, monitorNotFound, tagTaken } from '../errors.ts'
import { withinLimits } from '../limits.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'
import { affectedByIncident, affectedByMaintenance, monitorIsVisible } from './affected.ts'
import { type MonitorRow, toMonitors, withUptime } from './monitor-rows.ts'

export type MonitorAttributes = Omit<
  Selectable<Tables['monitors']>,
  'id' | 'created_at' | 'updated_at' | 'version'
>

export type Monitor = Selectable<Tables['monitors']> & {
  status: Status
  status_source: 'incident' | 'maintenance' | 'report' | 'default'
  /** `minute` is counted since 1970. */
  last_report: { minute: number; status: ReportStatus; latency_ms: number | null } | null
  /** Share of the reported minutes, 0 to 1; null if none was reported. */
  uptime: Record<'24h' | '7d' | '30d' | '90d', number | null>
}

/** Returns the monitors that exist, by tag. */
export async function findMonitors(
  db: Kysely<Tables>,
  tags: readonly string[],
): Promise<Map<string, Monitor>> {
  return byTag(await selectByTag(db, [[...new Set(tags)]]))
}

/** Returns those of the monitors that the public page shows, by tag. */
export async function findVisibleMonitors(
  db: Kysely<Tables>,
  tags: readonly string[],
): Promise<Map<string, Monitor>> {
  return byTag(await selectVisibleByTag(db, [[...new Set(tags)]]))
}

function byTag(rows: { monitors: MonitorRow[] | null }[]): Map<string, Monitor> {
  return new Map(toMonitors(rows).map((monitor) => [monitor.tag, monitor]))
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

const selectByTag = precompiled(withUptime(sql`(select * from monitors where tag = any($1))`))
const selectVisibleByTag = precompiled(
  withUptime(sql`(select * from monitors where tag = any($1) and ${monitorIsVisible})`),
)

/** Fields whose changes audit events record. */
const auditedFields = [
  'name',
  'description',
  'category_name',
  'external_url',
  'enabled',
  'hidden',
  'default_status',
  'stale_after_seconds',
  'degraded_counts_as_down',
] as const

/** @throws ApiError 409 if the tag is taken. */
export async function createMonitor(change: Change, attributes: MonitorAttributes): Promise<Monitor> {
  if (!(await insertMonitor(change, attributes))) throw tagTaken(attributes.tag)
  return getMonitor(change.trx, attributes.tag)
}

/**
 * Returns false if the tag is taken.
 * @param otherChanges of what is stored with the monitor in the same transaction
 */
export async function insertMonitor(
  { trx, record }: Change,
  attributes: MonitorAttributes,
  otherChanges: FieldChanges = {},
): Promise<boolean> {
  const inserted = await trx
    .insertInto('monitors')
    .values(sortFields(withinLimits('monitors', attributes)))
    .onConflict((conflict) => conflict.column('tag').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (!inserted) return false
  const changes = { ...diffNew(inserted, auditedFields), ...otherChanges }
  record({ action: 'monitor.created', target: toTarget(inserted), changes })
  return true
}

/** Returns the target of audit events. */
export function toTarget({ tag, name }: Pick<MonitorAttributes, 'tag' | 'name'>) {
  return { type: 'monitor' as const, id: tag, name }
}

/** How often a PUT is tried again because the monitor was created and deleted by other requests meanwhile. */
const maxPutAttempts = 5

/**
 * Creates a monitor, or replaces the attributes of the monitor with this tag, whose data stays.
 * @throws ApiError 412
 */
export async function putMonitor(
  change: Change,
  attributes: MonitorAttributes,
  expected: Precondition = {},
): Promise<{ created: boolean; monitor: Monitor }> {
  const { tag } = attributes
  for (let attempt = 0; attempt < maxPutAttempts; attempt++) {
    const created = !(await replaceAttributes(change, tag, attributes, { expected }))
    if (!created || (await insertMonitor(change, attributes)))
      return { created, monitor: await getMonitor(change.trx, tag) }
  }
  throw changedConcurrently()
}

type UpdateOptions = {
  expected?: Precondition
  /** As of insertMonitor. */
  otherChanges?: FieldChanges
}

/** @throws ApiError 412, 404 if the monitor does not exist. */
export async function updateMonitor(
  change: Change,
  tag: string,
  changes: Updateable<Tables['monitors']>,
  options: UpdateOptions = {},
): Promise<void> {
  if (!(await replaceAttributes(change, tag, changes, options))) throw monitorNotFound()
}

/** Returns false if the monitor does not exist. @throws ApiError 412 */
async function replaceAttributes(
  { trx, record }: Change,
  tag: string,
  changes: Updateable<Tables['monitors']>,
  { expected = {}, otherChanges = {} }: UpdateOptions,
): Promise<boolean> {
  const before = await trx
    .selectFrom('monitors')
    .selectAll()
    .where('tag', '=', tag)
    .forNoKeyUpdate()
    .executeTakeFirst()
  assertPrecondition(expected, before)
  if (!before) return false
  const after = await trx
    .updateTable('monitors')
    .set({ ...sortFields(withinLimits('monitors', changes)), updated_at: sql`now()` })
    .where('id', '=', before.id)
    .returningAll()
    .executeTakeFirstOrThrow()
  record({
    action: 'monitor.updated',
    target: toTarget(after),
    changes: { ...diff(before, after, auditedFields), ...otherChanges },
  })
  return true
}

export type MonitorData = {
  /** First UTC day with reports, since 1970. */
  first_day: number | null
  has_heartbeat: boolean
  /** Numbers of incidents and maintenances that affect the monitor. */
  incidents: number
  maintenances: number
}

/** Summarizes what a deletion of the monitor deletes with it. */
export async function summarizeData(db: Kysely<Tables>, id: number): Promise<MonitorData> {
  const { rows } = await sql<MonitorData>`
    select (select min(day) from monitor_days where monitor_id = ${id}) as first_day,
      exists (select from heartbeats where monitor_id = ${id}) as has_heartbeat,
      (select count(*)::integer from incident_monitors where monitor_id = ${id}) as incidents,
      (select count(*)::integer from maintenance_monitors where monitor_id = ${id}) as maintenances`.execute(
    db,
  )
  const [data] = rows
  if (!data) throw new Error('A query without FROM has one row')
  return data
}

/**
 * Deletes a monitor and its data. Incidents and maintenances that the public page does not show because of this monitor
 * stay hidden. @throws ApiError 412, 404 if the monitor does not exist.
 */
export async function deleteMonitor(
  { trx, record }: Change,
  tag: string,
  expected: Precondition = {},
): Promise<void> {
  const monitor = await trx
    .selectFrom('monitors')
    .selectAll()
    .select(monitorIsVisible.as('is_visible'))
    .where('tag', '=', tag)
    .forUpdate()
    .executeTakeFirst()
  assertPrecondition(expected, monitor)
  if (!monitor) throw monitorNotFound()
  if (!monitor.is_visible) {
    await affectedByIncident.keepHidden(trx, monitor.id)
    await affectedByMaintenance.keepHidden(trx, monitor.id)
  }
  await trx.deleteFrom('monitors').where('id', '=', monitor.id).execute()
  record({
    action: 'monitor.deleted',
    target: toTarget(monitor),
    changes: diffDeleted(monitor, auditedFields),
  })
}
