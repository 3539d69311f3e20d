import { type Kysely, type Selectable, sql, type SqlBool, type Transaction, type Updateable } from 'kysely'
import { fromWorst, type ReportStatus, type Status } from '../schemas/monitors.ts'
import { writtenOnce } from './prepared.ts'
import type { Tables } from './schema.ts'

export type Settings = Omit<Selectable<Tables['monitors']>, 'id' | 'created_at' | 'updated_at'>

/** How many minutes were reported to be what. */
export type Counts = { up: number; degraded: number; down: number; maintenance: number }

export type Monitor = Selectable<Tables['monitors']> & {
  status: Status
  status_source: 'incident' | 'maintenance' | 'report' | 'default'
  last_minute: number | null
  last_status: ReportStatus | null
  last_latency_ms: number | null
  sums: Record<'24h' | '7d' | '30d' | '90d', Counts>
}

/** An incident is open when it is not resolved, has started, and has not ended. */
export const incidentIsOpen = sql<SqlBool>`
  (incidents.state <> 'RESOLVED' and started_at <= now() and (ended_at is null or ended_at > now()))`

/** An event of a maintenance is under way when nobody has closed it, and now is its time. In the words of an index. */
export const eventIsUnderWay = sql<SqlBool>`
  (closed_as is null and tstzrange(maintenance_events.starts_at, maintenance_events.ends_at) @> now())`

/**
 * What each monitor is now: the worst impact of its open incidents and of its maintenances under way, else its newest
 * report unless that is stale, else its default. An impact UP says something of a maintenance alone. Of equal impacts
 * that of an incident, an even number, is the worst. A report is as old as the second it was made in.
 *
 * Few events are under way, but PostgreSQL takes them for many: `offset 0` and the inner select make it go from each of
 * them to its maintenance and monitors, where it would read all that there are.
 */
const currentStatus = sql`
  with effects as (
    select monitor_id, impact, 0 as source
    from incidents join incident_monitors on incident_id = incidents.id
    where ${incidentIsOpen} and impact <> 'UP'
    union all
    select monitor_id, impact, 1 as source
    from maintenance_events, lateral (
      select monitor_id, impact from maintenance_monitors where maintenance_id = maintenance_events.maintenance_id offset 0
    ) as affected
    where ${eventIsUnderWay} and (select enabled from maintenances where id = maintenance_id)
  ), impacts as (
    select monitor_id, min(source + case impact when 'DOWN' then 2 when 'MAINTENANCE' then 4 when 'DEGRADED' then 6 else 8 end)
      as worst
    from effects group by monitor_id
  ), current as (
    select monitors.*, last.minute as last_minute, last.status as last_status, last.latency_ms as last_latency_ms,
      case when worst is not null then (array['incident', 'maintenance'])[worst % 2 + 1]
        when is_fresh then 'report' else 'default' end as status_source,
      case when worst is not null then (array['DOWN', 'MAINTENANCE', 'DEGRADED', 'UP'])[worst / 2]
        when is_fresh then last.status else default_status end as status
    from monitors
    left join last_reports as last on last.monitor_id = monitors.id
    left join impacts on impacts.monitor_id = monitors.id
    cross join lateral (
      select last.minute is not null and (
        stale_after_seconds is null or extract(epoch from now()) - (last.minute * 60::float8 + last.second) <= stale_after_seconds
      ) as is_fresh
    ) as freshness
  )`

/**
 * The sums that uptime is made of: for 24 h the hours since then, for days the UTC days, today being the last of them.
 * Lateral, so that only the monitors of a page pay for it. The clock is read once: asked for every row, it would take
 * most of the statement's time.
 */
