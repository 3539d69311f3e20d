import { type Kysely, type RawBuilder, sql } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { EventState } from '../enums.ts'
import { maintenanceNotFound } from '../errors.ts'
import { affectedByMaintenance, type PublicAffected } from '../monitors/affected.ts'
import { eventState, upcomingEvents } from './event-state.ts'
import type { Affected, Maintenance } from './repository.ts'

type Description = Pick<Maintenance, 'id' | 'title' | 'description'> & {
  /** The visible monitors that it affects. */
  monitors: PublicAffected<Affected>[]
}

export type PublicMaintenance = Description & { state: EventState; starts_at: Date; ends_at: Date }

/**
 * Lists the enabled maintenances that affect a visible monitor, or no monitor at all, soonest event first: each with its
 * ongoing event, otherwise its next one.
 * @param days leaves out events that start later than this many days from now. Null: lists all.
 */
export async function listPublicMaintenances(
  db: Kysely<Tables>,
  limit: number,
  days: number | null,
): Promise<PublicMaintenance[]> {
  const isSoon =
    days === null ? sql`true` : sql`next.starts_at <= now() + ${sql.lit(`${days} days`)}::interval`
  const { rows } = await prepared(sql<PublicMaintenance>`
    select maintenances.id, title, description, next.state, next.starts_at, next.ends_at, affected.monitors
    from maintenances, lateral (
      select ${eventState} as state, maintenance_events.starts_at, ends_at from ${upcomingEvents} limit 1
    ) as next, ${affectedByMaintenance.publicMonitors}
    where maintenances.enabled and ${isSoon} and ${affectedByMaintenance.isPublic}
    order by next.starts_at, maintenances.id limit ${limit}`).execute(db)
  return rows
}

export type DatedEvent = Description & {
  event_id: number
  state: EventState
  starts_at: Date
  ends_at: Date
  created_at: Date
  /** Latest update of the event or of its maintenance. */
  updated_at: Date
}

/**
 * Lists events of the maintenances that the public page shows: first the ongoing and future ones, soonest first, then
 * those that have ended or were cancelled, newest first.
 * @param limit number of events of both kinds
 */
export async function listPublicEvents(db: Kysely<Tables>, limit: number): Promise<DatedEvent[]> {
  const isOpen = sql`closed_as is null and maintenance_events.ends_at > now()`
  const list = async (condition: RawBuilder<unknown>, order: RawBuilder<unknown>) => {
    // Sorted before the monitors are read, so that only those of the listed events are.
    const { rows } = await prepared(sql<DatedEvent>`
      select event_id, maintenances.id, title, description, state, events.starts_at, ends_at, events.created_at,
        greatest(events.updated_at, maintenances.updated_at) as updated_at, affected.monitors
      from (
        select maintenance_events.*, id as event_id, ${eventState} as state from maintenance_events where ${condition}
        order by starts_at ${order}, id ${order} offset 0
      ) as events join maintenances on maintenances.id = maintenance_id, ${affectedByMaintenance.publicMonitors}
      where enabled and ${affectedByMaintenance.isPublic}
      order by events.starts_at ${order}, event_id ${order} limit ${sql.lit(limit)}`).execute(db)
    return rows
  }
  return [...(await list(isOpen, sql`asc`)), ...(await list(sql`not (${isOpen})`, sql`desc`))]
}

/** Times are in seconds since 1970. */
type PublicEvent = { state: EventState; starts_at: number; ends_at: number }

export type PublicTimetable = Description & {
  /** Ongoing and future events, soonest first. */
  upcoming: PublicEvent[]
  /** Events that have ended or were cancelled, newest first. */
  past: PublicEvent[]
}

/**
 * Returns a maintenance with the events that are nearest to now.
 * @param limit number of upcoming and of past events
 * @throws ApiError 404, also if the public page does not show the maintenance
 */
export async function getPublicMaintenance(
  db: Kysely<Tables>,
  id: number,
  limit: number,
): Promise<PublicTimetable> {
  const list = (events: RawBuilder<unknown>) => sql`
    coalesce((
      select json_agg(json_build_object('state', state,
        'starts_at', extract(epoch from starts_at), 'ends_at', extract(epoch from ends_at)))
      from (select ${eventState} as state, starts_at, ends_at from ${events} limit ${limit}) as events
    ), '[]')`
  const { rows } = await sql<PublicTimetable>`
    select id, title, description, affected.monitors,
      ${list(upcomingEvents)} as upcoming,
      ${list(sql`
        maintenance_events where maintenance_id = maintenances.id and (closed_as is not null or ends_at <= now())
        order by starts_at desc, id desc`)} as past
    from maintenances, ${affectedByMaintenance.publicMonitors}
    where id = ${id} and enabled and ${affectedByMaintenance.isPublic}`.execute(db)
  const [maintenance] = rows
  if (!maintenance) throw maintenanceNotFound()
  return maintenance
}

/** True if the public page shows the maintenance. */
export async function isMaintenancePublic(db: Kysely<Tables>, id: number): Promise<boolean> {
  const { rows } = await sql`
    select from maintenances, ${affectedByMaintenance.publicMonitors}
    where id = ${id} and enabled and ${affectedByMaintenance.isPublic}`.execute(db)
  return rows.length > 0
}
