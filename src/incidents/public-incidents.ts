import { type Kysely, type RawBuilder, sql } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { State } from '../enums.ts'
import { incidentNotFound } from '../errors.ts'
import { affectedByIncident, type PublicAffected } from '../monitors/affected.ts'
import { incidentIsOpen } from '../monitors/current-status.ts'
import { maxShownComments } from './comments.ts'
import type { Affected, Incident } from './repository.ts'

/** An incident with the visible monitors that it affects. */
export type PublicIncident = Pick<
  Incident,
  'id' | 'title' | 'state' | 'started_at' | 'ended_at' | 'created_at' | 'updated_at'
> & {
  is_open: boolean
  monitors: PublicAffected<Affected>[]
  /** Newest first, as many as maxCommentCharacters allows. */
  comments: PublicComment[]
  comment_count: number
}

/** Times are in seconds since 1970. */
type PublicComment = {
  id: number
  comment: string
  state: State
  timestamp: number
  created_at: number
  updated_at: number
}

/** Characters of the comments of an incident. Otherwise a few incidents with many long comments would fill the memory. */
const maxCommentCharacters = 100_000

/** From `incidents`: those that the public page shows. */
const publicIncidents = (condition: RawBuilder<unknown>) => sql`
  incidents, ${affectedByIncident.publicMonitors}
  where started_at <= now() and ${affectedByIncident.isPublic} and ${condition}`

/** @param limits number of incidents, newest start first, and of the newest comments of each */
async function listPublicIncidents(
  db: Kysely<Tables>,
  condition: RawBuilder<unknown>,
  limits: { incidents: number; comments: number },
): Promise<PublicIncident[]> {
  const { rows } = await prepared(sql<PublicIncident>`
    select id, title, state, started_at, ended_at, created_at, updated_at, ${incidentIsOpen} as is_open,
      affected.monitors, coalesce((
        select json_agg(json_build_object(
          'id', id, 'comment', comment, 'state', state, 'timestamp', extract(epoch from commented_at),
          'created_at', extract(epoch from created_at), 'updated_at', extract(epoch from updated_at)
        ) order by commented_at desc, id desc)
        from (
          select *, sum(length(comment)) over (order by commented_at desc, id desc) as characters
          from (
            select * from incident_comments where incident_id = incidents.id
            order by commented_at desc, id desc limit ${limits.comments}
          ) as newest
        ) as counted where characters <= ${sql.lit(maxCommentCharacters)}
      ), '[]') as comments,
      (select count(*)::integer from incident_comments where incident_id = incidents.id) as comment_count
    from ${publicIncidents(condition)}
    order by started_at desc, id desc limit ${limits.incidents}`).execute(db)
  return rows
}

/** Lists the incidents that are open, with their newest comments. */
export function listOpenIncidents(
  db: Kysely<Tables>,
  limits: { incidents: number; comments: number },
): Promise<PublicIncident[]> {
  return listPublicIncidents(db, incidentIsOpen, limits)
}

export type StatusIncident = Incident & {
  /** `timestamp` is in seconds since 1970. */
  newest_comment: { comment: string; state: State; timestamp: number } | null
}

/** Lists all open incidents, each with its newest comment, newest start first. */
export async function listStatusIncidents(db: Kysely<Tables>): Promise<StatusIncident[]> {
  const { rows } = await sql<StatusIncident>`
    select incidents.*, affected.monitors, (
      select json_build_object('comment', comment, 'state', state, 'timestamp', extract(epoch from commented_at))
      from incident_comments where incident_id = incidents.id order by commented_at desc, id desc limit 1
    ) as newest_comment
    from ${publicIncidents(incidentIsOpen)}
    order by started_at desc, id desc`.execute(db)
  return rows
}

/** Lists the incidents that are no longer open and started in the last `days`, without comments. */
export function listRecentIncidents(
  db: Kysely<Tables>,
  days: number,
  limit: number,
): Promise<PublicIncident[]> {
  const condition = sql`not ${incidentIsOpen} and started_at > now() - make_interval(days => ${days})`
  return listPublicIncidents(db, condition, { incidents: limit, comments: 0 })
}

/** Lists the newest incidents, open or not, and all others that are open, newest start first. */
export async function listNewestIncidents(
  db: Kysely<Tables>,
  limits: { incidents: number; comments: number },
): Promise<PublicIncident[]> {
  const newest = await listPublicIncidents(db, sql`true`, limits)
  const open = await listOpenIncidents(db, limits)
  const known = new Set(newest.map(({ id }) => id))
  return [...newest, ...open.filter(({ id }) => !known.has(id))]
}

export type IncidentMonth = {
  incidents: PublicIncident[]
  /** Start of the latest incident before the month, and of the earliest one after it. */
  older: Date | null
  newer: Date | null
}

/** Lists the incidents that started in [from, to), each with its newest comment. */
export async function readIncidentMonth(
  db: Kysely<Tables>,
  { from, to }: { from: Date; to: Date },
  limit: number,
): Promise<IncidentMonth> {
  const nearest = (condition: RawBuilder<unknown>, order: RawBuilder<unknown>) =>
    sql`(select started_at from ${publicIncidents(condition)} order by started_at ${order}, id ${order} limit 1)`
  const isInMonth = sql`started_at >= ${from} and started_at < ${to}`
  const incidents = await listPublicIncidents(db, isInMonth, { incidents: limit, comments: 1 })
  const { rows } = await prepared(sql<Pick<IncidentMonth, 'older' | 'newer'>>`
    select ${nearest(sql`started_at < ${from}`, sql`desc`)} as older,
      ${nearest(sql`started_at >= ${to}`, sql`asc`)} as newer`).execute(db)
  return { incidents, ...(rows[0] ?? { older: null, newer: null }) }
}

/** @throws ApiError 404, also if the public page does not show the incident */
export async function getPublicIncident(db: Kysely<Tables>, id: number): Promise<PublicIncident> {
  const limits = { incidents: 1, comments: maxShownComments }
  const [incident] = await listPublicIncidents(db, sql`incidents.id = ${id}`, limits)
  if (!incident) throw incidentNotFound()
  return incident
}

/** True if the public page shows the incident. */
export async function isIncidentPublic(db: Kysely<Tables>, id: number): Promise<boolean> {
  const { rows } = await sql`select from ${publicIncidents(sql`incidents.id = ${id}`)}`.execute(db)
  return rows.length > 0
}