const uptimeSums = sql`
  clock, lateral (
    select json_build_array(sum(up), sum(degraded), sum(down), sum(maintenance)) as day
    from monitor_hours
    where monitor_id = page.id and hour > this_hour - 24
  ) as hours,
  lateral (
    select ${daySums(7)} as week, ${daySums(30)} as month, ${daySums(90)} as quarter from (
      select sum(up) as up, sum(degraded) as degraded, sum(down) as down, sum(maintenance) as maintenance,
        case when day > today - 7 then 7 when day > today - 30 then 30 else 90 end as days
      from monitor_days
      where monitor_id = page.id and day > today - 90
      group by 5
    ) as spans
  ) as days`

/** Of the spans that the last so many days are made of. */
function daySums(days: number) {
  const within = sql`filter (where days <= ${sql.lit(days)})`
  return sql`json_build_array(sum(up) ${within}, sum(degraded) ${within}, sum(down) ${within}, sum(maintenance) ${within})`
}

export type MonitorFilter = {
  status?: Status | undefined
  category_name?: string | undefined
  enabled?: boolean | undefined
  hidden?: boolean | undefined
  afterTag?: string | undefined
}

/** By tag; one statement, whatever the size of the page. */
export async function listMonitors(
  db: Kysely<Tables>,
  filter: MonitorFilter,
  limit: number,
): Promise<Monitor[]> {
  const conditions = [
    ...(filter.status === undefined ? [] : [sql`status = ${filter.status}`]),
    ...(filter.category_name === undefined ? [] : [sql`category_name = ${filter.category_name}`]),
    ...(filter.enabled === undefined ? [] : [sql`enabled = ${filter.enabled}`]),
    ...(filter.hidden === undefined ? [] : [sql`hidden = ${filter.hidden}`]),
    ...(filter.afterTag === undefined ? [] : [sql`tag > ${filter.afterTag}`]),
  ]
  const where = conditions.length > 0 ? sql`where ${sql.join(conditions, sql` and `)}` : sql``
  return readPage(db, sql`select * from current ${where} order by tag limit ${limit}`)
}

/** By tag: those of them that there are. */
export async function findMonitors(
  db: Kysely<Tables>,
  tags: readonly string[],
): Promise<Map<string, Monitor>> {
  const rows = await readByTag(db, [[...new Set(tags)]])
  return new Map(rows.map((row) => [row.tag, toMonitor(row)]))
}

/** What reading its data takes. */
export async function findMonitorId(
  db: Kysely<Tables>,
  tag: string,
): Promise<{ id: number; degraded_counts_as_down: boolean } | undefined> {
  return db
    .selectFrom('monitors')
    .select(['id', 'degraded_counts_as_down'])
    .where('tag', '=', tag)
    .executeTakeFirst()
}

async function readPage(db: Kysely<Tables>, page: ReturnType<typeof sql>): Promise<Monitor[]> {
  const { rows } = await withSums(page).execute(db)
  return rows.map(toMonitor)
}

function withSums(page: ReturnType<typeof sql>) {
  return sql<Row>`
    ${currentStatus}, page as (${page}), clock as materialized (
      select floor(seconds / 3600)::integer as this_hour, floor(seconds / 86400)::integer as today
      from extract(epoch from now()) as seconds
    )
    select page.*, hours.day, week, month, quarter from page, ${uptimeSums} order by tag`
}

const readByTag = writtenOnce(withSums(sql`select * from current where tag = any($1)`))

function toMonitor({ day, week, month, quarter, ...monitor }: Row): Monitor {
  return {
    ...monitor,
    sums: { '24h': toCounts(day), '7d': toCounts(week), '30d': toCounts(month), '90d': toCounts(quarter) },
  }
}

type Row = Omit<Monitor, 'sums'> & Record<'day' | 'week' | 'month' | 'quarter', (number | null)[]>

/** Nothing reported in a span has no sum. */
function toCounts([up, degraded, down, maintenance]: (number | null)[]): Counts {
  return { up: up ?? 0, degraded: degraded ?? 0, down: down ?? 0, maintenance: maintenance ?? 0 }
}

