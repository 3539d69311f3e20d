import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
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

export type KenerMonitor = Selectable<Tables['monitors']> & { fields: ExtraFields }

/** Type of monitors that were not created in Kener's format: no checks, only reports of clients. */
export const externalType = 'NONE'

export type KenerMonitorFilter = {
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
  trx: Transaction<Tables>,
  attributes: MonitorAttributes,
  fields: ExtraFields,
): Promise<KenerMonitor | undefined> {
  assertExtraFieldsLimits(fields)
  if (!(await insertMonitor(trx, attributes))) return undefined
  await storeExtraFields(trx, attributes.tag, fields)
  return getKenerMonitor(trx, attributes.tag)
}

/**
 * Updates a monitor. Returns undefined if it does not exist.
 * @param change returns the attributes that change, and all extra fields, given the stored monitor
 */
export async function updateKenerMonitor(
  trx: Transaction<Tables>,
  tag: string,
  change: (before: KenerMonitor) => { attributes: Partial<MonitorAttributes>; fields: ExtraFields },
): Promise<KenerMonitor | undefined> {
  // Locks the monitor before it is read, because two concurrent merges of an object would lose one of the changes.
  await sql`select from monitors where tag = ${tag} for no key update`.execute(trx)
  const [before] = await listKenerMonitors(trx, { tag })
  if (!before) return undefined
  const { attributes, fields } = change(before)
  assertExtraFieldsLimits(fields, before.fields)
  await updateMonitor(trx, tag, attributes)
  await storeExtraFields(trx, tag, fields)
  return getKenerMonitor(trx, tag)
}

/** Longest JSON of the extra fields of one monitor, in characters. A list contains all monitors, so it must be bounded. */
const maxExtraFieldsLength = 65_536

/**
 * @param before the stored fields: if they exceed a limit, they may stay as they are or become shorter
 * @throws ApiError 400
 */
export function assertExtraFieldsLimits(fields: ExtraFields, before: ExtraFields = {}): void {
  if (isNestedTooDeeply(fields) && !isNestedTooDeeply(before)) {
    throw invalidRequest(`The fields of a monitor must not be nested more than ${maxDepth} levels deep`)
  }
  const { length } = JSON.stringify(fields)
  if (length > maxExtraFieldsLength && length > JSON.stringify(before).length) {
    throw invalidRequest(
      `image, cron, type_data and monitor_settings_json must have at most ${maxExtraFieldsLength} characters together`,
    )
  }
}

async function storeExtraFields(trx: Transaction<Tables>, tag: string, fields: ExtraFields): Promise<void> {
  await sql`
    insert into kener_monitors (monitor_id, fields)
    select id, ${JSON.stringify(fields)}::json from monitors where tag = ${tag}
    on conflict (monitor_id) do update set fields = excluded.fields`.execute(trx)
}
