import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { type Change, diff, type FieldChanges } from '../audit/transaction.ts'
import type { Tables } from '../database/schema.ts'
import { invalidRequest, monitorNotFound } from '../errors.ts'
import { isNestedTooDeeply, maxDepth } from '../limits.ts'
import { type Scope, tagIsInScope } from '../monitors/scope.ts'
import { insertMonitor, type MonitorAttributes, updateMonitor } from '../monitors/repository.ts'

/** Fields of a Kener monitor that this service does not use. They are stored and returned. */
export type ExtraFields = {
  /** Kener distinguishes an empty text from null. The monitor itself only has null. */
  category_name?: '' | undefined
  external_url?: '' | undefined
  image?: string | null
  cron?: string | null
  monitor_type?: string
  type_data?: Record<string, unknown> | null
  monitor_settings_json?: Record<string, unknown> | null
  confirmation_threshold?: number
}

/** The fields that are objects. They may contain secrets of the monitored service. */
export const settingsFields = ['type_data', 'monitor_settings_json'] as const

export type KenerMonitor = Selectable<Tables['monitors']> & { fields: ExtraFields }

/** Type of monitors that were not created in Kener's format: no checks, only reports of clients. */
export const externalType = 'NONE'

type KenerMonitorFilter = {
  /** Monitors of the calling key. Omitted for the monitor of a path, which the permission guard has checked. */
  scope?: Scope
  tag?: string | undefined
  enabled?: boolean | undefined
  hidden?: boolean | undefined
  category_name?: string | undefined
  monitor_type?: string | undefined
  /** Id of the last monitor of the previous page. */
  before?: number | undefined
  limit?: number | undefined
}

/** Lists monitors by id, newest first. */
export async function listKenerMonitors(
  db: Kysely<Tables>,
  filter: KenerMonitorFilter,
): Promise<KenerMonitor[]> {
  const {
    scope = null,
    tag,
    enabled,
    hidden,
    category_name: category,
    monitor_type: type,
    before,
    limit,
  } = filter
  const conditions = [
    scope === null ? sql`true` : tagIsInScope(scope),
    ...(tag === undefined ? [] : [sql`tag = ${tag}`]),
    ...(enabled === undefined ? [] : [sql`enabled = ${enabled}`]),
    ...(hidden === undefined ? [] : [sql`hidden = ${hidden}`]),
    ...(category === undefined ? [] : [sql`category_name = ${category}`]),
    ...(before === undefined ? [] : [sql`id < ${before}`]),
    ...(type === undefined ? [] : [sql`coalesce(fields ->> 'monitor_type', ${externalType}) = ${type}`]),
  ]
  const { rows } = await sql<KenerMonitor>`
    select monitors.*, coalesce(fields, '{}') as fields
    from monitors left join kener_monitors on monitor_id = id
    where ${sql.join(conditions, sql` and `)} order by id desc limit ${limit ?? null}`.execute(db)
  return rows
}

/** @throws ApiError 404 */
export async function getKenerMonitor(db: Kysely<Tables>, tag: string): Promise<KenerMonitor> {
  const [monitor] = await listKenerMonitors(db, { tag })
  if (!monitor) throw monitorNotFound()
  return monitor
}

/** Returns undefined, and stores nothing, if the tag is taken. */
export async function insertKenerMonitor(
  change: Change,
  attributes: MonitorAttributes,
  fields: ExtraFields,
): Promise<KenerMonitor | undefined> {
  assertExtraFieldsLimits(fields)
  if (!(await insertMonitor(change, attributes, diffExtraFields({}, fields)))) return undefined
  await storeExtraFields(change.trx, attributes.tag, fields)
  return getKenerMonitor(change.trx, attributes.tag)
}

/**
 * Updates a monitor. Returns undefined if it does not exist.
 * @param update returns the attributes and the extra fields that change, given the stored monitor
 */
export async function updateKenerMonitor(
  change: Change,
  tag: string,
  update: (before: KenerMonitor) => { attributes: Partial<MonitorAttributes>; fields: ExtraFields },
): Promise<KenerMonitor | undefined> {
  const { trx } = change
  // Locks the monitor before it is read, because two concurrent merges of an object would lose one of the changes.
  await sql`select from monitors where tag = ${tag} for no key update`.execute(trx)
  const [before] = await listKenerMonitors(trx, { tag })
  if (!before) return undefined
  const { attributes, fields } = update(before)
  assertExtraFieldsLimits(fields, before.fields)
  const after = { ...before.fields, ...fields }
  await updateMonitor(change, tag, attributes, { otherChanges: diffExtraFields(before.fields, after) })
  await storeExtraFields(trx, tag, after)
  return getKenerMonitor(trx, tag)
}

/** Audit events record that settings were changed, but not their values, which may contain secrets. */
function diffExtraFields(before: ExtraFields, after: ExtraFields): FieldChanges {
  const changes = diff(before, after, ['image', 'cron', 'monitor_type', 'confirmation_threshold'])
  for (const field of Object.keys(diff(before, after, settingsFields))) {
    changes[field] = ['(not recorded)', '(not recorded)']
  }
  return changes
}

/** Longest JSON of the extra fields that one request writes, in characters. A list contains those of all monitors. */
const maxExtraFieldsLength = 65_536

/**
 * @param fields that are written. The others are not checked, so that they do not prevent an update.
 * @param stored all stored fields: if the same ones exceed a limit, they may stay as they are or become shorter
 * @throws ApiError 400
 */
export function assertExtraFieldsLimits(fields: ExtraFields, stored: ExtraFields = {}): void {
  const before = Object.fromEntries(Object.entries(stored).filter(([name]) => name in fields))
  if (isNestedTooDeeply(fields) && !isNestedTooDeeply(before)) {
    throw invalidRequest(`The fields of a monitor must not be nested more than ${maxDepth} levels deep`)
  }
  const { length } = JSON.stringify(fields)
  if (length > maxExtraFieldsLength && length > JSON.stringify(before).length) {
    throw invalidRequest(
      `The changed values of image, cron, monitor_type, type_data and monitor_settings_json must have at most ${maxExtraFieldsLength} characters together`,
    )
  }
}

async function storeExtraFields(trx: Transaction<Tables>, tag: string, fields: ExtraFields): Promise<void> {
  await sql`
    insert into kener_monitors (monitor_id, fields)
    select id, ${JSON.stringify(fields)}::json from monitors where tag = ${tag}
    on conflict (monitor_id) do update set fields = excluded.fields`.execute(trx)
}