/** What the public page shows: monitors that are neither hidden nor disabled. */
export async function listPublicMonitors(
  db: Kysely<Tables>,
): Promise<Pick<Monitor, 'tag' | 'name' | 'category_name' | 'status'>[]> {
  const { rows } = await sql<Monitor>`
    ${currentStatus}
    select tag, name, category_name, status from current where enabled and not hidden order by tag`.execute(
    db,
  )
  return rows
}

/** How many of the enabled monitors are what, and the first of them, the worst ahead. */
export async function surveyMonitors(db: Kysely<Tables>, limit: number): Promise<Survey> {
  const { rows } = await sql<Survey>`
    ${currentStatus}, ranked as (
      select tag, name, status, hidden, array_position(${fromWorst}::text[], status) as rank
      from current where enabled
    )
    select
      coalesce((select json_object_agg(status, total) from (
        select status, count(*) as total from ranked group by status) as totals), '{}') as counts,
      coalesce((select json_agg(first) from (
        select tag, name, status, hidden from ranked order by rank, tag limit ${limit}) as first), '[]') as monitors
    `.execute(db)
  const [survey] = rows
  if (!survey) throw new Error('A query without FROM has one row')
  return survey
}

export type Survey = {
  counts: Partial<Record<Status, number>>
  monitors: Pick<Monitor, 'tag' | 'name' | 'status' | 'hidden'>[]
}

/** False, with nothing stored, when the tag is taken. */
export async function insertMonitor(db: Kysely<Tables>, settings: Settings): Promise<boolean> {
  const inserted = await db
    .insertInto('monitors')
    .values(settings)
    .onConflict((conflict) => conflict.column('tag').doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** True when it was new, false when one of this tag was replaced; its data stays. */
export async function putMonitor(db: Kysely<Tables>, settings: Settings): Promise<boolean> {
  const { created } = await db
    .insertInto('monitors')
    .values(settings)
    .onConflict((conflict) => conflict.column('tag').doUpdateSet({ ...settings, updated_at: sql`now()` }))
    // A row that an insert made has no transaction that deleted a version before it.
    .returning(sql<boolean>`xmax = 0`.as('created'))
    .executeTakeFirstOrThrow()
  return created
}

/** False when there is no such monitor. */
export async function updateMonitor(
  db: Kysely<Tables>,
  tag: string,
  changes: Updateable<Tables['monitors']>,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('monitors')
    .set({ ...changes, updated_at: sql`now()` })
    .where('tag', '=', tag)
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

/** With all its data. False when there is no such monitor. */
export async function deleteMonitor(db: Kysely<Tables>, tag: string): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('monitors').where('tag', '=', tag).executeTakeFirst()
  return numDeletedRows > 0n
}

/** Names monitors that there are none of. */
export class UnknownMonitors extends Error {
  readonly tags: string[]

  constructor(tags: string[]) {
    super(`There is no monitor ${tags.join(', ')}`)
    this.tags = tags
  }
}

/**
 * Nobody deletes these monitors before the transaction ends. To be called before the rows that tie them to something are
 * touched: who deletes a monitor takes the two in this order, and would wait for us as we for him.
 * @returns their ids, by tag. @throws UnknownMonitors
 */
export async function holdMonitors(
  trx: Transaction<Tables>,
  tags: readonly string[],
): Promise<Map<string, number>> {
  const held = await holdKnownMonitors(trx, tags)
  const unknown = tags.filter((tag) => !held.has(tag))
  if (unknown.length > 0) throw new UnknownMonitors(unknown)
  return held
}

/** The same, of those of them that there are. */
export async function holdKnownMonitors(
  trx: Transaction<Tables>,
  tags: readonly string[],
): Promise<Map<string, number>> {
  if (tags.length === 0) return new Map()
  const { rows } = await sql<{ id: number; tag: string }>`
    select id, tag from monitors where tag = any(${tags}::text[]) order by id for key share`.execute(trx)
  return new Map(rows.map(({ id, tag }) => [tag, id]))
}
