import { type Kysely, type RawBuilder, type Selectable, sql, type Updateable } from 'kysely'
import { type Change, diff, diffDeleted, diffNew, type FieldChanges } from '../audit/transaction.ts'
import { jsonLines, parseLines } from '../database/json-text.ts'
import { precompiled, prepared, sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { ReportStatus, Status } from '../enums.ts'
import { changedConcurrently, monitorNotFound, tagTaken } from '../errors.ts'
import { withinLimits } from '../limits.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'
import { affectedByIncident, affectedByMaintenance, monitorIsVisible } from './affected.ts'
import { currentStatus, firstByTag, selectPage } from './current-status.ts'
import { monitorText, uptimeText } from './monitor-text.ts'
import { type Scope, tagIsInScope } from './scope.ts'
import { sumSpans } from './uptime.ts'

export type MonitorAttributes = Omit<
  Selectable<Tables['monitors']>,
  'id' | 'created_at' | 'updated_at' | 'version'
>

export type Monitor = Selectable<Tables['monitors']> & {
  status: Status
  status_source: 'incident' | 'maintenance' | 'report' | 'default'
  /** `minute` is counted since 1970. */
  last_report: { minute: number; status: ReportStatus; latency_ms: number | null } | null
  /** Share of the reported minutes, 0 to 1; null if none was reported. */
  uptime: Record<'24h' | '7d' | '30d' | '90d', number | null>
}

export type MonitorFilter = {
  /** Monitors of the calling key. */
  scope: Scope
  status?: Status | undefined
  category_name?: string | undefined
  enabled?: boolean | undefined
  hidden?: boolean | undefined
  /** Matches a part of the tag or the name, in any case. */
  text?: string | undefined
  /** Tag of the last monitor of the previous page. */
  after?: string | undefined
}

/** Lists monitors by tag, in one statement. */
export async function listMonitors(
  db: Kysely<Tables>,
  filter: MonitorFilter,
  limit: number,
): Promise<Monitor[]> {
  return toMonitors(await selectFiltered(db, filter, limit, withUptime))
}

/** Lists monitors by tag, in one statement, as the JSON texts of the API. */
export async function listMonitorTexts(
  db: Kysely<Tables>,
  filter: MonitorFilter,
  limit: number,
): Promise<string[]> {
  const [row] = await selectFiltered(
    db,
    filter,
    limit,
    (page) =>
      sql<{ monitors: string | null }>`${withTotals(page)} select ${lines} as monitors from ${current}`,
  )
  return parseLines(row?.monitors ?? null)
}

/** A page of all monitors: those after a tag. */
export type MonitorPage = { after: string | undefined; limit: number }

/** Lists pages of all monitors, by tag, in one statement, as the JSON texts of the API. */
export async function listMonitorPages(db: Kysely<Tables>, pages: MonitorPage[]): Promise<string[][]> {
  const rows = await selectPages(db, [pages.map(({ after = '' }) => after), pages.map(({ limit }) => limit)])
  return rows.map(({ monitors }) => parseLines(monitors))
}

/** @param select makes the statement from a table expression for the monitors */
async function selectFiltered<Row>(
  db: Kysely<Tables>,
  filter: MonitorFilter,
  limit: number,
  select: (monitors: RawBuilder<unknown>) => RawBuilder<Row>,
): Promise<Row[]> {
  const conditions = [
    sql`tag > ${filter.after ?? ''}`,
    ...(filter.scope === null ? [] : [tagIsInScope(filter.scope)]),
    ...(filter.category_name === undefined ? [] : [sql`category_name = ${filter.category_name}`]),
    ...(filter.enabled === undefined ? [] : [sql`enabled = ${sql.lit(filter.enabled)}`]),
    ...(filter.hidden === undefined ? [] : [sql`hidden = ${sql.lit(filter.hidden)}`]),
    ...(filter.text === undefined ? [] : [nameContains(filter.text)]),
  ]
  const statement = select(selectPage(conditions, filter.status, limit))
  // Not with several filters, because each combination is a text of its own, which every connection would keep.
  const filters = conditions.length - 1 + (filter.status === undefined ? 0 : 1)
  const { rows } = await (filters > 1 ? statement : prepared(statement)).execute(db)
  return rows
}

/** Condition on `monitors`: its tag or its name contains the text, in any case. */
function nameContains(text: string): RawBuilder<boolean> {
  return sql`strpos(lower(tag || ' ' || name), lower(${text})) > 0`
}

export type MonitorChoice = Pick<Monitor, 'tag' | 'name' | 'enabled' | 'hidden'>

/**
 * Lists monitors to choose from, without their status: first those with the given tags, then up to `limit` others whose
 * tag or name contains the text, in any case. Both by tag.
 * @param isPublic lists only monitors that the public page shows, for a caller that may not read the others
 */
export async function listMonitorChoices(
  db: Kysely<Tables>,
  { scope, tags, text, isPublic }: { scope: Scope; tags: readonly string[]; text: string; isPublic: boolean },
  limit: number,
): Promise<MonitorChoice[]> {
  const columns = sql`tag, name, enabled, hidden, tag = any(${tags}::text[]) as is_given`
  const inScope = sql`${scope === null ? sql`true` : tagIsInScope(scope)} and (${!isPublic} or ${monitorIsVisible})`
  const { rows } = await sql<MonitorChoice>`
    (select ${columns} from monitors where tag = any(${tags}::text[]) and ${inScope})
    union all
    (select ${columns} from monitors
      where tag <> all(${tags}::text[]) and ${nameContains(text)} and ${inScope}
      order by tag limit ${limit})
    order by is_given desc, tag`.execute(db)
  return rows
}

/** Returns the monitors that exist, by tag. */
export async function findMonitors(
  db: Kysely<Tables>,
  tags: readonly string[],
): Promise<Map<string, Monitor>> {
  return byTag(await selectByTag(db, [[...new Set(tags)]]))
}

/** Returns those of the monitors that the public page shows, by tag. */
export async function findVisibleMonitors(
  db: Kysely<Tables>,
  tags: readonly string[],
): Promise<Map<string, Monitor>> {
  return byTag(await selectVisibleByTag(db, [[...new Set(tags)]]))
}

function byTag(rows: { monitors: Row[] | null }[]): Map<string, Monitor> {
  return new Map(toMonitors(rows).map((monitor) => [monitor.tag, monitor]))
}

/** @throws ApiError 404 if the monitor does not exist. */
export async function getMonitor(db: Kysely<Tables>, tag: string): Promise<Monitor> {
  const monitor = (await findMonitors(db, [tag])).get(tag)
  if (!monitor) throw monitorNotFound()
  return monitor
}

/** @throws ApiError 404 if the monitor does not exist. */
export async function getMonitorId(
  db: Kysely<Tables>,
  tag: string,
): Promise<Pick<Monitor, 'id' | 'degraded_counts_as_down'>> {
  const monitor = await db
    .selectFrom('monitors')
    .select(['id', 'degraded_counts_as_down'])
    .where('tag', '=', tag)
    .executeTakeFirst()
  if (!monitor) throw monitorNotFound()
  return monitor
}

/** The current hour. A nested select, which is evaluated once: evaluating the clock per row takes longer than the rest. */
const hour = sql`(select this_hour from clock)`

/** Totals that uptime is calculated from. They are added up only if no report of this hour has stored them. */
const totals = sql`,
  coalesce(
    case when last.totals_hour = ${hour} and last.past_hour is null then last.totals end, ${sumSpans(sql`monitors.id`, hour)}
  ) as totals`

const withTotals = (monitors: RawBuilder<unknown>) => currentStatus(monitors, totals)

/** `offset 0` prevents that the totals are read again for each use of them. */
const current = sql`(select * from current offset 0) as current`

const lines = jsonLines(monitorText, sql`tag`)

/** Returns one JSON value, because pg takes twice as long for fifty rows of twenty columns. */
function withUptime(monitors: RawBuilder<unknown>) {
  return sql<{ monitors: Row[] | null }>`
    ${withTotals(monitors)}
    select json_agg(monitor order by tag) as monitors
    from (select *, ${uptimeText}::json as uptime from ${current}) as monitor`
}

const selectByTag = precompiled(withUptime(sql`(select * from monitors where tag = any($1))`))
const selectVisibleByTag = precompiled(
  withUptime(sql`(select * from monitors where tag = any($1) and ${monitorIsVisible})`),
)

/** $1: the tag before each page. $2: its length. Returns a row per page, in this order. */
const selectPages = precompiled(sql<{ monitors: string | null }>`
  ${withTotals(sql`(
    select first.*, page from unnest($1::text[], $2::integer[]) with ordinality as pages (after, size, page), lateral (
      ${firstByTag(sql`tag > after`, sql`size`)}
    ) as first
  )`)}, texts as (
    select page, ${lines} as monitors from ${current} group by page
  )
  select monitors from generate_subscripts($1, 1) as page left join texts using (page) order by page`)

/** `version` is a number, because microseconds since 1970 are exact until the year 2255. */
type Row = Omit<Monitor, 'last_report' | 'created_at' | 'updated_at' | 'version'> & {
  version: number
  created_at: string
  updated_at: string
  last_minute: number | null
  last_status: ReportStatus | null
  last_latency_ms: number | null
}

/** Lists the fields, because spreading a row of twenty takes ten times as long. */
function toMonitors([row]: { monitors: Row[] | null }[]): Monitor[] {
  return (row?.monitors ?? []).map((monitor) => ({
    id: monitor.id,
    tag: monitor.tag,
    name: monitor.name,
    description: monitor.description,
    category_name: monitor.category_name,
    external_url: monitor.external_url,
    enabled: monitor.enabled,
    hidden: monitor.hidden,
    default_status: monitor.default_status,
    stale_after_seconds: monitor.stale_after_seconds,
    degraded_counts_as_down: monitor.degraded_counts_as_down,
    status: monitor.status,
    status_source: monitor.status_source,
    last_report:
      monitor.last_minute === null || monitor.last_status === null
        ? null
        : { minute: monitor.last_minute, status: monitor.last_status, latency_ms: monitor.last_latency_ms },
    uptime: monitor.uptime,
    created_at: new Date(monitor.created_at),
    updated_at: new Date(monitor.updated_at),
    version: String(monitor.version),
  }))
}

/** Fields whose changes audit events record. */
const auditedFields = [
  'name',
  'description',
  'category_name',
  'external_url',
  'enabled',
  'hidden',
  'default_status',
  'stale_after_seconds',
  'degraded_counts_as_down',
] as const

/** @throws ApiError 409 if the tag is taken. */
export async function createMonitor(change: Change, attributes: MonitorAttributes): Promise<Monitor> {
  if (!(await insertMonitor(change, attributes))) throw tagTaken(attributes.tag)
  return getMonitor(change.trx, attributes.tag)
}

/**
 * Returns false if the tag is taken.
 * @param otherChanges of what is stored with the monitor in the same transaction
 */
export async function insertMonitor(
  { trx, record }: Change,
  attributes: MonitorAttributes,
  otherChanges: FieldChanges = {},
): Promise<boolean> {
  const inserted = await trx
    .insertInto('monitors')
    .values(sortFields(withinLimits('monitors', attributes)))
    .onConflict((conflict) => conflict.column('tag').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (!inserted) return false
  const changes = { ...diffNew(inserted, auditedFields), ...otherChanges }
  record({ action: 'monitor.created', target: toTarget(inserted), changes })
  return true
}

/** Returns the target of audit events. */
export function toTarget({ tag, name }: Pick<MonitorAttributes, 'tag' | 'name'>) {
  return { type: 'monitor' as const, id: tag, name }
}

/** How often a PUT is tried again because the monitor was created and deleted by other requests meanwhile. */
const maxPutAttempts = 5

/**
 * Creates a monitor, or replaces the attributes of the monitor with this tag, whose data stays.
 * @throws ApiError 412
 */
export async function putMonitor(
  change: Change,
  attributes: MonitorAttributes,
  expected: Precondition = {},
): Promise<{ created: boolean; monitor: Monitor }> {
  const { tag } = attributes
  for (let attempt = 0; attempt < maxPutAttempts; attempt++) {
    const created = !(await replaceAttributes(change, tag, attributes, { expected }))
    if (!created || (await insertMonitor(change, attributes)))
      return { created, monitor: await getMonitor(change.trx, tag) }
  }
  throw changedConcurrently()
}

type UpdateOptions = {
  expected?: Precondition
  /** As of insertMonitor. */
  otherChanges?: FieldChanges
}

/** @throws ApiError 412, 404 if the monitor does not exist. */
export async function updateMonitor(
  change: Change,
  tag: string,
  changes: Updateable<Tables['monitors']>,
  options: UpdateOptions = {},
): Promise<void> {
  if (!(await replaceAttributes(change, tag, changes, options))) throw monitorNotFound()
}

/** Returns false if the monitor does not exist. @throws ApiError 412 */
async function replaceAttributes(
  { trx, record }: Change,
  tag: string,
  changes: Updateable<Tables['monitors']>,
  { expected = {}, otherChanges = {} }: UpdateOptions,
): Promise<boolean> {
  const before = await trx
    .selectFrom('monitors')
    .selectAll()
    .where('tag', '=', tag)
    .forNoKeyUpdate()
    .executeTakeFirst()
  assertPrecondition(expected, before)
  if (!before) return false
  const after = await trx
    .updateTable('monitors')
    .set({ ...sortFields(withinLimits('monitors', changes)), updated_at: sql`now()` })
    .where('id', '=', before.id)
    .returningAll()
    .executeTakeFirstOrThrow()
  record({
    action: 'monitor.updated',
    target: toTarget(after),
    changes: { ...diff(before, after, auditedFields), ...otherChanges },
  })
  return true
}

export type MonitorData = {
  /** First UTC day with reports, since 1970. */
  first_day: number | null
  has_heartbeat: boolean
  /** Numbers of incidents and maintenances that affect the monitor. */
  incidents: number
  maintenances: number
}

/** Summarizes what a deletion of the monitor deletes with it. */
export async function summarizeData(db: Kysely<Tables>, id: number): Promise<MonitorData> {
  const { rows } = await sql<MonitorData>`
    select (select min(day) from monitor_days where monitor_id = ${id}) as first_day,
      exists (select from heartbeats where monitor_id = ${id}) as has_heartbeat,
      (select count(*)::integer from incident_monitors where monitor_id = ${id}) as incidents,
      (select count(*)::integer from maintenance_monitors where monitor_id = ${id}) as maintenances`.execute(
    db,
  )
  const [data] = rows
  if (!data) throw new Error('A query without FROM has one row')
  return data
}

/**
 * Deletes a monitor and its data. Incidents and maintenances that the public page does not show because of this monitor
 * stay hidden. @throws ApiError 412, 404 if the monitor does not exist.
 */
export async function deleteMonitor(
  { trx, record }: Change,
  tag: string,
  expected: Precondition = {},
): Promise<void> {
  const monitor = await trx
    .selectFrom('monitors')
    .selectAll()
    .select(monitorIsVisible.as('is_visible'))
    .where('tag', '=', tag)
    .forUpdate()
    .executeTakeFirst()
  assertPrecondition(expected, monitor)
  if (!monitor) throw monitorNotFound()
  if (!monitor.is_visible) {
    await affectedByIncident.keepHidden(trx, monitor.id)
    await affectedByMaintenance.keepHidden(trx, monitor.id)
  }
  await trx.deleteFrom('monitors').where('id', '=', monitor.id).execute()
  record({
    action: 'monitor.deleted',
    target: toTarget(monitor),
    changes: diffDeleted(monitor, auditedFields),
  })
}
