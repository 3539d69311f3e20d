import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'
import type { ClosingState, EventState, MaintenanceImpact } from '../enums.ts'
import { affectedMonitors, tagsOf } from '../monitors/affected.ts'
import { eventIsOngoing } from '../monitors/current-status.ts'
import { lockMonitorsForShare } from '../monitors/repository.ts'
import { once, parseSchedule, planEvents, type Schedule } from './schedule.ts'

export type Affected = { monitor_tag: string; impact: MaintenanceImpact }

export type Maintenance = Selectable<Tables['maintenances']> & {
  monitors: Affected[]
  /** The one under way, else the next. */
  next_event: { id: number; starts_at: number; ends_at: number; state: EventState } | null
}

export type Event = Selectable<Tables['maintenance_events']> & { state: EventState }

/** What an event is now: by hand, or else by the clock. */
const eventState = sql<EventState>`
  case when closed_as is not null then closed_as
    when ${eventIsOngoing} then 'ONGOING'
    when maintenance_events.ends_at <= now() then 'COMPLETED'
    when maintenance_events.starts_at <= now() + interval '60 minutes' then 'READY'
    else 'SCHEDULED' end`

/** Of a maintenance, those that are not over, the soonest first. */
const upcomingEvents = sql`
  maintenance_events where maintenance_id = maintenances.id and closed_as is null and maintenance_events.ends_at > now()
  order by maintenance_events.starts_at, maintenance_events.id`

const affectedByMaintenance = affectedMonitors('maintenances', 'maintenance')

const columns = sql`
  maintenances.*, ${affectedByMaintenance.column}, (
    select json_build_object('id', id, 'starts_at', extract(epoch from maintenance_events.starts_at),
      'ends_at', extract(epoch from ends_at), 'state', ${eventState})
    from ${upcomingEvents} limit 1
  ) as next_event`

const eventColumns = sql`maintenance_events.*, ${eventState} as state`

export type MaintenanceFilter = {
  enabled?: boolean | undefined
  /** About any of them. */
  monitor_tags?: readonly string[] | undefined
  /** Where the page before ended. */
  cursor?: { startsAt: Date; id: number } | undefined
}

/** Newest start first, or newest made first; one statement, with the monitors and the next event of each. */
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
      : [sql`(starts_at, id) < (${cursor.startsAt}::timestamptz, ${cursor.id}::integer)`]),
    ...(tags === undefined ? [] : [affectedByMaintenance.includes(tags)]),
  ]
  const where = conditions.length > 0 ? sql`where ${sql.join(conditions, sql` and `)}` : sql``
  const order = newest === 'start' ? sql`starts_at desc, id desc` : sql`id desc`
  const { rows } = await sql<Maintenance>`
    select ${columns} from maintenances ${where} order by ${order} limit ${limit}`.execute(db)
  return rows
}

export type PublicMaintenance = Pick<Maintenance, 'id' | 'title' | 'description' | 'monitors'> &
  Pick<Event, 'state' | 'starts_at' | 'ends_at'>

/**
 * What the public may see of enabled maintenances: the event that is under way, else the next within a week, soonest
 * first. Those about visible monitors, or about none.
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

export async function findMaintenance(db: Kysely<Tables>, id: number): Promise<Maintenance | undefined> {
  const { rows } = await sql<Maintenance>`select ${columns} from maintenances where id = ${id}`.execute(db)
  return rows[0]
}

export type NewMaintenance = Schedule & {
  title: string
  description: string | null
  enabled: boolean
  monitors: Affected[]
}

/** With the events that are due. @throws InvalidSchedule or UnknownMonitors, with nothing stored. @returns its id. */
export function insertMaintenance(db: Kysely<Tables>, maintenance: NewMaintenance): Promise<number> {
  const { title, description, enabled, monitors } = maintenance
  return db.transaction().execute(async (trx) => {
    const { startsAt, rrule, durationSeconds } = parseSchedule(maintenance)
    const monitorIds = await lockMonitorsForShare(trx, tagsOf(monitors))
    const { id } = await trx
      .insertInto('maintenances')
      .values({
        title,
        description,
        starts_at: startsAt,
        rrule,
        duration_seconds: durationSeconds,
        enabled,
      })
      .returning('id')
      .executeTakeFirstOrThrow()
    await affectedByMaintenance.insert(trx, id, monitors, monitorIds)
    await generateEvents(trx, id)
    return id
  })
}

export type MaintenanceChanges = {
  title?: string | undefined
  description?: string | null | undefined
  startsAt?: Date | undefined
  rrule?: string | undefined
  durationSeconds?: number | undefined
  enabled?: boolean | undefined
  monitors?: Affected[] | undefined
}

