import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { EventState, MaintenanceImpact } from '../enums.ts'
import { maintenanceNotFound } from '../errors.ts'
import { affectedByMaintenance, assertUniqueMonitors, lockAffectedMonitors } from '../monitors/affected.ts'
import { generateEvents, rescheduleEvents } from './event-generation.ts'
import { eventState, upcomingEvents } from './event-state.ts'
import { assertValidSchedule, isSameSchedule, type Schedule } from './schedule.ts'

export type Affected = { monitor_tag: string; impact: MaintenanceImpact }

export type Maintenance = Selectable<Tables['maintenances']> & {
  monitors: Affected[]
  /** The ongoing event, otherwise the next. Its times are in seconds since 1970. */
  next_event: { id: number; starts_at: number; ends_at: number; state: EventState } | null
}

const columns = sql`
  maintenances.*, ${affectedByMaintenance.column}, (
    select json_build_object('id', id, 'starts_at', extract(epoch from maintenance_events.starts_at),
      'ends_at', extract(epoch from ends_at), 'state', ${eventState})
    from ${upcomingEvents} limit 1
  ) as next_event`

export type MaintenanceFilter = {
  enabled?: boolean | undefined
  /** Matches maintenances that affect at least one of these monitors. */
  monitor_tags?: readonly string[] | undefined
  /** Start and id of the last maintenance of the previous page. */
  cursor?: { at: Date; id: number } | undefined
}

/** Lists maintenances by start or by id, newest first. */
export async function listMaintenances(
  db: Kysely<Tables>,
  filter: MaintenanceFilter,
  limit: number,
  newest: 'start' | 'id' = 'start',
): Promise<Maintenance[]> {
  const { enabled, monitor_tags: tags, cursor } = filter
  const conditions = [
    ...(enabled === undefined ? [] : [sql`enabled = ${enabled}`]),
    ...(cursor === undefined
      ? []
      : [sql`(starts_at, id) < (${cursor.at}::timestamptz, ${cursor.id}::integer)`]),
    ...(tags === undefined ? [] : [affectedByMaintenance.includes(tags)]),
  ]
  const where = conditions.length > 0 ? sql`where ${sql.join(conditions, sql` and `)}` : sql``
  const order = newest === 'start' ? sql`starts_at desc, id desc` : sql`id desc`
  const { rows } = await sql<Maintenance>`
    select ${columns} from maintenances ${where} order by ${order} limit ${limit}`.execute(db)
  return rows
}

export type PublicMaintenance = Pick<Maintenance, 'id' | 'title' | 'description' | 'monitors'> & {
  state: EventState
  starts_at: Date
  ends_at: Date
}

/**
 * Lists the enabled maintenances that affect a visible monitor, or no monitor at all, soonest event first: each with its
 * ongoing event, otherwise its next one within 7 days.
 */
export async function listPublicMaintenances(
  db: Kysely<Tables>,
  limit: number,
): Promise<PublicMaintenance[]> {
  const { rows } = await sql<PublicMaintenance>`
    select maintenances.id, title, description, next.state, next.starts_at, next.ends_at, affected.monitors
    from maintenances, lateral (
      select ${eventState} as state, maintenance_events.starts_at, ends_at from ${upcomingEvents} limit 1
    ) as next, ${affectedByMaintenance.publicMonitors}
    where maintenances.enabled and next.starts_at <= now() + interval '7 days'
      and ${affectedByMaintenance.isPublic}
    order by next.starts_at, maintenances.id limit ${limit}`.execute(db)
  return rows
}

/** @throws ApiError 404 */
export async function getMaintenance(db: Kysely<Tables>, id: number): Promise<Maintenance> {
  const { rows } = await sql<Maintenance>`select ${columns} from maintenances where id = ${id}`.execute(db)
  const [maintenance] = rows
  if (!maintenance) throw maintenanceNotFound()
  return maintenance
}

/** The impact defaults to MAINTENANCE. */
export type NewAffected = { monitor_tag: string; impact?: MaintenanceImpact }

export type NewMaintenance = Schedule & {
  title: string
  description: string | null
  enabled: boolean
  monitors: NewAffected[]
}

/**
 * Creates a maintenance and its due events.
 * @returns its id. @throws ApiError 400 if the schedule is invalid, or if a monitor is unknown or repeated
 */
export async function createMaintenance(
  trx: Transaction<Tables>,
  { monitors, ...maintenance }: NewMaintenance,
): Promise<number> {
  assertUniqueMonitors(monitors)
  assertValidSchedule(maintenance)
  const monitorIds = await lockAffectedMonitors(trx, monitors)
  const { id } = await trx
    .insertInto('maintenances')
    .values(sortFields(maintenance))
    .returning('id')
    .executeTakeFirstOrThrow()
  await affectedByMaintenance.insert(trx, id, monitors.map(withImpact), monitorIds)
  await generateEvents(trx, id)
  return id
}

function withImpact({ monitor_tag, impact = 'MAINTENANCE' }: NewAffected): Affected {
  return { monitor_tag, impact }
}

export type MaintenanceChanges = {
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

/**
 * Updates the given fields, and the events if the schedule changes.
 * @throws ApiError 404, or 400 as createMaintenance does
 */
export async function updateMaintenance(
  trx: Transaction<Tables>,
  id: number,
  { monitors, starts_in_minute: minute, ...changes }: MaintenanceChanges,
): Promise<void> {
  assertUniqueMonitors(monitors)
  const monitorIds = await lockAffectedMonitors(trx, monitors ?? [])
  // Locks the row in the subquery, so that `before` is the version that the update replaces.
  const before = await trx
    .updateTable('maintenances')
    .from((eb) =>
      eb
        .selectFrom('maintenances')
        .select(['id', 'starts_at', 'rrule', 'duration_seconds'])
        .where('id', '=', id)
        .forNoKeyUpdate()
        .as('before'),
    )
    .set({
      ...sortFields(changes),
      ...(minute && {
        starts_at: sql<Date>`
          case when date_trunc('minute', before.starts_at) = ${minute} then before.starts_at else ${minute} end`,
      }),
      updated_at: sql`now()`,
    })
    .whereRef('maintenances.id', '=', 'before.id')
    .returning(['before.starts_at', 'before.rrule', 'before.duration_seconds'])
    .returning('maintenances.starts_at as new_start')
    .executeTakeFirst()
  if (!before) throw maintenanceNotFound()
  const after = {
    starts_at: before.new_start,
    rrule: changes.rrule ?? before.rrule,
    duration_seconds: changes.duration_seconds ?? before.duration_seconds,
  }
  if (!isSameSchedule(before, after)) assertValidSchedule(after)
  if (monitors) await affectedByMaintenance.replace(trx, id, monitors.map(withImpact), monitorIds)
  await rescheduleEvents(trx, id, before, after)
  await generateEvents(trx, id)
}

/** Deletes a maintenance and its events. @throws ApiError 404 */
export async function deleteMaintenance(db: Kysely<Tables>, id: number): Promise<void> {
  const { numDeletedRows } = await db.deleteFrom('maintenances').where('id', '=', id).executeTakeFirst()
  if (numDeletedRows === 0n) throw maintenanceNotFound()
}
