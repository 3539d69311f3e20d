import { type Kysely, type RawBuilder, sql } from 'kysely'
import { jsonLines, parseLines } from '../database/json-text.ts'
import { precompiled, prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { Status } from '../enums.ts'
import { monitorIsVisible } from './affected.ts'
import { firstByTag, selectPage } from './current-status.ts'
import { currentOnce, toMonitors, withTotals, withUptime } from './monitor-rows.ts'
import { monitorText } from './monitor-text.ts'
import type { Monitor } from './repository.ts'
import { type Scope, tagIsInScope } from './scope.ts'

type MonitorFilter = {
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
      sql<{ monitors: string | null }>`${withTotals(page)} select ${lines} as monitors from ${currentOnce}`,
  )
  return parseLines(row?.monitors ?? null)
}

/** A page of all monitors: those after a tag. */
export type PageQuery = { after: string | undefined; limit: number }

/** Lists pages of all monitors, by tag, in one statement, as the JSON texts of the API. */
export async function listMonitorPages(db: Kysely<Tables>, pages: PageQuery[]): Promise<string[][]> {
  const rows = await selectPages(db, [pages.map(({ after = '' }) => after), pages.map(({ limit }) => limit)])
  return rows.map(({ monitors }) => parseLines(monitors))
}

/** The JSON texts of the rows of `current`. */
const lines = jsonLines(monitorText, sql`tag`)

/** $1: the tag before each page. $2: its length. Returns a row per page, in this order. */
const selectPages = precompiled(sql<{ monitors: string | null }>`
  ${withTotals(sql`(
    select first.*, page from unnest($1::text[], $2::integer[]) with ordinality as pages (after, size, page), lateral (
      ${firstByTag(sql`tag > after`, sql`size`)}
    ) as first
  )`)}, texts as (
    select page, ${lines} as monitors from ${currentOnce} group by page
  )
  select monitors from generate_subscripts($1, 1) as page left join texts using (page) order by page`)

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
