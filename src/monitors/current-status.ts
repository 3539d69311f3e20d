import { type RawBuilder, sql, type SqlBool } from 'kysely'
import type { Status } from '../enums.ts'
import { maxPageLength } from '../limits.ts'

type Sql = RawBuilder<unknown>

/** An incident is open if it is not resolved, has started, and has not ended. */
export const incidentIsOpen = sql<SqlBool>`
  (incidents.state <> 'RESOLVED' and started_at <= now() and (ended_at is null or ended_at > now()))`

/** An event is ongoing if it is not closed and now is within its time. The expression is that of an index. */
export const eventIsOngoing = sql<SqlBool>`
  (closed_as is null and tstzrange(maintenance_events.starts_at, maintenance_events.ends_at) @> now())`

/**
 * Time of the report `last`: a Unix time, in seconds. Releases that do not know `reported_at` do not update it: the
 * previous one updates the minute and the second, and those before only the minute, so that an unchanged second is void.
 */
const reportedAt = sql`(
  last.minute * 60::float8 + case
    when last.reported_at / 60 <> last.minute and last.reported_at % 60 = last.second then 0 else last.second
  end)`

/**
 * CTE `impacts`: the worst impact of open incidents and ongoing maintenances, by monitor. Impact UP counts for
 * maintenances only. `worst` encodes the impact and its source: even numbers are incidents, which win over maintenances
 * of equal impact.
 *
 * `offset 0` and the nested select prevent the planner from reading all maintenances and links: it overestimates the
 * number of ongoing events, which are few.
 */
const impacts = sql`
  active_impacts as (
    select monitor_id, impact, 0 as source
    from incidents join incident_monitors on incident_id = incidents.id
    where ${incidentIsOpen} and impact <> 'UP'
    union all
    select monitor_id, impact, 1 as source
    from maintenance_events, lateral (
      select monitor_id, impact from maintenance_monitors where maintenance_id = maintenance_events.maintenance_id offset 0
    ) as affected
    where ${eventIsOngoing} and (select enabled from maintenances where id = maintenance_id)
  ), impacts as (
    select monitor_id, min(source + case impact when 'DOWN' then 2 when 'MAINTENANCE' then 4 when 'DEGRADED' then 6 else 8 end)
      as worst
    from active_impacts group by monitor_id
  )`

/** Joins what the status of monitors depends on. The age of a report is counted from its second, not from its minute. */
const withStatusInputs = (monitors: Sql) => sql`
  ${monitors} as monitors
  left join last_reports as last on last.monitor_id = monitors.id
  left join impacts on impacts.monitor_id = monitors.id
  cross join lateral (
    select last.minute is not null and (
      stale_after_seconds is null or extract(epoch from now()) - ${reportedAt} <= stale_after_seconds
    ) as is_fresh
  ) as freshness`

/** The order of precedence. The newest report counts unless it is stale. */
const byPrecedence = (impact: Sql, report: Sql, otherwise: Sql) =>
  sql`case when worst is not null then ${impact} when is_fresh then ${report} else ${otherwise} end`

const worstImpact = sql`(array['DOWN', 'MAINTENANCE', 'DEGRADED', 'UP'])[worst / 2]`

/**
 * CTEs that define `current`: the monitors that are selected, with their last report, status and its source.
 * @param columns further columns, which may refer to `monitors`, `last` and `clock`
 */
export const currentStatus = (monitors: Sql, columns = sql``) => sql`
  with ${impacts}, clock as materialized (
    select floor(extract(epoch from now()) / 3600)::integer as this_hour
  ), current as (
    select monitors.*, last.minute as last_minute, last.status as last_status, last.latency_ms as last_latency_ms,
      ${byPrecedence(sql`(array['incident', 'maintenance'])[worst % 2 + 1]`, sql`'report'`, sql`'default'`)} as status_source,
      ${byPrecedence(worstImpact, sql`last.status`, sql`default_status`)} as status
      ${columns}
    from ${withStatusInputs(monitors)}
  )`

/** Monitors whose status is computed to find those with a rare status. With more, monitors are read by tag. */
const maxCandidates = 500

/**
 * The first `limit` monitors by tag that match the condition. The longest page is a literal, because a plan is made once,
 * without the values of parameters.
 */
export const firstByTag = (condition: Sql, limit: Sql) => sql`
  select * from (
    select * from monitors where ${condition} order by tag limit ${sql.lit(maxPageLength + 1)}
  ) as longest order by tag limit ${limit}`

/**
 * Selects, for currentStatus, the first `limit` monitors by tag that match the conditions and have the status.
 *
 * With a status, only monitors whose last report, default status or impact is that status can have it: if they are few,
 * only these are read. Otherwise the status is frequent, and the first monitors by tag include enough of them. The
 * planner cannot make this choice, because it cannot estimate the status.
 *
 * The status is a literal, as the longest page is. The `offset 0` prevents a plan that reads all monitors to join them with
 * the candidates.
 */
export function selectPage(conditions: Sql[], wanted: Status | undefined, limit: number): Sql {
  const where = sql.join(conditions, sql` and `)
  if (wanted === undefined) return sql`(${firstByTag(where, sql`${limit}`)})`
  const longest = sql`order by tag limit ${sql.lit(maxPageLength + 1)}`
  const status = sql.lit(wanted)
  const hasStatus = byPrecedence(
    sql`${worstImpact} = ${status}`,
    sql`last.status = ${status}`,
    sql`default_status = ${status}`,
  )
  const candidate = sql`(
    select monitors.* from candidates, lateral (
      select * from monitors where id = candidates.monitor_id and ${where} offset 0
    ) as monitors
  )`
  return sql`(
    with candidates as materialized (
      (select monitor_id from last_reports where status = ${status} limit ${sql.lit(maxCandidates)})
      union (select id from monitors where default_status = ${status} limit ${sql.lit(maxCandidates)})
      union select monitor_id from impacts
    )
    select * from (
      (select monitors.* from ${withStatusInputs(candidate)}
        where (select count(*) < ${sql.lit(maxCandidates)} from candidates) and ${hasStatus} ${longest})
      union all
      (select monitors.* from ${withStatusInputs(sql`monitors`)}
        where (select count(*) >= ${sql.lit(maxCandidates)} from candidates) and ${where} and ${hasStatus} ${longest})
    ) as selected order by tag limit ${limit}
  )`
}
