import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { type Change, diff, diffDeleted, diffNew, type FieldChanges } from '../audit/transaction.ts'
import { sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { Impact, State } from '../enums.ts'
import { incidentNotFound, invalidField } from '../errors.ts'
import { withinLimits } from '../limits.ts'
import { affectedByIncident, assertUniqueMonitors, lockAffectedMonitors } from '../monitors/affected.ts'
import type { Scope } from '../monitors/scope.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'

/** UP: Kener clients may list a monitor that the incident does not impair. It is stored, and changes no status. */
export type Affected = { monitor_tag: string; impact: Impact | 'UP' }

export type Incident = Selectable<Tables['incidents']> & { monitors: Affected[] }

const columns = (scope: Scope) => sql`incidents.*, ${affectedByIncident.column(scope)}`

/** @throws ApiError 404, also if the incident affects no monitor of the scope */
export async function getIncident(db: Kysely<Tables>, id: number, scope: Scope): Promise<Incident> {
  const incident = await findIncident(db, id, scope)
  if (!incident) throw incidentNotFound()
  return incident
}

async function findIncident(db: Kysely<Tables>, id: number, scope: Scope): Promise<Incident | undefined> {
  const { rows } = await sql<Incident>`
    select ${columns(scope)} from incidents
    where id = ${id} and ${affectedByIncident.isInScope(scope)}`.execute(db)
  return rows[0]
}

export type NewIncident = {
  title: string
  /** Defaults to the current second. */
  started_at?: Date | undefined
  /** Defaults to the current second if the state is RESOLVED. */
  ended_at?: Date | null | undefined
  /** Defaults to RESOLVED if ended_at has passed, to INVESTIGATING otherwise: a planned end resolves nothing yet. */
  state?: State | undefined
  monitors?: Affected[] | undefined
  comment?: string | undefined
}

/** Fields whose changes audit events record. */
export const auditedFields = ['title', 'state', 'started_at', 'ended_at', 'monitors'] as const

/** Returns the changes of a comment, for audit events: also its id, because their target is its incident. */
export function diffComments(before: Partial<StoredComment>, after: Partial<StoredComment>): FieldChanges {
  const changes = diff(toAudited(before), toAudited(after), ['comment', 'state', 'timestamp'])
  return Object.keys(changes).length > 0
    ? { comment_id: [before.id ?? null, after.id ?? null], ...changes }
    : {}
}

type StoredComment = Selectable<Tables['incident_comments']>

function toAudited({ commented_at, ...comment }: Partial<StoredComment>) {
  return { ...comment, timestamp: commented_at }
}

/** The target of audit events about an incident and its comments. */
export function toTarget({ id, title }: Pick<Incident, 'id' | 'title'>) {
  return { type: 'incident' as const, id: String(id), name: title }
}

/**
 * Creates an incident, with its first comment if there is one.
 * @returns its id. @throws ApiError 400 if a monitor is unknown or repeated, or if the end is before the start
 */
export async function createIncident({ trx, record }: Change, incident: NewIncident): Promise<number> {
  const { title, ended_at, monitors = [], comment } = incident
  assertUniqueMonitors(monitors)
  const inferredState = sql<State>`
    case when ${ended_at ?? null}::timestamptz <= now() then 'RESOLVED' else 'INVESTIGATING' end`
  const state = incident.state ?? inferredState
  const started_at = incident.started_at ?? currentSecond
  const defaultEnd = state === 'RESOLVED' ? sql<Date>`greatest(${started_at}, ${currentSecond})` : null
  const monitorIds = await lockAffectedMonitors(trx, monitors)
  const created = await trx
    .insertInto('incidents')
    .values(withinLimits('incidents', { title, state, started_at, ended_at: ended_at ?? defaultEnd }))
    .returningAll()
    .executeTakeFirstOrThrow()
    .catch(rethrowEndBeforeStart(incident))
  await affectedByIncident.insert(trx, created.id, monitors, monitorIds)
  record({
    action: 'incident.created',
    target: toTarget(created),
    changes: diffNew({ ...created, monitors }, auditedFields),
  })
  if (comment !== undefined) {
    const first = await trx
      .insertInto('incident_comments')
      .values(
        withinLimits('incident_comments', {
          incident_id: created.id,
          comment,
          state: created.state,
          commented_at: currentSecond,
        }),
      )
      .returningAll()
      .executeTakeFirstOrThrow()
    record({ action: 'comment.created', target: toTarget(created), changes: diffComments({}, first) })
  }
  return created.id
}

export const currentSecond = sql<Date>`date_trunc('second', now())`

type IncidentChanges = {
  title?: string | undefined
  started_at?: Date | undefined
  ended_at?: Date | null | undefined
  state?: State | undefined
  /** Replaces all affected monitors. */
  monitors?: Affected[] | undefined
}

/**
 * Updates the given fields. A state without an end sets or clears the end, see endedAtFor.
 * @throws ApiError 412, 404, 403 if the incident affects monitors outside of the scope, or 400 as createIncident does
 */
export async function updateIncident(
  { trx, record }: Change,
  id: number,
  { monitors, ...changes }: IncidentChanges,
  scope: Scope,
  expected: Precondition = {},
): Promise<void> {
  assertUniqueMonitors(monitors)
  const { started_at, ended_at, state } = changes
  const monitorIds = await lockAffectedMonitors(trx, monitors ?? [])
  await affectedByIncident.assertChangeable(trx, id, scope, expected)
  const before = await lockIncident(trx, id, expected)
  await trx
    .updateTable('incidents')
    .set({
      ...sortFields(withinLimits('incidents', changes)),
      ...(ended_at === undefined && state && { ended_at: endedAtFor(state, { started_at }) }),
      updated_at: sql`now()`,
    })
    .where('id', '=', id)
    .execute()
    .catch(rethrowEndBeforeStart(changes))
  if (monitors) await affectedByIncident.replace(trx, id, monitors, monitorIds)
  const after = await getIncident(trx, id, null)
  record({
    action: 'incident.updated',
    target: toTarget(after),
    changes: diff(before, after, auditedFields),
  })
}

/** Locks an incident as lockExistingIncident does. @throws ApiError 412, 404 */
export async function lockIncident(
  trx: Transaction<Tables>,
  id: number,
  expected: Precondition = {},
): Promise<Incident> {
  const incident = await lockExistingIncident(trx, id)
  assertPrecondition(expected, incident)
  if (!incident) throw incidentNotFound()
  return incident
}

/**
 * Locks an incident until commit. Returns undefined if it does not exist. Call it after its monitors are locked, and
 * before its comments are, because a deletion locks in this order, and the reverse order deadlocks.
 */
export async function lockExistingIncident(
  trx: Transaction<Tables>,
  id: number,
): Promise<Incident | undefined> {
  await sql`select from incidents where id = ${id} for no key update`.execute(trx)
  return findIncident(trx, id, null)
}

/**
 * Computes the end of an incident that enters a state. RESOLVED ends it at `resolved_at`, unless it ended before. Any
 * other state clears an end that has passed, and keeps a planned end.
 */
export function endedAtFor(
  state: State,
  { started_at, resolved_at }: { started_at?: Date | undefined; resolved_at?: Date | undefined },
) {
  if (state !== 'RESOLVED') {
    return sql<Date | null>`case when state <> 'RESOLVED' and ended_at > now() then ended_at end`
  }
  const start = started_at ?? sql.ref('started_at')
  const end = resolved_at ?? currentSecond
  return sql<Date>`least(ended_at, greatest(${start}::timestamptz, ${end}::timestamptz))`
}

/** Name of the check of the table. */
const endNotBeforeStart = 'incidents_end_not_before_start'

/**
 * Translates the check of the table, because only the database knows a time that is not part of the change. Names the
 * field that the client sent.
 */
const rethrowEndBeforeStart =
  ({ ended_at }: Pick<IncidentChanges, 'ended_at'>) =>
  (error: unknown): never => {
    if (!(error instanceof Error && 'constraint' in error && error.constraint === endNotBeforeStart))
      throw error
    throw ended_at == null
      ? invalidField('/started_at', 'must not be after ended_at')
      : invalidField('/ended_at', 'must not be before started_at')
  }

/** @throws ApiError 412, 404 */
export async function deleteIncident(
  { trx, record }: Change,
  id: number,
  expected: Precondition = {},
): Promise<void> {
  const incident = await lockIncident(trx, id, expected)
  await trx.deleteFrom('incidents').where('id', '=', id).execute()
  record({
    action: 'incident.deleted',
    target: toTarget(incident),
    changes: diffDeleted(incident, auditedFields),
  })
}
