import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import {
  auditedTransaction,
  type Change,
  type ChangeContext,
  diff,
  diffDeleted,
  diffNew,
} from '../audit/transaction.ts'
import { databaseNow } from '../database/clock.ts'
import { sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { EventState, MaintenanceImpact } from '../enums.ts'
import { changedConcurrently, maintenanceNotFound } from '../errors.ts'
import { withinLimits } from '../limits.ts'
import { affectedByMaintenance, assertUniqueMonitors, lockAffectedMonitors } from '../monitors/affected.ts'
import type { Scope } from '../monitors/scope.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'
import { evaluate } from './evaluation.ts'
import { generateEvents, rescheduleEvents } from './event-generation.ts'
import { eventState, upcomingEvents } from './event-state.ts'
import type { Plan } from './recurrence.ts'
import { assertValidSchedule, isSameSchedule, type Schedule } from './schedule.ts'

export type Affected = { monitor_tag: string; impact: MaintenanceImpact }

export type Maintenance = Selectable<Tables['maintenances']> & {
  monitors: Affected[]
  /** The ongoing event, otherwise the next. Its times are in seconds since 1970. */
  next_event: { id: number; starts_at: number; ends_at: number; state: EventState } | null
}

/** Columns for a select from `maintenances`: those of a Maintenance, with the affected monitors of the scope. */
export const maintenanceColumns = (scope: Scope) => sql`
  maintenances.*, ${affectedByMaintenance.column(scope)}, (
    select json_build_object('id', id, 'starts_at', extract(epoch from maintenance_events.starts_at),
      'ends_at', extract(epoch from ends_at), 'state', ${eventState})
    from ${upcomingEvents} limit 1
  ) as next_event`

/** @throws ApiError 404, also if the maintenance affects no monitor of the scope */
export async function getMaintenance(db: Kysely<Tables>, id: number, scope: Scope): Promise<Maintenance> {
  const maintenance = await findMaintenance(db, id, scope)
  if (!maintenance) throw maintenanceNotFound()
  return maintenance
}

async function findMaintenance(
  db: Kysely<Tables>,
  id: number,
  scope: Scope,
): Promise<Maintenance | undefined> {
  const { rows } = await sql<Maintenance>`
    select ${maintenanceColumns(scope)} from maintenances
    where id = ${id} and ${affectedByMaintenance.isInScope(scope)}`.execute(db)
  return rows[0]
}

/** The impact defaults to MAINTENANCE. */
type NewAffected = { monitor_tag: string; impact?: MaintenanceImpact }

export type NewMaintenance = Schedule & {
  title: string
  description: string | null
  enabled: boolean
  monitors: NewAffected[]
}

/** Fields whose changes audit events record. */
const auditedFields = [
  'title',
  'description',
  'starts_at',
  'rrule',
  'duration_seconds',
  'enabled',
  'monitors',
] as const

/** The target of audit events about a maintenance and its events. */
export function toTarget({ id, title }: Pick<Maintenance, 'id' | 'title'>) {
  return { type: 'maintenance' as const, id: String(id), name: title }
}

/**
 * Creates a maintenance and its due events. Opens the transaction itself, because the rule is evaluated before it.
 * @param read returns the result, within the transaction
 * @throws ApiError 400 if the schedule is invalid, or if a monitor is unknown or repeated
 */
export async function createMaintenance<Result>(
  context: ChangeContext,
  { monitors, ...maintenance }: NewMaintenance,
  read: (trx: Transaction<Tables>, id: number) => Promise<Result>,
): Promise<Result> {
  assertUniqueMonitors(monitors)
  assertValidSchedule(maintenance)
  const evaluation = { schedule: maintenance, now: await databaseNow(context.db), isNew: true }
  const plan = await evaluate(evaluation, callerOf(context))
  return auditedTransaction(context, async ({ trx, record }) => {
    const monitorIds = await lockAffectedMonitors(trx, monitors)
    const created = await trx
      .insertInto('maintenances')
      .values(sortFields(withinLimits('maintenances', maintenance)))
      .returningAll()
      .executeTakeFirstOrThrow()
    const affected = monitors.map(withImpact)
    await affectedByMaintenance.insert(trx, created.id, affected, monitorIds)
    await generateEvents(trx, created.id, plan)
    record({
      action: 'maintenance.created',
      target: toTarget(created),
      changes: diffNew({ ...created, monitors: affected }, auditedFields),
    })
    return read(trx, created.id)
  })
}

/**
 * Lists the next occurrences of a schedule, at most `count`, before it is stored. A schedule that occurs once has its
 * occurrence, even in the past. @throws ApiError 400 if the schedule is invalid
 */
export async function previewOccurrences(
  context: ChangeContext,
  schedule: Schedule,
  count: number,
): Promise<Date[]> {
  assertValidSchedule(schedule)
  const evaluation = { schedule, now: await databaseNow(context.db), isNew: true, previewed: count }
  return (await evaluate(evaluation, callerOf(context))).occurrences
}

/** Rules of different callers are evaluated in turn. */
function callerOf({ actor }: ChangeContext): string {
  return actor.key?.id ?? actor.via
}

function withImpact({ monitor_tag, impact = 'MAINTENANCE' }: NewAffected): Affected {
  return { monitor_tag, impact }
}

type MaintenanceChanges = {
  title?: string | undefined
  description?: string | null | undefined
  starts_at?: Date | undefined
  /** Start of a minute, instead of `starts_at`: a start within this minute is kept. */
  starts_in_minute?: Date | undefined
  rrule?: string | undefined
  duration_seconds?: number | undefined
  enabled?: boolean | undefined
  /** Replaces all affected monitors. */
  monitors?: NewAffected[] | undefined
}

/** How often an update is tried again because another one has changed the schedule meanwhile. */
const maxAttempts = 5

/**
 * Updates the given fields, and the events if the schedule changes. Opens the transaction itself, because the rule is
 * evaluated before it.
 * @param read returns the result, within the transaction
 * @throws ApiError 412, 404, 403 if the maintenance affects monitors outside of the scope, 400 as createMaintenance does, 503 if other requests change the schedule all the time
 */
export async function updateMaintenance<Result>(
  context: ChangeContext,
  id: number,
  changes: MaintenanceChanges,
  scope: Scope,
  read: (trx: Transaction<Tables>, id: number) => Promise<Result>,
  expected: Precondition = {},
): Promise<Result> {
  assertUniqueMonitors(changes.monitors)
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const planned = await planUpdate(context, id, changes, scope, expected)
    const updated = await auditedTransaction(context, async (change) => {
      const isApplied = await applyUpdate(change, id, changes, planned, scope, expected)
      return isApplied && { result: await read(change.trx, id) }
    })
    if (updated) return updated.result
  }
  throw changedConcurrently()
}

