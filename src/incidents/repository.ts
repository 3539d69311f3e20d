import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'
import type { Impact, State } from '../enums.ts'
import { affectedMonitors, tagsOf } from '../monitors/affected.ts'
import { incidentIsOpen } from '../monitors/current-status.ts'
import { lockMonitorsForShare } from '../monitors/repository.ts'

/** Kener also speaks of monitors that an incident concerns and leaves UP: that is stored, and is no impact. */
export type Affected = { monitor_tag: string; impact: Impact | 'UP' }

export type Incident = Selectable<Tables['incidents']> & { monitors: Affected[] }

export type Comment = Selectable<Tables['incident_comments']>

/** What an incident says of monitors. */
export const affectedByIncident = affectedMonitors('incidents', 'incident')

const columns = sql`incidents.*, ${affectedByIncident.column}`

export type IncidentFilter = {
  state?: State | undefined
  open?: boolean | undefined
  /** About any of them. */
  monitor_tags?: readonly string[] | undefined
  from?: Date | undefined
  to?: Date | undefined
  /** Where the page before ended. */
  cursor?: { startedAt: Date; id: number } | undefined
}

/** Newest start first, or newest made first; one statement, with the monitors of each. */
export async function listIncidents(
  db: Kysely<Tables>,
  filter: IncidentFilter,
  limit: number,
  newest: 'start' | 'id' = 'start',
): Promise<Incident[]> {
  const { state, open, monitor_tags: tags, from, to, cursor } = filter
  const conditions = [
    ...(state === undefined ? [] : [sql`state = ${state}`]),
    ...(open === undefined ? [] : [sql`${incidentIsOpen} = ${open}`]),
    ...(from === undefined ? [] : [sql`started_at >= ${from}`]),
    ...(to === undefined ? [] : [sql`started_at < ${to}`]),
    ...(cursor === undefined
      ? []
      : [sql`(started_at, id) < (${cursor.startedAt}::timestamptz, ${cursor.id}::integer)`]),
    ...(tags === undefined ? [] : [affectedByIncident.includes(tags)]),
  ]
  const where = conditions.length > 0 ? sql`where ${sql.join(conditions, sql` and `)}` : sql``
  const order = newest === 'start' ? sql`started_at desc, id desc` : sql`id desc`
  const { rows } = await sql<Incident>`
    select ${columns} from incidents ${where} order by ${order} limit ${limit}`.execute(db)
  return rows
}

/** Open ones that the public may see, with the newest comment: those about visible monitors, or about none. */
export async function listPublicIncidents(
  db: Kysely<Tables>,
): Promise<(Incident & { newest_comment: { comment: string; state: State; timestamp: number } | null })[]> {
  const { rows } = await sql<Awaited<ReturnType<typeof listPublicIncidents>>[number]>`
    select incidents.*, affected.monitors, (
      select json_build_object('comment', comment, 'state', state, 'timestamp', extract(epoch from commented_at))
      from incident_comments where incident_id = incidents.id order by commented_at desc, id desc limit 1
    ) as newest_comment
    from incidents, ${affectedByIncident.publicMonitors}
    where ${incidentIsOpen} and ${affectedByIncident.isPublic}
    order by started_at desc, id desc`.execute(db)
  return rows
}

export async function findIncident(db: Kysely<Tables>, id: number): Promise<Incident | undefined> {
  const { rows } = await sql<Incident>`select ${columns} from incidents where id = ${id}`.execute(db)
  return rows[0]
}

export type NewIncident = {
  title: string
  startedAt: Date | undefined
  endedAt: Date | null | undefined
  state: State | undefined
  monitors: Affected[]
  comment: string | undefined
}

/** @throws UnknownMonitors, with nothing stored, or the database's refusal of an end before the start. @returns its id. */
export function insertIncident(db: Kysely<Tables>, incident: NewIncident): Promise<number> {
  const { title, startedAt, endedAt, monitors, comment } = incident
  // One that is told when it is over has been resolved; one whose end is planned has not.
  const inferredState = sql<State>`case when ${endedAt ?? null}::timestamptz <= now() then 'RESOLVED' else 'INVESTIGATING' end`
  const state = incident.state ?? inferredState
  return db.transaction().execute(async (trx) => {
    const monitorIds = await lockMonitorsForShare(trx, tagsOf(monitors))
    const started = startedAt ?? sql<Date>`date_trunc('second', now())`
    const ended = endedAt ?? (state === 'RESOLVED' ? sql<Date>`greatest(${started}, ${thisSecond})` : null)
    const { id, state: stored } = await trx
      .insertInto('incidents')
      .values({ title, state, started_at: started, ended_at: ended })
      .returning(['id', 'state'])
      .executeTakeFirstOrThrow()
    await affectedByIncident.insert(trx, id, monitors, monitorIds)
    if (comment !== undefined) {
      await trx
        .insertInto('incident_comments')
        .values({ incident_id: id, comment, state: stored, commented_at: thisSecond })
        .execute()
    }
    return id
  })
}

const thisSecond = sql<Date>`date_trunc('second', now())`

export type IncidentChanges = {
  title?: string | undefined
  startedAt?: Date | undefined
  endedAt?: Date | null | undefined
  state?: State | undefined
  monitors?: Affected[] | undefined
}

