import { sql } from 'kysely'
import * as eventGeneration from '../src/maintenances/event-generation.ts'
import { newKey, type Replica } from './helper.ts'

type ReceivedEvent = { id: number; starts_at: string; ends_at: string; state: string }

/** Rejects if a rule cannot be evaluated. */
export function generateDueEvents(db: Replica['db']): Promise<void> {
  return eventGeneration.generateDueEvents(db, (error) => {
    throw error
  })
}

/** Creates an admin key and the monitors `api` and `web`. */
export async function start(replica: Replica) {
  const { call, db } = replica
  const { token: key } = await newKey(replica)
  for (const tag of ['api', 'web']) await call(key, `PUT /api/monitors/${tag}`, { name: tag })
  async function make(body: object = {}) {
    const reply = await call(key, 'POST /api/maintenances', { ...inAnHour(), title: 'Upgrade', ...body })
    if (reply.statusCode !== 201) throw new Error(reply.body)
    return reply.json.data
  }
  const events = async (id: number): Promise<ReceivedEvent[]> =>
    (await call(key, `GET /api/maintenances/${id}/events?limit=100`)).json.data
  /** Simulates the passing of time by shifting all times of a maintenance into the past. */
  async function pass(id: number, milliseconds: number): Promise<void> {
    const elapsed = sql`${milliseconds} * interval '1 ms'`
    await db.transaction().execute(async (trx) => {
      await sql`
        update maintenances set starts_at = starts_at - ${elapsed}, generated_until = generated_until - ${elapsed}
        where id = ${id}`.execute(trx)
      // Shifts in two steps, because PostgreSQL checks after each row that occurrences are unique.
      for (const shift of [sql`- interval '999 days'`, sql`+ interval '999 days' - ${elapsed}`]) {
        await sql`
          update maintenance_events set occurrence = occurrence ${shift} where maintenance_id = ${id}`.execute(
          trx,
        )
      }
      await sql`
        update maintenance_events set starts_at = starts_at - ${elapsed}, ends_at = ends_at - ${elapsed}
        where maintenance_id = ${id}`.execute(trx)
    })
  }
  return { ...replica, key, make, events, pass }
}

// In milliseconds.
export const minute = 60_000
export const hour = 60 * minute
export const day = 24 * hour

export const iso = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`
export const inAnHour = () => ({ starts_at: iso(Date.now() + 2 * hour), duration_seconds: 3600 })
export const alreadyOngoing = () => ({ starts_at: iso(Date.now() - 10 * minute), duration_seconds: 3600 })
