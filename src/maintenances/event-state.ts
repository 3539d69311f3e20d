import { sql } from 'kysely'
import type { EventState } from '../enums.ts'
import { eventIsOngoing } from '../monitors/current-status.ts'

/** State of an event: as it was closed by a request, otherwise by the clock. READY starts 60 minutes before the event. */
export const eventState = sql<EventState>`
  case when closed_as is not null then closed_as
    when ${eventIsOngoing} then 'ONGOING'
    when maintenance_events.ends_at <= now() then 'COMPLETED'
    when maintenance_events.starts_at <= now() + interval '60 minutes' then 'READY'
    else 'SCHEDULED' end`

/** Follows `from`: the ongoing and future events of the row of `maintenances`, soonest first. */
export const upcomingEvents = sql`
  maintenance_events where maintenance_id = maintenances.id and closed_as is null and maintenance_events.ends_at > now()
  order by maintenance_events.starts_at, maintenance_events.id`
