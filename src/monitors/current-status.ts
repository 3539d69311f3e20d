import { sql, type SqlBool } from 'kysely'

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
 * CTEs that define `current`: all monitors with their status and its source. The status is the worst impact of open
 * incidents and ongoing maintenances; otherwise the newest report unless it is stale; otherwise the default.
 *
 * - Impact UP counts for maintenances only.
 * - `worst` encodes the impact and its source: even numbers are incidents, which win over maintenances of equal impact.
 * - The age of a report is counted from the second in which it was made, not from its minute.
 * - `offset 0` and the nested select prevent the planner from reading all maintenances and links: it overestimates the
 *   number of ongoing events, which are few.
 */
export const currentStatus = sql`
  with active_impacts as (
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
        stale_after_seconds is null or extract(epoch from now()) - ${reportedAt} <= stale_after_seconds
      ) as is_fresh
    ) as freshness
  )`
