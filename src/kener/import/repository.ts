import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../../database/schema.ts'
import type { State } from '../../enums.ts'
import { type Affected, affectedByIncident } from '../../incidents/repository.ts'
import { tagsOf } from '../../monitors/affected.ts'
import { lockExistingMonitorsForShare, type MonitorAttributes } from '../../monitors/repository.ts'
import { OperatorError } from '../../operator-error.ts'
import { type ExtraFields, insertKenerMonitor, updateKenerMonitor } from '../repository.ts'

/** What of a Kener is what here. */
export type Source = Pick<Tables['kener_imports'], 'source' | 'source_id' | 'updated_at'>

type Kind = Tables['kener_imports']['kind']

export type Imported = {
  id: number
  updated_at: string
  /** False when it was deleted here. */
  exists_locally: boolean
}

const tables = { monitor: 'monitors', incident: 'incidents', comment: 'incident_comments' } as const

/** By their ids there. */
export async function readImports(
  db: Kysely<Tables>,
  source: string,
  kind: Kind,
): Promise<Map<number, Imported>> {
  const { rows } = await sql<Imported & { source_id: number }>`
    select source_id, known.id, known.updated_at, local.id is not null as exists_locally
    from kener_imports as known left join ${sql.table(tables[kind])} as local on local.id = known.id
    where source = ${source} and kind = ${kind}`.execute(db)
  return new Map(rows.map(({ source_id, ...imported }) => [source_id, imported]))
}

export async function readTags(db: Kysely<Tables>): Promise<Map<number, string>> {
  const rows = await db.selectFrom('monitors').select(['id', 'tag']).execute()
  return new Map(rows.map(({ id, tag }) => [id, tag]))
}

type NewMonitor = { attributes: MonitorAttributes; fields: ExtraFields }

/** False, with nothing stored, when the tag is taken. */
export function importMonitor(
  db: Kysely<Tables>,
  from: Source,
  { attributes, fields }: NewMonitor,
): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const monitor = await insertKenerMonitor(trx, attributes, fields)
    if (monitor) await recordImport(trx, 'monitor', from, monitor.id)
    return monitor !== undefined
  })
}

/** But for its tag, and what Kener does not know of it. False when there is no such monitor. */
export function reimportMonitor(
  db: Kysely<Tables>,
  from: Source,
  tag: string,
  { attributes, fields }: NewMonitor,
): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const monitor = await updateKenerMonitor(trx, tag, ({ stale_after_seconds }) => ({
      attributes: { ...attributes, tag, stale_after_seconds },
      fields,
    }))
    if (monitor) await recordImport(trx, 'monitor', from, monitor.id)
    return monitor !== undefined
  })
}

export type IncidentImport = {
  /** Here; undefined for a new one. */
  id: number | undefined
  /** Undefined when only comments are to be stored. */
  changes:
    | {
        from: Source
        title: string
        state: State
        startedAt: Date
        endedAt: Date | null
        monitors: Affected[]
      }
    | undefined
  comments: CommentImport[]
}

export type CommentImport = {
  id: number | undefined
  from: Source
  comment: string
  state: State
  at: Date
}

/**
 * With its timeline, whose states do not move it: it is what it is there. Monitors that are deleted meanwhile are left
 * out, as their deletion would. False, with nothing stored, when there is no such incident any more.
 */
export function importIncident(
  db: Kysely<Tables>,
  { id: known, changes, comments }: IncidentImport,
): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const id = await storeIncident(trx, known, changes)
    if (id === undefined) return false
    if (changes) {
      const monitorIds = await lockExistingMonitorsForShare(trx, tagsOf(changes.monitors))
      const existing = changes.monitors.filter(({ monitor_tag }) => monitorIds.has(monitor_tag))
      await affectedByIncident.replace(trx, id, existing, monitorIds)
      await recordImport(trx, 'incident', changes.from, id)
    }
    for (const comment of comments) await storeComment(trx, id, comment)
    return true
  })
}

async function storeIncident(
  trx: Transaction<Tables>,
  id: number | undefined,
  changes: IncidentImport['changes'],
): Promise<number | undefined> {
  const values = changes && {
    title: changes.title,
    state: changes.state,
    started_at: changes.startedAt,
    ended_at: changes.endedAt,
  }
  if (id !== undefined) {
    // Even for comments alone: who deletes an incident takes it before them, and would wait for us.
    const updated = await trx
      .updateTable('incidents')
      .set({ ...values, updated_at: sql`now()` })
      .where('id', '=', id)
      .returning('id')
      .executeTakeFirst()
    return updated?.id
  }
  if (!values) throw new Error('An incident that is new has to be stored before its comments')
  const inserted = await trx.insertInto('incidents').values(values).returning('id').executeTakeFirstOrThrow()
  return inserted.id
}

async function storeComment(
  trx: Transaction<Tables>,
  incidentId: number,
  { id, from, comment, state, at }: CommentImport,
): Promise<void> {
  const values = { comment, state, commented_at: at }
  const stored =
    id === undefined
      ? await trx
          .insertInto('incident_comments')
          .values({ incident_id: incidentId, ...values })
          .returning('id')
          .executeTakeFirst()
      : await trx
          .updateTable('incident_comments')
          .set({ ...values, updated_at: sql`now()` })
          .where('incident_id', '=', incidentId)
          .where('id', '=', id)
          .returning('id')
          .executeTakeFirst()
  // One that was deleted here meanwhile stays deleted.
  if (stored) await recordImport(trx, 'comment', from, stored.id)
}

/** @throws OperatorError when it has become something else meanwhile. */
async function recordImport(trx: Transaction<Tables>, kind: Kind, from: Source, id: number): Promise<void> {
  const { rows } = await sql`
    insert into kener_imports (source, kind, source_id, id, updated_at)
    values (${from.source}, ${kind}, ${from.source_id}, ${id}, ${from.updated_at})
    on conflict (source, kind, source_id) do update set updated_at = excluded.updated_at, imported_at = now()
    where kener_imports.id = excluded.id
    returning id`.execute(trx)
  if (rows.length === 0) {
    throw new OperatorError(
      `Another import from ${from.source} is under way: run this again when that is done, it goes on where it stopped`,
    )
  }
}
