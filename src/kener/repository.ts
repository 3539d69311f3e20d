import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { insertMonitor, type MonitorAttributes, updateMonitor } from '../monitors/repository.ts'

/** What Kener says of a monitor and we do not use: kept, and given back. */
export type ExtraFields = {
  /** For Kener none may be an empty text too; for us it is null alone. */
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

export type KenerMonitorFilter = {
  tag?: string | undefined
  enabled?: boolean | undefined
  hidden?: boolean | undefined
  category_name?: string | undefined
  monitor_type?: string | undefined
}

/** Newest first. @param defaultType the type of a monitor of which Kener never spoke. */
export async function listKenerMonitors(
  db: Kysely<Tables>,
  filter: KenerMonitorFilter,
  defaultType: string,
): Promise<KenerMonitor[]> {
  const { tag, enabled, hidden, category_name: category, monitor_type: type } = filter
  const conditions = [
    sql`true`,
    ...(tag === undefined ? [] : [sql`tag = ${tag}`]),
    ...(enabled === undefined ? [] : [sql`enabled = ${enabled}`]),
    ...(hidden === undefined ? [] : [sql`hidden = ${hidden}`]),
    ...(category === undefined ? [] : [sql`category_name = ${category}`]),
    ...(type === undefined ? [] : [sql`coalesce(fields ->> 'monitor_type', ${defaultType}) = ${type}`]),
  ]
  const { rows } = await sql<KenerMonitor>`
    select monitors.*, coalesce(fields, '{}') as fields
    from monitors left join kener_monitors on monitor_id = id
    where ${sql.join(conditions, sql` and `)} order by id desc`.execute(db)
  return rows
}

export async function findKenerMonitor(db: Kysely<Tables>, tag: string): Promise<KenerMonitor | undefined> {
  const [monitor] = await listKenerMonitors(db, { tag }, '')
  return monitor
}

/** Undefined, with nothing stored, when the tag is taken. */
export async function insertKenerMonitor(
  trx: Transaction<Tables>,
  attributes: MonitorAttributes,
  fields: ExtraFields,
): Promise<KenerMonitor | undefined> {
  if (!(await insertMonitor(trx, attributes))) return undefined
  await storeExtraFields(trx, attributes.tag, fields)
  return findKenerMonitor(trx, attributes.tag)
}

/** `change` is given what is there, and gives back the settings that change and all fields. Undefined when there is no such monitor. */
export async function updateKenerMonitor(
  trx: Transaction<Tables>,
  tag: string,
  change: (before: KenerMonitor) => { attributes: Partial<MonitorAttributes>; fields: ExtraFields },
): Promise<KenerMonitor | undefined> {
  // Two who change a part of the same field would otherwise lose one of the parts.
  await sql`select from monitors where tag = ${tag} for no key update`.execute(trx)
  const before = await findKenerMonitor(trx, tag)
  if (!before) return undefined
  const { attributes, fields } = change(before)
  await updateMonitor(trx, tag, attributes)
  await storeExtraFields(trx, tag, fields)
  return findKenerMonitor(trx, tag)
}

async function storeExtraFields(trx: Transaction<Tables>, tag: string, fields: ExtraFields): Promise<void> {
  await sql`
    insert into kener_monitors (monitor_id, fields)
    select id, ${JSON.stringify(fields)}::json from monitors where tag = ${tag}
    on conflict (monitor_id) do update set fields = excluded.fields`.execute(trx)
}
