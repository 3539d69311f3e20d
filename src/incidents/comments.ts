import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { State } from '../enums.ts'
import { commentNotFound, incidentNotFound } from '../errors.ts'
import { withinLimits } from '../limits.ts'
import { affectedByIncident } from '../monitors/affected.ts'
import type { Scope } from '../monitors/scope.ts'
import { currentSecond, endedAtFor } from './repository.ts'

export type Comment = Selectable<Tables['incident_comments']>

/** Comments in the view of a single incident, which has no pages. */
const maxShownComments = 1_000

/**
 * Lists the comments of an incident, newest first.
 * @param page `cursor` is the time and id of the last comment of the previous page.
 * @throws ApiError 404, also if the incident affects no monitor of the scope
 */
export async function listComments(
  db: Kysely<Tables>,
  incidentId: number,
  scope: Scope,
  {
    cursor,
    limit = maxShownComments,
  }: { cursor?: { at: Date; id: number } | undefined; limit?: number } = {},
): Promise<Comment[]> {
  const after = cursor
    ? sql`and (commented_at, id) < (${cursor.at}::timestamptz, ${cursor.id}::integer)`
    : sql``
  // The outer join returns one empty row for an incident without comments, and no row without an incident.
  const { rows } = await sql<Comment | { id: null }>`
    select comments.* from incidents left join lateral (
      select * from incident_comments where incident_id = incidents.id ${after}
      order by commented_at desc, id desc limit ${limit}
    ) as comments on true
    where incidents.id = ${incidentId} and ${affectedByIncident.isInScope(scope)}
    order by comments.commented_at desc, comments.id desc`.execute(db)
  if (rows.length === 0) throw incidentNotFound()
  return rows.filter((row) => row.id !== null)
}

/** @throws ApiError 404, also if the incident affects no monitor of the scope */
export async function getComment(
  db: Kysely<Tables>,
  incidentId: number,
  id: number,
  scope: Scope,
): Promise<Comment> {
  const comment = await db
    .selectFrom('incident_comments')
    .innerJoin('incidents', 'incidents.id', 'incident_id')
    .selectAll('incident_comments')
    .where('incident_id', '=', incidentId)
    .where('incident_comments.id', '=', id)
    .where(affectedByIncident.isInScope(scope))
    .executeTakeFirst()
  if (!comment) throw commentNotFound()
  return comment
}

export type CommentChanges = {
  comment?: string | undefined
  state?: State | undefined
  commented_at?: Date | undefined
}

/**
 * Adds a comment; its state, if given, becomes the state of the incident.
 * @throws ApiError 404, 403 if the incident affects monitors outside of the scope
 */
export function createComment(
  db: Kysely<Tables>,
  incidentId: number,
  { comment, state, commented_at }: CommentChanges & { comment: string },
  scope: Scope,
): Promise<Comment> {
  return db.transaction().execute(async (trx) => {
    await affectedByIncident.assertChangeable(trx, incidentId, scope)
    const currentState = await applyState(trx, incidentId, state, commented_at)
    return trx
      .insertInto('incident_comments')
      .values(
        withinLimits('incident_comments', {
          incident_id: incidentId,
          comment,
          state: currentState,
          commented_at: commented_at ?? currentSecond,
        }),
      )
      .returningAll()
      .executeTakeFirstOrThrow()
  })
}

/**
 * Updates the given fields. A new state becomes the state of the incident if the comment is its newest.
 * @param options `appliesState: false` leaves the incident's state alone.
 * @throws ApiError 404, 403 if the incident affects monitors outside of the scope
 */
export function updateComment(
  db: Kysely<Tables>,
  incidentId: number,
  id: number,
  changes: CommentChanges,
  scope: Scope,
  { appliesState = true } = {},
): Promise<Comment> {
  return db.transaction().execute(async (trx) => {
    await affectedByIncident.assertChangeable(trx, incidentId, scope)
    // Locks the incident before the comment, because deleting an incident locks in this order.
    await sql`select from incidents where id = ${incidentId} for no key update`.execute(trx)
    const updated = await trx
      .updateTable('incident_comments')
      .set({ ...sortFields(withinLimits('incident_comments', changes)), updated_at: sql`now()` })
      .where('incident_id', '=', incidentId)
      .where('id', '=', id)
      .returningAll()
      .returning(isNewest.as('is_newest'))
      .executeTakeFirst()
    if (!updated) throw commentNotFound()
    const { is_newest, ...comment } = updated
    await applyState(
      trx,
      incidentId,
      appliesState && is_newest ? changes.state : undefined,
      changes.commented_at,
    )
    return comment
  })
}

const isNewest = sql<boolean>`
  not exists (
    select from incident_comments as other
    where other.incident_id = incident_comments.incident_id and other.id <> incident_comments.id
      and (other.commented_at, other.id) > (incident_comments.commented_at, incident_comments.id)
  )`

/** @throws ApiError 404, 403 if the incident affects monitors outside of the scope */
export function deleteComment(
  db: Kysely<Tables>,
  incidentId: number,
  id: number,
  scope: Scope,
): Promise<void> {
  return db.transaction().execute(async (trx) => {
    await affectedByIncident.assertChangeable(trx, incidentId, scope)
    const { numDeletedRows } = await trx
      .deleteFrom('incident_comments')
      .where('incident_id', '=', incidentId)
      .where('id', '=', id)
      .executeTakeFirst()
    if (numDeletedRows === 0n) throw commentNotFound()
  })
}

/** Marks the incident as updated, and sets its state if one is given. @returns its state. @throws ApiError 404 */
async function applyState(
  trx: Transaction<Tables>,
  id: number,
  state: State | undefined,
  resolved_at: Date | undefined,
): Promise<State> {
  const updated = await trx
    .updateTable('incidents')
    .set({
      ...(state && { state, ended_at: endedAtFor(state, { resolved_at }) }),
      updated_at: sql`now()`,
    })
    .where('id', '=', id)
    .returning('state')
    .executeTakeFirst()
  if (!updated) throw incidentNotFound()
  return updated.state
}
