import { type Kysely, type Selectable, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import type { AuditAction, AuditTargetType } from '../enums.ts'
import { paginate, parseCursor } from '../wire/pagination.ts'

export type AuditEvent = Omit<Selectable<Tables['audit_events']>, 'retained_until'>

export type AuditFilter = {
  /** Id of the acting key. */
  actor?: string | undefined
  action?: AuditAction | undefined
  target_type?: AuditTargetType | undefined
  /** Id of the target, by default of any type. */
  target?: string | undefined
  /** Matches times in [from, to). */
  from?: Date | undefined
  to?: Date | undefined
}

/** Time and id of the last event of the previous page. */
type After = { after?: Pick<AuditEvent, 'at' | 'id'> | undefined }

const columns = [
  'id',
  'at',
  'actor_key_id',
  'actor_key_name',
  'via',
  'action',
  'target_type',
  'target_id',
  'target_name',
  'changes',
  'address',
  'request_id',
] as const

/** Lists audit events, newest first. */
async function listAuditEvents(
  db: Kysely<Tables>,
  { actor, action, target_type: type, target, from, to, after }: AuditFilter & After,
  limit: number,
): Promise<AuditEvent[]> {
  return db
    .selectFrom('audit_events')
    .select(columns)
    .$if(actor !== undefined, (query) => query.where('actor_key_id', '=', actor ?? ''))
    .$if(action !== undefined, (query) => query.where('action', '=', action ?? 'key.created'))
    .$if(type !== undefined, (query) => query.where('target_type', '=', type ?? 'key'))
    .$if(target !== undefined, (query) => query.where('target_id', '=', target ?? ''))
    .$if(from !== undefined, (query) => query.where('at', '>=', from ?? new Date()))
    .$if(to !== undefined, (query) => query.where('at', '<', to ?? new Date()))
    .$if(after !== undefined, (query) =>
      query.where(sql<boolean>`(at, id) < (${after?.at}::timestamptz, ${after?.id}::bigint)`),
    )
    .orderBy('at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
}

/**
 * Returns a page of audit events, newest first.
 * @throws ApiError 400 for an invalid cursor
 */
export async function listAuditPage(
  db: Kysely<Tables>,
  filter: AuditFilter,
  { cursor, limit }: { cursor?: string | undefined; limit: number },
) {
  const after =
    cursor === undefined ? undefined : parsePosition(parseCursor(cursor, 'audit', /^\d{1,11}:\d{1,18}$/))
  const rows = await listAuditEvents(db, { ...filter, after }, limit + 1)
  return paginate(rows, limit, 'audit', ({ at, id }) => `${at.getTime() / 1000}:${id}`)
}

/** Ids are bigint, which do not fit the positions of other lists. */
function parsePosition(text: string): Pick<AuditEvent, 'at' | 'id'> {
  const [seconds, id = ''] = text.split(':')
  return { at: new Date(Number(seconds) * 1000), id }
}

/** Events that one statement of the export reads. */
const exportPageLength = 1_000

/** Yields all matching events that exist at the start, newest first, in pages, so that an export of any length takes little memory. */
export async function* exportAuditEvents(
  db: Kysely<Tables>,
  filter: AuditFilter,
): AsyncGenerator<AuditEvent[]> {
  let after: After['after']
  for (;;) {
    const page = await listAuditEvents(db, { ...filter, after }, exportPageLength)
    yield page
    const last = page.at(-1)
    if (page.length < exportPageLength || !last) return
    after = { at: last.at, id: last.id }
  }
}

/** Events that one statement deletes. */
const deletionLength = 10_000

/**
 * Deletes the events whose retention has ended. A function of the database decides which, so that a role without the
 * right to delete events can call it. @returns the number of deleted events
 */
export async function removeExpiredAuditEvents(db: Kysely<Tables>): Promise<number> {
  for (let total = 0; ;) {
    const { rows } = await sql<{ deleted: number }>`
      select delete_expired_audit_events(${deletionLength}) as deleted`.execute(db)
    const deleted = rows[0]?.deleted ?? 0
    total += deleted
    if (deleted < deletionLength) return total
  }
}
