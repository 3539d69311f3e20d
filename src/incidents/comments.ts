import { type Kysely, type Selectable, sql } from 'kysely'
import { type Change, diff } from '../audit/transaction.ts'
import { sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { State } from '../enums.ts'
import { commentNotFound, incidentNotFound } from '../errors.ts'
import { withinLimits } from '../limits.ts'
import { affectedByIncident } from '../monitors/affected.ts'
import type { Scope } from '../monitors/scope.ts'
import type { Precondition } from '../preconditions.ts'
import {
  currentSecond,
  diffComments,
  endedAtFor,
  type Incident,
  lockIncident,
  toTarget,
} from './repository.ts'

export type Comment = Selectable<Tables['incident_comments']>

/** Comments in the view of a single incident, which has no pages. */
export const maxShownComments = 1_000

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
 * @param expected compared with the incident, of which every change of a comment is a new version
 * @throws ApiError 412, 404, 403 if the incident affects monitors outside of the scope
 */
export async function createComment(
  change: Change,
  incidentId: number,
  { comment, state, commented_at }: CommentChanges & { comment: string },
  scope: Scope,
  expected: Precondition = {},
): Promise<Comment> {
  const { trx, record } = change
  await affectedByIncident.assertChangeable(trx, incidentId, scope, expected)
  const incident = await lockIncident(trx, incidentId, expected)
  const currentState = await applyState(change, incident, state, commented_at)
  const created = await trx
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
  record({
    action: 'comment.created',
    target: toTarget(incident),
    changes: diffComments({}, created),
  })
  return created
}

/**
 * Updates the given fields. A new state becomes the state of the incident if the comment is its newest.
 * @param options `appliesState: false` leaves the incident's state alone. `expected` as of createComment.
 * @throws ApiError 412, 404, 403 if the incident affects monitors outside of the scope
 */
export async function updateComment(
  change: Change,
  incidentId: number,
  id: number,
  changes: CommentChanges,
  scope: Scope,
  { appliesState = true, expected = {} }: { appliesState?: boolean; expected?: Precondition } = {},
): Promise<Comment> {
  const { trx, record } = change
  await affectedByIncident.assertChangeable(trx, incidentId, scope, expected)
  // Locks the incident before the comment, because deleting an incident locks in this order.
  const incident = await lockIncident(trx, incidentId, expected)
  const before = await getComment(trx, incidentId, id, null)
  const { is_newest, ...comment } = await trx
    .updateTable('incident_comments')
    .set({ ...sortFields(withinLimits('incident_comments', changes)), updated_at: sql`now()` })
    .where('id', '=', id)
    .returningAll()
    .returning(isNewest.as('is_newest'))
    .executeTakeFirstOrThrow()
  record({
    action: 'comment.updated',
    target: toTarget(incident),
    changes: diffComments(before, comment),
  })
  await applyState(
    change,
    incident,
    appliesState && is_newest ? changes.state : undefined,
    changes.commented_at,
  )
  return comment
}

const isNewest = sql<boolean>`
  not exists (
    select from incident_comments as other
    where other.incident_id = incident_comments.incident_id and other.id <> incident_comments.id
      and (other.commented_at, other.id) > (incident_comments.commented_at, incident_comments.id)
  )`

/**
 * @param expected as of createComment
 * @throws ApiError 412, 404, 403 if the incident affects monitors outside of the scope
 */
export async function deleteComment(
  change: Change,
  incidentId: number,
  id: number,
  scope: Scope,
  expected: Precondition = {},
): Promise<void> {
  const { trx, record } = change
  await affectedByIncident.assertChangeable(trx, incidentId, scope, expected)
  const incident = await lockIncident(trx, incidentId, expected)
  const comment = await getComment(trx, incidentId, id, null)
  await trx.deleteFrom('incident_comments').where('id', '=', id).execute()
  record({
    action: 'comment.deleted',
    target: toTarget(incident),
    changes: diffComments(comment, {}),
  })
  await applyState(change, incident, undefined, undefined)
}

/** Marks the incident as updated, which is a new version, and sets its state if one is given. @returns its state */
async function applyState(
  { trx, record }: Change,
  before: Incident,
  state: State | undefined,
  resolved_at: Date | undefined,
): Promise<State> {
  const after = await trx
    .updateTable('incidents')
    .set({
      ...(state && { state, ended_at: endedAtFor(state, { resolved_at }) }),
      updated_at: sql`now()`,
    })
    .where('id', '=', before.id)
    .returningAll()
    .executeTakeFirstOrThrow()
  record({
    action: 'incident.updated',
    target: toTarget(after),
    changes: diff(before, after, ['state', 'ended_at']),
  })
  return after.state
}