/** False when there is no such incident. @throws as insertIncident does. */
export function updateIncident(db: Kysely<Tables>, id: number, changes: IncidentChanges): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const { title, startedAt, endedAt, state, monitors } = changes
    const { numUpdatedRows } = await trx
      .updateTable('incidents')
      .set({
        ...(title !== undefined && { title }),
        ...(startedAt && { started_at: startedAt }),
        ...(state && { state, ended_at: endedAtFor(state, startedAt) }),
        ...(endedAt !== undefined && { ended_at: endedAt }),
        updated_at: sql`now()`,
      })
      .where('id', '=', id)
      .executeTakeFirst()
    if (numUpdatedRows === 0n) return false
    if (monitors) {
      const monitorIds = await lockMonitorsForShare(trx, tagsOf(monitors))
      await affectedByIncident.replace(trx, id, monitors, monitorIds)
    }
    return true
  })
}

/** RESOLVED ends an incident, unless it has ended before; any other state opens one that was over, and leaves a planned end. */
function endedAtFor(state: State, startedAt?: Date, at = thisSecond) {
  if (state !== 'RESOLVED') {
    return sql<Date | null>`case when state <> 'RESOLVED' and ended_at > now() then ended_at end`
  }
  return sql<Date>`least(ended_at, greatest(${startedAt ?? sql.ref('started_at')}::timestamptz, ${at}))`
}

export async function deleteIncident(db: Kysely<Tables>, id: number): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('incidents').where('id', '=', id).executeTakeFirst()
  return numDeletedRows > 0n
}

/** Newest first. */
export async function listComments(
  db: Kysely<Tables>,
  incidentId: number,
  { cursor, limit }: { cursor?: { at: Date; id: number } | undefined; limit?: number } = {},
): Promise<Comment[]> {
  const where = cursor
    ? sql`and (commented_at, id) < (${cursor.at}::timestamptz, ${cursor.id}::integer)`
    : sql``
  const { rows } = await sql<Comment>`
    select * from incident_comments where incident_id = ${incidentId} ${where}
    order by commented_at desc, id desc limit ${limit ?? null}`.execute(db)
  return rows
}

export type CommentChanges = {
  comment?: string | undefined
  state?: State | undefined
  at?: Date | undefined
}

/** A state moves the incident too. Undefined when there is no such incident. */
export function insertComment(
  db: Kysely<Tables>,
  incidentId: number,
  { comment, state, at }: CommentChanges & { comment: string },
): Promise<Comment | undefined> {
  return db.transaction().execute(async (trx) => {
    const currentState = await applyState(trx, incidentId, state, at)
    if (!currentState) return undefined
    return trx
      .insertInto('incident_comments')
      .values({ incident_id: incidentId, comment, state: currentState, commented_at: at ?? thisSecond })
      .returningAll()
      .executeTakeFirstOrThrow()
  })
}

export async function findComment(
  db: Kysely<Tables>,
  incidentId: number,
  id: number,
): Promise<Comment | undefined> {
  return db
    .selectFrom('incident_comments')
    .selectAll()
    .where('incident_id', '=', incidentId)
    .where('id', '=', id)
    .executeTakeFirst()
}

/** A new state moves the incident when the comment is its newest. Undefined when there is no such comment on it. */
export function updateComment(
  db: Kysely<Tables>,
  incidentId: number,
  id: number,
  { comment, state, at }: CommentChanges,
  { appliesState = true } = {},
): Promise<Comment | undefined> {
  return db.transaction().execute(async (trx) => {
    // Before its comment: who deletes an incident takes the two in this order, and would wait for us.
    await sql`select from incidents where id = ${incidentId} for no key update`.execute(trx)
    const updated = await trx
      .updateTable('incident_comments')
      .set((eb) => ({
        comment: comment ?? eb.ref('comment'),
        ...(state && { state }),
        ...(at && { commented_at: at }),
        updated_at: sql`now()`,
      }))
      .where('incident_id', '=', incidentId)
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirst()
    if (updated) {
      const isApplied = appliesState && (await isNewest(trx, updated))
      await applyState(trx, incidentId, isApplied ? state : undefined, at)
    }
    return updated
  })
}

async function isNewest(trx: Transaction<Tables>, { incident_id, id }: Comment): Promise<boolean> {
  const [newest] = await listComments(trx, incident_id, { limit: 1 })
  return newest?.id === id
}

export async function deleteComment(db: Kysely<Tables>, incidentId: number, id: number): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom('incident_comments')
    .where('incident_id', '=', incidentId)
    .where('id', '=', id)
    .executeTakeFirst()
  return numDeletedRows > 0n
}

/** @returns the state that the incident is in now; undefined when there is none. */
async function applyState(
  trx: Transaction<Tables>,
  id: number,
  state: State | undefined,
  at: Date | undefined,
): Promise<State | undefined> {
  const updated = await trx
    .updateTable('incidents')
    .set({
      updated_at: sql`now()`,
      ...(state && { state, ended_at: endedAtFor(state, undefined, at && sql<Date>`${at}::timestamptz`) }),
    })
    .where('id', '=', id)
    .returning('state')
    .executeTakeFirst()
  return updated?.state
}
