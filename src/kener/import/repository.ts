import { type Kysely, sql, type Transaction } from 'kysely'
import { auditedTransaction, type Change, type ChangeContext, diff } from '../../audit/transaction.ts'
import type { Tables } from '../../database/schema.ts'
import type { Comment } from '../../incidents/comments.ts'
import {
  type Affected,
  auditedFields,
  diffComments,
  getIncident,
  type Incident,
  lockExistingIncident,
  toTarget,
} from '../../incidents/repository.ts'
import { affectedByIncident, lockExistingMonitorsForShare, tagsOf } from '../../monitors/affected.ts'
import type { MonitorAttributes } from '../../monitors/repository.ts'
import { withinLimits } from '../../limits.ts'
import { OperatorError } from '../../operator-error.ts'
import { type ExtraFields, insertKenerMonitor, settingsFields, updateKenerMonitor } from '../repository.ts'

/** Identifies an item of a Kener, and its version. */
export type Source = Pick<Tables['kener_imports'], 'source' | 'source_id' | 'updated_at'>

type Kind = Tables['kener_imports']['kind']

export type Imported = {
  id: number
  updated_at: string
  /** False if the item was deleted locally after it was imported. */
  exists_locally: boolean
}

const tables = { monitor: 'monitors', incident: 'incidents', comment: 'incident_comments' } as const

/** Returns the recorded imports of one kind, by the id at the source. */
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

export type LocalMonitor = { tag: string; hidden: boolean }

/** Returns all monitors, by id. */
export async function readLocalMonitors(db: Kysely<Tables>): Promise<Map<number, LocalMonitor>> {
  const rows = await db.selectFrom('monitors').select(['id', 'tag', 'hidden']).execute()
  return new Map(rows.map(({ id, tag, hidden }) => [id, { tag, hidden }]))
}

export type ImportedMonitor = {
  attributes: MonitorAttributes
  fields: ExtraFields
  /** Names of the settings that are left out, because the source masks them. */
  masked: { [field in (typeof settingsFields)[number]]?: string[] }
}

/** Returns false, and stores nothing, if the tag is taken. */
export function importMonitor(
  context: ChangeContext,
  from: Source,
  { attributes, fields }: ImportedMonitor,
): Promise<boolean> {
  return auditedTransaction(context, async (change) => {
    const monitor = await insertKenerMonitor(change, attributes, fields)
    if (monitor) await recordImport(change.trx, 'monitor', from, monitor.id)
    return monitor !== undefined
  })
}

/**
 * Replaces a monitor that was imported before, except its tag and `stale_after_seconds`, which Kener does not have. A
 * hidden monitor stays hidden, because it may have been hidden locally: publishing it cannot be undone. Settings that the
 * source masks are kept. Returns false if the monitor does not exist.
 */
export function reimportMonitor(
  context: ChangeContext,
  from: Source,
  tag: string,
  { attributes, fields, masked }: ImportedMonitor,
): Promise<boolean> {
  return auditedTransaction(context, async (change) => {
    const monitor = await updateKenerMonitor(
      change,
      tag,
      ({ stale_after_seconds, hidden, fields: before }) => ({
        attributes: { ...attributes, tag, stale_after_seconds, hidden: hidden || attributes.hidden },
        fields: { ...fields, ...keepMasked(fields, before, masked) },
      }),
    )
    if (monitor) await recordImport(change.trx, 'monitor', from, monitor.id)
    return monitor !== undefined
  })
}

/** Returns the settings with the stored values of those that the source masks. */
function keepMasked(
  fields: ExtraFields,
  before: ExtraFields,
  masked: ImportedMonitor['masked'],
): Pick<ExtraFields, (typeof settingsFields)[number]> {
  const changed = settingsFields.flatMap((field) => {
    const stored = Object.entries(before[field] ?? {}).filter(([name]) => masked[field]?.includes(name))
    return stored.length > 0 ? [[field, { ...fields[field], ...Object.fromEntries(stored) }]] : []
  })
  return Object.fromEntries(changed) as Pick<ExtraFields, (typeof settingsFields)[number]>
}

type IncidentImport = {
  /** The local id. Undefined for a new incident. */
  id: number | undefined
  /** Undefined if only comments are stored. */
  incident: ImportedIncident | undefined
  comments: CommentImport[]
}

type ImportedIncident = {
  from: Source
  values: IncidentValues
  monitors: Affected[]
  /** True if it affects a monitor at the source, which may not exist locally. */
  affectsMonitors: boolean
}