/** `plan` is undefined if the update has no effect on the events. */
type PlannedUpdate = { after: Schedule; plan: Plan | undefined }

async function planUpdate(
  context: ChangeContext,
  id: number,
  changes: MaintenanceChanges,
  scope: Scope,
  expected: Precondition,
): Promise<PlannedUpdate> {
  const before = await context.db
    .selectFrom('maintenances')
    .select([...scheduleColumns, sql<Date>`now()`.as('now')])
    .where('id', '=', id)
    .where(affectedByMaintenance.isInScope(scope))
    .executeTakeFirst()
  if (!before) {
    assertPrecondition(expected, undefined)
    throw maintenanceNotFound()
  }
  const after = changeSchedule(before, changes)
  const isNew = !isSameSchedule(before, after)
  if (isNew) assertValidSchedule(after)
  const isPlanned = isNew || changes.enabled === true
  const evaluation = { schedule: after, now: before.now, isNew }
  return { after, plan: isPlanned ? await evaluate(evaluation, callerOf(context)) : undefined }
}

/** Returns false, and changes nothing, if the schedule is no longer the planned one. */
async function applyUpdate(
  { trx, record }: Change,
  id: number,
  changes: MaintenanceChanges,
  { after, plan }: PlannedUpdate,
  scope: Scope,
  expected: Precondition,
): Promise<boolean> {
  const monitorIds = await lockAffectedMonitors(trx, changes.monitors ?? [])
  await affectedByMaintenance.assertChangeable(trx, id, scope, expected)
  const before = await lockMaintenance(trx, id, expected)
  const isUnchanged = isSameSchedule(before, after)
  if (!isSameSchedule(changeSchedule(before, changes), after) || (!isUnchanged && !plan)) return false
  const { monitors, title, description, enabled, rrule } = changes
  const written = withinLimits('maintenances', { title, description, enabled, rrule })
  await trx
    .updateTable('maintenances')
    .set({ ...written, ...after, updated_at: sql`now()` })
    .where('id', '=', id)
    .execute()
  if (monitors) await affectedByMaintenance.replace(trx, id, monitors.map(withImpact), monitorIds)
  await rescheduleEvents(trx, id, before, after)
  if (plan) await generateEvents(trx, id, plan)
  const updated = await getMaintenance(trx, id, null)
  record({
    action: 'maintenance.updated',
    target: toTarget(updated),
    changes: diff(before, updated, auditedFields),
  })
  return true
}

/** Locks a maintenance until commit. Call it after its monitors are locked. @throws ApiError 412, 404 */
export async function lockMaintenance(
  trx: Transaction<Tables>,
  id: number,
  expected: Precondition = {},
): Promise<Maintenance> {
  await sql`select from maintenances where id = ${id} for no key update`.execute(trx)
  const maintenance = await findMaintenance(trx, id, null)
  assertPrecondition(expected, maintenance)
  if (!maintenance) throw maintenanceNotFound()
  return maintenance
}

const scheduleColumns = ['starts_at', 'rrule', 'duration_seconds'] as const

function changeSchedule(before: Schedule, changes: MaintenanceChanges): Schedule {
  const minute = changes.starts_in_minute
  const isKept = minute && Math.floor(before.starts_at.getTime() / 60_000) * 60_000 === minute.getTime()
  return {
    starts_at: (isKept ? undefined : minute) ?? changes.starts_at ?? before.starts_at,
    rrule: changes.rrule ?? before.rrule,
    duration_seconds: changes.duration_seconds ?? before.duration_seconds,
  }
}

/** Deletes a maintenance and its events. @throws ApiError 412, 404 */
export async function deleteMaintenance(
  { trx, record }: Change,
  id: number,
  expected: Precondition = {},
): Promise<void> {
  const maintenance = await lockMaintenance(trx, id, expected)
  await trx.deleteFrom('maintenances').where('id', '=', id).execute()
  record({
    action: 'maintenance.deleted',
    target: toTarget(maintenance),
    changes: diffDeleted(maintenance, auditedFields),
  })
}