/** False when there is no such maintenance. @throws as insertMaintenance does. */
export function updateMaintenance(
  db: Kysely<Tables>,
  id: number,
  changes: MaintenanceChanges,
): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const stored = await trx
      .selectFrom('maintenances')
      .select(['starts_at', 'rrule', 'duration_seconds'])
      .where('id', '=', id)
      .forNoKeyUpdate()
      .executeTakeFirst()
    if (!stored) return false
    const before = toSchedule(stored)
    const { startsAt = before.startsAt, rrule = before.rrule } = changes
    const { durationSeconds = before.durationSeconds } = changes
    const isRescheduled = startsAt.getTime() !== before.startsAt.getTime() || rrule !== before.rrule
    const isResized = durationSeconds !== before.durationSeconds
    if (isRescheduled || isResized) parseSchedule({ startsAt, rrule, durationSeconds })
    const { title, description, enabled, monitors } = changes
    await trx
      .updateTable('maintenances')
      .set({
        ...(title !== undefined && { title }),
        ...(description !== undefined && { description }),
        ...(enabled !== undefined && { enabled }),
        starts_at: startsAt,
        rrule,
        duration_seconds: durationSeconds,
        updated_at: sql`now()`,
      })
      .where('id', '=', id)
      .execute()
    if (monitors) {
      const monitorIds = await lockMonitorsForShare(trx, tagsOf(monitors))
      await affectedByMaintenance.replace(trx, id, monitors, monitorIds)
    }
    if (isRescheduled) await discardPendingEvents(trx, id, rrule)
    else if (isResized) await resizeEvents(trx, id, before, durationSeconds)
    await generateEvents(trx, id)
    return true
  })
}

function toSchedule(row: Pick<Maintenance, 'starts_at' | 'rrule' | 'duration_seconds'>): Schedule {
  return { startsAt: row.starts_at, rrule: row.rrule, durationSeconds: row.duration_seconds }
}

/**
 * Another schedule, other events: what the one before has yet to bring goes, unless it was closed by hand, and the new
 * one counts from now on. An event under way is what it is, and no second one joins it; but of what happens once it is
 * all that there is, and gives way to the new one.
 */
async function discardPendingEvents(trx: Transaction<Tables>, id: number, rrule: string): Promise<void> {
  const [time, until] = rrule === once ? [sql`ends_at`, null] : [sql`starts_at`, sql`now()`]
  await sql`
    delete from maintenance_events where maintenance_id = ${id} and closed_as is null and ${time} > now()`.execute(
    trx,
  )
  await sql`update maintenances set generated_until = ${until} where id = ${id}`.execute(trx)
}

/** Of the same times, another length: of those to come, and of what happens once; not where someone moved it by hand. */
async function resizeEvents(
  trx: Transaction<Tables>,
  id: number,
  { rrule, durationSeconds: before }: Schedule,
  after: number,
): Promise<void> {
  await sql`
    update maintenance_events set ends_at = starts_at + make_interval(secs => ${after}::integer), updated_at = now()
    where maintenance_id = ${id} and closed_as is null and starts_at = occurrence
      and ends_at = starts_at + make_interval(secs => ${before}::integer)
      and ${rrule === once ? sql`true` : sql`starts_at > now()`}`.execute(trx)
}

/** It, or its schedule, is new; or time has come within a week of where its events end. */
const isDue = sql`
  (enabled and (generated_until is null or generated_until < now() + interval '7 days'))`

/**
 * Gives each enabled maintenance the events that time has made due. Any number of replicas may do so at once: what one
 * is at, the others leave to it.
 */
export async function generateDueEvents(db: Kysely<Tables>): Promise<void> {
  for (let last: number | undefined = 0; last !== undefined;) last = await generateNextEvents(db, last)
}

/** @returns the id of the first maintenance after `last` that had events due. */
function generateNextEvents(db: Kysely<Tables>, last: number): Promise<number | undefined> {
  return db.transaction().execute(async (trx) => {
    const { rows } = await sql<{ id: number }>`
      select id from maintenances where id > ${last} and ${isDue} order by id limit 1
      for no key update skip locked`.execute(trx)
    const [due] = rows
    if (due) await generateEvents(trx, due.id)
    return due?.id
  })
}

/** Whoever calls holds the maintenance. An event that there is already, moved or closed by hand, stays as it is. */
async function generateEvents(trx: Transaction<Tables>, id: number): Promise<void> {
  type Due = Pick<Maintenance, 'starts_at' | 'rrule' | 'duration_seconds'> & {
    generated_until: Date | null
    now: Date
  }
  const { rows } = await sql<Due>`
    select starts_at, rrule, duration_seconds, generated_until, now() as now
    from maintenances where id = ${id} and ${isDue}`.execute(trx)
  const [due] = rows
  if (!due) return
  const { occurrences, until } = planEvents(toSchedule(due), due.generated_until, due.now)
  await sql`
    insert into maintenance_events (maintenance_id, occurrence, starts_at, ends_at)
    select ${id}::integer, occurrence, occurrence, occurrence + make_interval(secs => ${due.duration_seconds}::integer)
    from unnest(${occurrences}::timestamptz[]) as occurrence
    on conflict do nothing`.execute(trx)
  await sql`
    update maintenances set generated_until = coalesce(${until}::timestamptz, 'infinity') where id = ${id}
    `.execute(trx)
}

export async function deleteMaintenance(db: Kysely<Tables>, id: number): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('maintenances').where('id', '=', id).executeTakeFirst()
  return numDeletedRows > 0n
}