export type CommentImport = { id: number | undefined; from: Source; values: CommentValues }

export type IncidentValues = Pick<Incident, 'title' | 'state' | 'started_at' | 'ended_at'>
export type CommentValues = Pick<Comment, 'comment' | 'state' | 'commented_at'>

/**
 * Stores an incident and its comments. The states of the comments do not change the incident, because it is stored with
 * its state at the source. Monitors that were deleted in the meantime are left out. If none is left, the public page does
 * not show the incident, because its monitors may be hidden at the source or may have been deleted here. Returns false, and stores nothing,
 * if the incident no longer exists.
 */
export function importIncident(
  context: ChangeContext,
  { id: localId, incident, comments }: IncidentImport,
): Promise<boolean> {
  return auditedTransaction(context, async (change) => {
    const { trx, record } = change
    const monitorIds = await lockExistingMonitorsForShare(trx, tagsOf(incident?.monitors ?? []))
    const before = localId === undefined ? undefined : await lockExistingIncident(trx, localId)
    if (localId !== undefined && !before) return false
    const id = await storeIncident(trx, localId, incident?.values)
    if (incident) {
      const existing = incident.monitors.filter(({ monitor_tag }) => monitorIds.has(monitor_tag))
      await affectedByIncident.replace(trx, id, existing, monitorIds)
      if (incident.affectsMonitors && existing.length === 0) await hideIncident(trx, id)
      await recordImport(trx, 'incident', incident.from, id)
    }
    const after = await getIncident(trx, id, null)
    record({
      action: before ? 'incident.updated' : 'incident.created',
      target: toTarget(after),
      changes: diff(before ?? {}, after, auditedFields),
    })
    for (const comment of comments) await storeComment(change, after, comment)
    return true
  })
}

async function storeIncident(
  trx: Transaction<Tables>,
  id: number | undefined,
  values: IncidentValues | undefined,
): Promise<number> {
  if (id !== undefined) {
    await trx
      .updateTable('incidents')
      .set({ ...(values && withinLimits('incidents', values)), updated_at: sql`now()` })
      .where('id', '=', id)
      .execute()
    return id
  }
  if (!values) throw new Error('A new incident requires values')
  const inserted = await trx
    .insertInto('incidents')
    .values(withinLimits('incidents', values))
    .returning('id')
    .executeTakeFirstOrThrow()
  return inserted.id
}

async function hideIncident(trx: Transaction<Tables>, id: number): Promise<void> {
  await trx.updateTable('incidents').set({ stays_hidden: true }).where('id', '=', id).execute()
}

async function storeComment(
  { trx, record }: Change,
  incident: Incident,
  { id, from, values }: CommentImport,
): Promise<void> {
  withinLimits('incident_comments', values)
  const before =
    id === undefined
      ? undefined
      : await trx
          .selectFrom('incident_comments')
          .selectAll()
          .where('incident_id', '=', incident.id)
          .where('id', '=', id)
          .executeTakeFirst()
  // A comment that was deleted in the meantime stays deleted.
  if (id !== undefined && !before) return
  const stored =
    id === undefined
      ? await trx
          .insertInto('incident_comments')
          .values({ incident_id: incident.id, ...values })
          .returningAll()
          .executeTakeFirstOrThrow()
      : await trx
          .updateTable('incident_comments')
          .set({ ...values, updated_at: sql`now()` })
          .where('id', '=', id)
          .returningAll()
          .executeTakeFirstOrThrow()
  record({
    action: before ? 'comment.updated' : 'comment.created',
    target: toTarget(incident),
    changes: diffComments(before ?? {}, stored),
  })
  await recordImport(trx, 'comment', from, stored.id)
}

/** Records that an item was imported. @throws OperatorError if another import has stored the item in the meantime */
async function recordImport(trx: Transaction<Tables>, kind: Kind, from: Source, id: number): Promise<void> {
  const { rows } = await sql`
    insert into kener_imports (source, kind, source_id, id, updated_at)
    values (${from.source}, ${kind}, ${from.source_id}, ${id}, ${from.updated_at})
    on conflict (source, kind, source_id) do update set updated_at = excluded.updated_at, imported_at = now()
    where kener_imports.id = excluded.id
    returning id`.execute(trx)
  if (rows.length === 0) {
    throw new OperatorError(
      `Another import from ${from.source} is running. Run this import again when that one has ended: it continues where it stopped.`,
    )
  }
}
