import { type Kysely, type RawBuilder, sql } from 'kysely'
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
  const isSoon = days === null ? sql`true` : sql`next.starts_at <= now() + ${sql.lit(`${days} days`)}::interval`
  const { rows } = await sql<PublicMaintenance>`
    select maintenances.id, title, description, next.state, next.starts_at, next.ends_at, affected.monitors
    from maintenances, lateral (
      select ${eventState} as state, maintenance_events.starts_at, ends_at from ${upcomingEvents} limit 1
    ) as next, ${affectedByMaintenance.publicMonitors}
    where maintenances.enabled and ${isSoon} and ${affectedByMaintenance.isPublic}
    order by next.starts_at, maintenances.id limit ${limit}`.execute(db)
  return rows
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
