import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { evaluate } from './evaluation.ts'
import type { Plan } from './recurrence.ts'
import { isSameRecurrence, isSameSchedule, once, type Schedule } from './schedule.ts'

/** Matches enabled maintenances that are new, rescheduled, or have events for less than the next 7 days. */
const isDue = sql`
  (enabled and (generated_until is null or generated_until < now() + interval '7 days'))`

/** Differs from the ids of keys. */
const jobCallerId = 'job'

/**
 * Generates the due events of all enabled maintenances. Replicas may run it at the same time: see SKIP LOCKED.
 * @param onError called for a rule that cannot be evaluated; the other maintenances get their events
 */
export async function generateDueEvents(
  db: Kysely<Tables>,
  onError: (error: unknown, maintenanceId: number) => void,
): Promise<void> {
  for (let last = 0; ;) {
    const { rows } = await sql<Schedule & { id: number; now: Date }>`
      select id, starts_at, rrule, duration_seconds, now() as now
      from maintenances where id > ${last} and ${isDue} order by id limit 1`.execute(db)
    const [due] = rows
    if (!due) return
    last = due.id
    const evaluation = { schedule: due, now: due.now, isNew: false }
    const plan = await evaluate(evaluation, jobCallerId).catch((error: unknown) => {
      onError(error, due.id)
    })
    if (plan) await db.transaction().execute((trx) => generateEventsUnlessLocked(trx, due, plan))
  }
}

/** Does nothing if another transaction locks the maintenance, or has changed its schedule: it generates the events. */
async function generateEventsUnlessLocked(
  trx: Transaction<Tables>,
  planned: Schedule & { id: number },
  plan: Plan,
): Promise<void> {
  const { rows } = await sql<Schedule>`
    select starts_at, rrule, duration_seconds from maintenances where id = ${planned.id}
    for no key update skip locked`.execute(trx)
  const [stored] = rows
  if (stored && isSameSchedule(stored, planned)) await generateEvents(trx, planned.id, plan)
}

/**
 * Generates the due events of a maintenance that the transaction has locked. Leaves existing events unchanged, and
 * generates none up to `generated_until`.
 */
export async function generateEvents(trx: Transaction<Tables>, id: number, plan: Plan): Promise<void> {
  const { occurrences, until } = plan
  await sql`
    insert into maintenance_events (maintenance_id, occurrence, starts_at, ends_at)
    select id, occurrence, occurrence, occurrence + make_interval(secs => duration_seconds)
    from maintenances, unnest(${occurrences}::timestamptz[]) as occurrence
    where id = ${id} and ${isDue} and (generated_until is null or occurrence > generated_until)
    on conflict do nothing`.execute(trx)
  await sql`
    update maintenances set generated_until = coalesce(${until}::timestamptz, 'infinity')
    where id = ${id} and ${isDue}`.execute(trx)
}

/** Adapts the events of a maintenance to a schedule that has just been stored. */
export async function rescheduleEvents(
  trx: Transaction<Tables>,
  id: number,
  before: Schedule,
  after: Schedule,
): Promise<void> {
  if (!isSameRecurrence(before, after)) await discardPendingEvents(trx, id, after.rrule)
  else if (before.duration_seconds !== after.duration_seconds) await resizeEvents(trx, id, before, after)
}

/**
 * Deletes the future events of the previous schedule, except those closed by a request. An ongoing event stays, and no
 * event is generated that would overlap it; but if the new schedule occurs only once, its event replaces the ongoing one.
 */
async function discardPendingEvents(trx: Transaction<Tables>, id: number, rrule: string): Promise<void> {
  const [time, until] = rrule === once ? [sql`ends_at`, null] : [sql`starts_at`, sql`now()`]
  await sql`
    delete from maintenance_events where maintenance_id = ${id} and closed_as is null and ${time} > now()`.execute(
    trx,
  )
  await sql`update maintenances set generated_until = ${until} where id = ${id}`.execute(trx)
}

/** Changes the duration of future events, and of the event of a schedule that occurs once. Skips moved events. */
async function resizeEvents(
  trx: Transaction<Tables>,
  id: number,
  before: Schedule,
  after: Schedule,
): Promise<void> {
  await sql`
    update maintenance_events
    set ends_at = starts_at + make_interval(secs => ${after.duration_seconds}::integer), updated_at = now()
    where maintenance_id = ${id} and closed_as is null and starts_at = occurrence
      and ends_at = starts_at + make_interval(secs => ${before.duration_seconds}::integer)
      and ${after.rrule === once ? sql`true` : sql`starts_at > now()`}`.execute(trx)
}
