import { type Kysely, type Selectable, sql, type Transaction, type Updateable } from 'kysely'
import { precompiled } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { ReportStatus, Status } from '../enums.ts'
import { currentStatus } from './current-status.ts'

export type MonitorAttributes = Omit<Selectable<Tables['monitors']>, 'id' | 'created_at' | 'updated_at'>

/** How many minutes were reported to be what. */
export type StatusTotals = { up: number; degraded: number; down: number; maintenance: number }

export type Monitor = Selectable<Tables['monitors']> & {
  status: Status
  status_source: 'incident' | 'maintenance' | 'report' | 'default'
  last_minute: number | null
  last_status: ReportStatus | null
  last_latency_ms: number | null
  totals: Record<'24h' | '7d' | '30d' | '90d', StatusTotals>
}

/**
 * The sums that uptime is made of: for 24 h the hours since then, for days the UTC days, today being the last of them.
 * Lateral, so that only the monitors of a page pay for it. The clock is read once: asked for every row, it would take
 * most of the statement's time.
 */
const uptimeTotals = sql`
  clock, lateral (
    select json_build_array(sum(up), sum(degraded), sum(down), sum(maintenance)) as day
    from monitor_hours
    where monitor_id = page.id and hour > this_hour - 24
  ) as hours,
  lateral (
    select ${dayTotals(7)} as week, ${dayTotals(30)} as month, ${dayTotals(90)} as quarter from (
      select sum(up) as up, sum(degraded) as degraded, sum(down) as down, sum(maintenance) as maintenance,
        case when day > today - 7 then 7 when day > today - 30 then 30 else 90 end as days
      from monitor_days
      where monitor_id = page.id and day > today - 90
      group by 5
    ) as spans
  ) as days`

/** Of the spans that the last so many days are made of. */
function dayTotals(days: number) {
  const within = sql`filter (where days <= ${sql.lit(days)})`
  return sql`json_build_array(sum(up) ${within}, sum(degraded) ${within}, sum(down) ${within}, sum(maintenance) ${within})`
}

export type MonitorFilter = {
  status?: Status | undefined
  category_name?: string | undefined
  enabled?: boolean | undefined
  hidden?: boolean | undefined
  cursor?: string | undefined
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
    ...(filter.cursor === undefined ? [] : [sql`tag > ${filter.cursor}`]),
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
  const { rows } = await withTotals(page).execute(db)
  return rows.map(toMonitor)
}

function withTotals(page: ReturnType<typeof sql>) {
  return sql<Row>`
    ${currentStatus}, page as (${page}), clock as materialized (
      select floor(seconds / 3600)::integer as this_hour, floor(seconds / 86400)::integer as today
      from extract(epoch from now()) as seconds
    )
    select page.*, hours.day, week, month, quarter from page, ${uptimeTotals} order by tag`
}

const readByTag = precompiled(withTotals(sql`select * from current where tag = any($1)`))

function toMonitor({ day, week, month, quarter, ...monitor }: Row): Monitor {
  return {
    ...monitor,
    totals: { '24h': toTotals(day), '7d': toTotals(week), '30d': toTotals(month), '90d': toTotals(quarter) },
  }
}

type Row = Omit<Monitor, 'sums'> & Record<'day' | 'week' | 'month' | 'quarter', (number | null)[]>

/** Nothing reported in a span has no sum. */
function toTotals([up, degraded, down, maintenance]: (number | null)[]): StatusTotals {
  return { up: up ?? 0, degraded: degraded ?? 0, down: down ?? 0, maintenance: maintenance ?? 0 }
}

/** False, with nothing stored, when the tag is taken. */
export async function insertMonitor(db: Kysely<Tables>, attributes: MonitorAttributes): Promise<boolean> {
  const inserted = await db
    .insertInto('monitors')
    .values(attributes)
    .onConflict((conflict) => conflict.column('tag').doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** True when it was new, false when one of this tag was replaced; its data stays. */
export async function putMonitor(db: Kysely<Tables>, attributes: MonitorAttributes): Promise<boolean> {
  const { created } = await db
    .insertInto('monitors')
    .values(attributes)
    .onConflict((conflict) => conflict.column('tag').doUpdateSet({ ...attributes, updated_at: sql`now()` }))
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

/**
 * Locks those of the monitors that exist FOR KEY SHARE until commit. Call it before touching link rows, because deleting
 * a monitor locks in this order, and the reverse order deadlocks.
 * @returns their ids, by tag.
 */
export async function lockExistingMonitorsForShare(
  trx: Transaction<Tables>,
  tags: readonly string[],
): Promise<Map<string, number>> {
  if (tags.length === 0) return new Map()
  const { rows } = await sql<{ id: number; tag: string }>`
    select id, tag from monitors where tag = any(${tags}::text[]) order by id for key share`.execute(trx)
  return new Map(rows.map(({ id, tag }) => [tag, id]))
}
