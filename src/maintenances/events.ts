import { type Kysely, type Selectable, sql } from 'kysely'
import { type Change, diff, type FieldChanges } from '../audit/transaction.ts'
import type { Tables } from '../database/schema.ts'
import type { ClosingState, EventState } from '../enums.ts'
import { eventNotClosable, eventNotFound, invalidField, maintenanceNotFound } from '../errors.ts'
import { affectedByMaintenance } from '../monitors/affected.ts'
import { eventIsOngoing } from '../monitors/current-status.ts'
import type { Scope } from '../monitors/scope.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'
import { eventState } from './event-state.ts'
import { lockMaintenance, type Maintenance, toTarget } from './repository.ts'

export type Event = Selectable<Tables['maintenance_events']> & { state: EventState }

const columns = sql`maintenance_events.*, ${eventState} as state`

/**
 * Lists the events of a maintenance, soonest first.
 * @param page `cursor` is the start and id of the last event of the previous page.
 * @throws ApiError 404, also if the maintenance affects no monitor of the scope
 */
export async function listEvents(
  db: Kysely<Tables>,
  maintenanceId: number,
  scope: Scope,
  {
    cursor,
    offset = 0,
    limit,
  }: { cursor?: { at: Date; id: number } | undefined; offset?: number; limit: number },
): Promise<Event[]> {
  const after = cursor ? sql`and (starts_at, id) > (${cursor.at}::timestamptz, ${cursor.id}::integer)` : sql``
  // The outer join returns one empty row for a maintenance without events, and no row without a maintenance.
  const { rows } = await sql<Event | { id: null }>`
    select events.* from maintenances left join lateral (
      select ${columns} from maintenance_events where maintenance_id = maintenances.id ${after}
      order by starts_at, id limit ${limit} offset ${offset}
    ) as events on true
    where maintenances.id = ${maintenanceId} and ${affectedByMaintenance.isInScope(scope)}
    order by events.starts_at, events.id`.execute(db)
  if (rows.length === 0) throw maintenanceNotFound()
  return rows.filter((row) => row.id !== null)
}

/**
 * Lists the ongoing and future events of a maintenance, soonest first, and those that ended or were closed, latest first:
 * at most `limit` of each.
 */
export async function listNearEvents(
  db: Kysely<Tables>,
  maintenanceId: number,
  limit: number,
): Promise<{ upcoming: Event[]; closed: Event[] }> {
  const isUpcoming = sql<boolean>`(closed_as is null and ends_at > now())`
  const { rows } = await sql<Event & { is_upcoming: boolean }>`
    (select ${columns}, true as is_upcoming from maintenance_events
      where maintenance_id = ${maintenanceId} and ${isUpcoming} order by starts_at, id limit ${limit})
    union all
    (select ${columns}, false from maintenance_events
      where maintenance_id = ${maintenanceId} and not ${isUpcoming} order by starts_at desc, id desc limit ${limit})`.execute(
    db,
  )
  return {
    upcoming: rows.filter((event) => event.is_upcoming),
    closed: rows.filter((event) => !event.is_upcoming),
  }
}

type EventFilter = {
  /** Monitors of the calling key. */
  scope: Scope
  /** Matches events that start at this time or later. */
  from: Date
  state?: EventState | undefined
  maintenance_id?: number | undefined
  /** Matches events of maintenances that affect at least one of these monitors. */
  monitor_tags?: readonly string[] | undefined
}

export type EventWithMaintenance = Event &
  Pick<Maintenance, 'title' | 'description' | 'enabled' | 'rrule' | 'duration_seconds' | 'monitors'>