/** Soonest first; from a place on, or past so many. */
export async function listEvents(
  db: Kysely<Tables>,
  maintenanceId: number,
  {
    cursor,
    offset = 0,
    limit,
  }: { cursor?: { startsAt: Date; id: number } | undefined; offset?: number; limit: number },
): Promise<Event[]> {
  const where = cursor
    ? sql`and (starts_at, id) > (${cursor.startsAt}::timestamptz, ${cursor.id}::integer)`
    : sql``
  const { rows } = await sql<Event>`
    select ${eventColumns} from maintenance_events where maintenance_id = ${maintenanceId} ${where}
    order by starts_at, id limit ${limit} offset ${offset}`.execute(db)
  return rows
}

export type EventFilter = {
  /** Those that start then, or later. */
  from: Date
  state?: EventState | undefined
  maintenance_id?: number | undefined
  /** About any of them. */
  monitor_tags?: readonly string[] | undefined
}

export type EventWithMaintenance = Event &
  Pick<Maintenance, 'title' | 'description' | 'enabled' | 'rrule' | 'duration_seconds' | 'monitors'>

/** The events of all maintenances, soonest first; `total` counts those of the other pages, too. */
export async function listAllEvents(
  db: Kysely<Tables>,
  filter: EventFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<{ events: EventWithMaintenance[]; total: number }> {
  const { from, state, maintenance_id: maintenanceId, monitor_tags: tags } = filter
  const conditions = [
    sql`maintenance_events.starts_at >= ${from}::timestamptz`,
    ...(state === undefined ? [] : [sql`(${eventState}) = ${state}`]),
    ...(maintenanceId === undefined ? [] : [sql`maintenance_id = ${maintenanceId}`]),
    ...(tags === undefined ? [] : [affectedByMaintenance.includes(tags)]),
  ]
  const matching = sql`
    from maintenance_events join maintenances on maintenances.id = maintenance_id
    where ${sql.join(conditions, sql` and `)}`
  const [{ rows: events }, { rows: counts }] = await Promise.all([
    sql<EventWithMaintenance>`
      select ${eventColumns}, title, description, enabled, rrule, duration_seconds, ${affectedByMaintenance.column} ${matching}
      order by maintenance_events.starts_at, maintenance_events.id limit ${limit} offset ${offset}`.execute(
      db,
    ),
    sql<{ total: number }>`select count(*)::integer as total ${matching}`.execute(db),
  ])
  return { events, total: counts[0]?.total ?? 0 }
}

export async function findEvent(
  db: Kysely<Tables>,
  maintenanceId: number,
  id: number,
): Promise<Event | undefined> {
  const { rows } = await sql<Event>`
    select ${eventColumns} from maintenance_events
    where id = ${id} and maintenance_id = ${maintenanceId}`.execute(db)
  return rows[0]
}

/** From which states an event can be closed so. */
const closable: Record<ClosingState, EventState[]> = {
  COMPLETED: ['ONGOING'],
  CANCELLED: ['SCHEDULED', 'READY', 'ONGOING'],
}

/**
 * Closes an event by hand. One under way ends with the minute before, though it lasts a minute at the least, and no
 * longer than it was to.
 * @returns the state in which it cannot be closed so; undefined when there is no such event of that maintenance.
 */
export async function closeEvent(
  db: Kysely<Tables>,
  maintenanceId: number,
  id: number,
  closing: ClosingState,
): Promise<Event | { refused: EventState } | undefined> {
  const { rows } = await sql<Event>`
    update maintenance_events set closed_as = ${closing}, updated_at = now(),
      ends_at = case when ${eventIsOngoing}
        then least(ends_at, greatest(date_trunc('minute', now()), starts_at + interval '1 minute')) else ends_at end
    where id = ${id} and maintenance_id = ${maintenanceId} and (${eventState}) = any(${closable[closing]}::text[])
    returning ${eventColumns}`.execute(db)
  const [closed] = rows
  if (closed) return closed
  const event = await findEvent(db, maintenanceId, id)
  return event && { refused: event.state }
}

/**
 * Undefined when there is no such event of that maintenance.
 * @throws the database's refusal of an end that is not after the start.
 */
export async function moveEvent(
  db: Kysely<Tables>,
  maintenanceId: number,
  id: number,
  { startsAt, endsAt }: { startsAt: Date; endsAt: Date },
): Promise<Event | undefined> {
  const { rows } = await sql<Event>`
    update maintenance_events
    set starts_at = ${startsAt}::timestamptz, ends_at = ${endsAt}::timestamptz, updated_at = now()
    where id = ${id} and maintenance_id = ${maintenanceId} returning ${eventColumns}`.execute(db)
  return rows[0]
}

/** It is not made again. False when there is no such event of that maintenance. */
export async function deleteEvent(db: Kysely<Tables>, maintenanceId: number, id: number): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom('maintenance_events')
    .where('maintenance_id', '=', maintenanceId)
    .where('id', '=', id)
    .executeTakeFirst()
  return numDeletedRows > 0n
}
