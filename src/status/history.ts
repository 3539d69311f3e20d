import type { Kysely } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { listNewestIncidents, type PublicIncident } from '../incidents/public-incidents.ts'
import { type DatedEvent, listPublicEvents } from '../maintenances/public-maintenances.ts'

/** Most incidents, comments of an incident, and events that are read. */
const limits = { incidents: 50, comments: 50 }
const maxEvents = 100

export type History = {
  /** The newest ones, and all that are open, newest start first. */
  incidents: PublicIncident[]
  /** Ongoing and future events, soonest first, then ended and cancelled ones, newest first. */
  events: DatedEvent[]
}

/**
 * Reads what feeds and Statuspage's format list, without hidden and disabled monitors. The statements run one after the
 * other, so that public readers use one connection.
 */
export async function readHistory(db: Kysely<Tables>): Promise<History> {
  return { incidents: await listNewestIncidents(db, limits), events: await listPublicEvents(db, maxEvents) }
}