/** Lists the events of all maintenances, soonest first. `total` counts the events of all pages. */
export async function listAllEvents(
  db: Kysely<Tables>,
  filter: EventFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<{ events: EventWithMaintenance[]; total: number }> {
  const { scope, from, state, maintenance_id: maintenanceId, monitor_tags: tags } = filter
  const conditions = [
    sql`maintenance_events.starts_at >= ${from}::timestamptz`,
    ...(state === undefined ? [] : [sql`(${eventState}) = ${state}`]),
    ...(maintenanceId === undefined ? [] : [sql`maintenance_id = ${maintenanceId}`]),
    ...(tags === undefined ? [] : [affectedByMaintenance.includes(tags, scope)]),
    ...(scope === null ? [] : [affectedByMaintenance.isInScope(scope)]),
  ]
  const matching = sql`
    from maintenance_events join maintenances on maintenances.id = maintenance_id
    where ${sql.join(conditions, sql` and `)}`
  const [{ rows: events }, { rows: counts }] = await Promise.all([
    sql<EventWithMaintenance>`
      select ${columns}, title, description, enabled, rrule, duration_seconds,
        ${affectedByMaintenance.column(scope)} ${matching}
      order by maintenance_events.starts_at, maintenance_events.id limit ${limit} offset ${offset}`.execute(
      db,
    ),
    sql<{ total: number }>`select count(*)::integer as total ${matching}`.execute(db),
  ])
  return { events, total: counts[0]?.total ?? 0 }
}

/** @throws ApiError 404, also if the maintenance affects no monitor of the scope */
export async function getEvent(
  db: Kysely<Tables>,
  maintenanceId: number,
  id: number,
  scope: Scope,
): Promise<Event> {
  const { rows } = await sql<Event>`
    select ${columns} from maintenance_events
    where id = ${id} and maintenance_id = ${maintenanceId} and exists (
      select from maintenances where id = maintenance_id and ${affectedByMaintenance.isInScope(scope)}
    )`.execute(db)
  const [event] = rows
  if (!event) throw eventNotFound()
  return event
}

/** States from which a request may close an event. */
const closableStates: Record<ClosingState, EventState[]> = {
  COMPLETED: ['ONGOING'],
  CANCELLED: ['SCHEDULED', 'READY', 'ONGOING'],
}

/**
 * Closes an event. An ongoing event then ends at the current full minute, but lasts at least one minute, and never
 * longer than planned.
 * @throws ApiError 404, 403 if the maintenance affects monitors outside of the scope, 409 if the state of the event does
 * not allow it
 */
export async function closeEvent(
  change: Change,
  maintenanceId: number,
  id: number,
  state: ClosingState,
  scope: Scope,
): Promise<Event> {
  const allowed = closableStates[state]
  const { before, maintenance } = await lockEvent(change, maintenanceId, id, scope)
  const { rows } = await sql<Event>`
    update maintenance_events set closed_as = ${state}, updated_at = now(),
      ends_at = case when ${eventIsOngoing}
        then least(ends_at, greatest(date_trunc('minute', now()), starts_at + interval '1 minute')) else ends_at end
    where id = ${id} and (${eventState}) = any(${allowed}::text[])
    returning ${columns}`.execute(change.trx)
  const [closed] = rows
  if (!closed) throw eventNotClosable(before.state, state, allowed)
  change.record({
    action: 'maintenance_event.updated',
    target: toTarget(maintenance),
    changes: diffEvents(before, closed),
  })
  return closed
}

/** Returns a version of what a change of an event may overwrite. */
export function versionOf({ starts_at, ends_at, closed_as }: Event): string {
  return [starts_at.getTime(), ends_at.getTime(), closed_as].join(' ')
}

/**
 * Moves an event, whatever its state.
 * @throws ApiError 412, 404, 403 if the maintenance affects monitors outside of the scope, 400 if the event would not end after
 * its start
 */
export async function moveEvent(
  change: Change,
  maintenanceId: number,
  id: number,
  { starts_at, ends_at }: Pick<Event, 'starts_at' | 'ends_at'>,
  scope: Scope,
  expected: Precondition = {},
): Promise<Event> {
  if (ends_at <= starts_at) throw invalidField('/ends_at', 'must be after starts_at')
  const { before, maintenance } = await lockEvent(change, maintenanceId, id, scope)
  assertPrecondition(expected, { version: versionOf(before) })
  const { rows } = await sql<Event>`
    update maintenance_events
    set starts_at = ${starts_at}::timestamptz, ends_at = ${ends_at}::timestamptz, updated_at = now()
    where id = ${id} returning ${columns}`.execute(change.trx)
  const [moved] = rows
  if (!moved) throw eventNotFound()
  change.record({
    action: 'maintenance_event.updated',
    target: toTarget(maintenance),
    changes: diffEvents(before, moved),
  })
  return moved
}

/**
 * Deletes an event. It is not generated again, because `generated_until` of the maintenance is not changed.
 * @throws ApiError 404
 */
export async function deleteEvent(change: Change, maintenanceId: number, id: number): Promise<void> {
  const { before, maintenance } = await lockEvent(change, maintenanceId, id, null)
  await change.trx.deleteFrom('maintenance_events').where('id', '=', id).execute()
  change.record({
    action: 'maintenance_event.deleted',
    target: toTarget(maintenance),
    changes: diffEvents(before, {}),
  })
}

/**
 * Locks the maintenance of an event, and thereby the event, until commit.
 * @throws ApiError 404, 403 if the maintenance affects monitors outside of the scope
 */
async function lockEvent(
  { trx }: Change,
  maintenanceId: number,
  id: number,
  scope: Scope,
): Promise<{ before: Event; maintenance: Maintenance }> {
  await affectedByMaintenance.assertChangeable(trx, maintenanceId, scope)
  const maintenance = await lockMaintenance(trx, maintenanceId)
  return { before: await getEvent(trx, maintenanceId, id, scope), maintenance }
}

/** Returns the changes of an event, for audit events: also its id, because their target is its maintenance. */
function diffEvents(before: Event, after: Partial<Event>): FieldChanges {
  const changes = diff(before, after, ['state', 'starts_at', 'ends_at'])
  return Object.keys(changes).length > 0 ? { event_id: [before.id, after.id ?? null], ...changes } : {}
}
