import { type Kysely, type RawBuilder, sql } from 'kysely'
import {
  jsonLines,
  jsonObject,
  jsonScalar,
  jsonString,
  jsonTime,
  jsonWord,
  parseLines,
} from '../database/json-text.ts'
import { precompiled, prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { State } from '../enums.ts'
import { maxPageLength } from '../limits.ts'
import { affectedByIncident, parseAffected } from '../monitors/affected.ts'
import { incidentIsOpen } from '../monitors/current-status.ts'
import type { Scope } from '../monitors/scope.ts'
import type { Incident } from './repository.ts'

type IncidentFilter = {
  /** Monitors of the calling key. */
  scope: Scope
  state?: State | undefined
  open?: boolean | undefined
  /** Matches incidents that affect at least one of these monitors. */
  monitor_tags?: readonly string[] | undefined
  /** Matches titles that contain it, in any case. */
  text?: string | undefined
  /** Matches starts in [from, to). */
  from?: Date | undefined
  to?: Date | undefined
  /** Start and id of the last incident of the previous page. */
  cursor?: { at: Date; id: number } | undefined
  /** Id of the last incident of the previous page, if they are listed by id. */
  before?: number | undefined
}

/** Lists incidents by start or by id, newest first. */
export async function listIncidents(
  db: Kysely<Tables>,
  filter: IncidentFilter,
  limit: number,
  newest: 'start' | 'id' = 'start',
): Promise<Incident[]> {
  // One JSON value, as for monitors.
  const [row] = await selectFiltered(
    db,
    filter,
    newest,
    (page, order) => sql<{ incidents: IncidentRow[] | null }>`
      select json_agg(selected) as incidents from (
        select incidents.*, ${affectedByIncident.textColumn(filter.scope)}
        from (${page}) as incidents order by ${order} limit ${limit}
      ) as selected`,
  )
  return (row?.incidents ?? []).map(toIncident)
}

/** Lists incidents by start, newest first, as the JSON texts of the API. */
export async function listIncidentTexts(
  db: Kysely<Tables>,
  filter: IncidentFilter,
  limit: number,
): Promise<string[]> {
  const [row] = await selectFiltered(
    db,
    filter,
    'start',
    (page, order) => sql<{ incidents: string | null }>`
      select ${lines(filter.scope)} as incidents
      from (select * from (${page}) as longest order by ${order} limit ${limit}) as incidents`,
  )
  return parseLines(row?.incidents ?? null)
}

/** A page of all incidents: those that follow a position in the order of start and id, newest first. */
export type PageQuery = { cursor: IncidentFilter['cursor']; limit: number }

/** Lists pages of all incidents, by start, newest first, in one statement, as the JSON texts of the API. */
export async function listIncidentPages(db: Kysely<Tables>, pages: PageQuery[]): Promise<string[][]> {
  const positions = pages.map(({ cursor = first }) => cursor)
  const rows = await selectPages(db, [
    positions.map(({ at }) => at),
    positions.map(({ id }) => id),
    pages.map(({ limit }) => limit),
  ])
  return rows.map(({ incidents }) => parseLines(incidents))
}

const byStart = sql`started_at desc, id desc`

/** Position before the first incident. */
const first = { at: 'infinity', id: 0 }

/** The JSON texts of the rows of `incidents`. */
const lines = (scope: Scope) =>
  jsonLines(
    jsonObject({
      id: jsonScalar(sql`id`),
      title: jsonString(sql`title`),
      state: jsonWord(sql`state`),
      started_at: jsonTime(sql`started_at`),
      ended_at: jsonTime(sql`ended_at`),
      monitors: affectedByIncident.impairedText(scope),
      created_at: jsonTime(sql`created_at`),
      updated_at: jsonTime(sql`updated_at`),
    }),
    byStart,
  )

/** $1 and $2: the position before each page. $3: its length. Returns a row per page, in this order. */
const selectPages = precompiled(sql<{ incidents: string | null }>`
  with texts as (
    select page, ${lines(null)} as incidents
    from unnest($1::timestamptz[], $2::integer[], $3::integer[]) with ordinality as pages (after, after_id, size, page),
      lateral (
        select * from (
          select * from incidents where (started_at, id) < (after, after_id)
          order by ${byStart} limit ${sql.lit(maxPageLength + 1)}
        ) as longest order by ${byStart} limit size
      ) as incidents
    group by page
  )
  select incidents from generate_subscripts($3, 1) as page left join texts using (page) order by page`)

/** @param select makes the statement from a select of the longest page, in this order */
async function selectFiltered<Row>(
  db: Kysely<Tables>,
  { scope, state, open, monitor_tags: tags, text, from, to, cursor, before }: IncidentFilter,
  newest: 'start' | 'id',
  select: (page: RawBuilder<unknown>, order: RawBuilder<unknown>) => RawBuilder<Row>,
): Promise<Row[]> {
  const { at, id } = cursor ?? first
  const [after, order] =
    newest === 'start'
      ? [sql`(started_at, id) < (${at}::timestamptz, ${id}::integer)`, byStart]
      : [sql`id < ${before ?? 2 ** 31}::bigint`, sql`id desc`]
  const conditions = [
    ...(state === undefined ? [] : [sql`state = ${sql.lit(state)}`]),
    ...(open === undefined ? [] : [sql`${incidentIsOpen} = ${sql.lit(open)}`]),
    ...(text === undefined ? [] : [sql`strpos(lower(title), lower(${text})) > 0`]),
    ...(from === undefined ? [] : [sql`started_at >= ${from}`]),
    ...(to === undefined ? [] : [sql`started_at < ${to}`]),
    ...(tags === undefined ? [] : [affectedByIncident.includes(tags, scope)]),
    ...(scope === null ? [] : [affectedByIncident.isInScope(scope)]),
  ]
  const page = sql`
    select * from incidents where ${sql.join([after, ...conditions], sql` and `)}
    order by ${order} limit ${sql.lit(maxPageLength + 1)}`
  const statement = select(page, order)
  // As for monitors, not each combination of filters is prepared.
  const { rows } = await (conditions.length > 1 ? statement : prepared(statement)).execute(db)
  return rows
}

type OtherInJson = 'monitors' | 'started_at' | 'ended_at' | 'created_at' | 'updated_at' | 'version'

/** `version` is a number, because microseconds since 1970 are exact until the year 2255. */
type IncidentRow = Omit<Incident, OtherInJson> & {
  version: number
  monitors: string[]
  started_at: string
  ended_at: string | null
  created_at: string
  updated_at: string
}

function toIncident(row: IncidentRow): Incident {
  return {
    id: row.id,
    title: row.title,
    state: row.state,
    monitors: parseAffected(row.monitors),
    stays_hidden: row.stays_hidden,
    started_at: new Date(row.started_at),
    ended_at: row.ended_at === null ? null : new Date(row.ended_at),
    created_at: new Date(row.created_at),
    updated_at: new Date(row.updated_at),
    version: String(row.version),
  }
}
