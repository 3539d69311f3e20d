import { readMinutes } from '../../src/reports/hour-codec.ts'
import { query, role } from './cluster.ts'
import type { Final, Transition } from './history.ts'
import { changedPermissions, loweredLimits } from './workload.ts'

/** Reads what the primary contains of the workload with this name. */
export async function readFinal(databasePort: number, name: string): Promise<Final> {
  const read = <Row>(text: string) => query(databasePort, role, role, text, 10_000) as Promise<Row[]>
  const hours = await read<{ hour: number; statuses: Buffer; latencies: Buffer }>(
    `select hour, statuses, latencies from monitor_hours join monitors on id = monitor_id where tag ~ '^${name}-\\d$'`,
  )
  const incidents = await read<{ title: string }>(`select title from incidents where title like '${name} %'`)
  const keys = await read<{ name: string }>(`select name from api_keys where name like '${name} %'`)
  const changed = await read<{ key: string; transitions: Transition[] }>(`
    select id as key, array_remove(array[
      case when revoked_at is not null then 'revoked' end,
      case when permissions::text[] = '{${changedPermissions.after.join(',')}}' then 'narrowed' end,
      case when expires_at is not null then 'expired' end,
      case when rate_limit = ${loweredLimits.after} then 'limited' end
    ], null) as transitions
    from api_keys where name like '${name} tested %'`)
  const unmatched = await read<{ text: string }>(`
    with resources as (
      select 'incident' as type, id::text as id, title as name from incidents
      union all select 'key', id, name from api_keys
    ), events as (
      select target_type as type, target_id as id, max(target_name) as name, count(*) as count from audit_events
      where action in ('incident.created', 'key.created') group by target_type, target_id
    )
    select type || ' ' || name || ': ' || coalesce(count, 0) || ' events' as text
    from resources full join events using (type, id, name)
    where name like '${name} %' and (resources is null or count is distinct from 1)`)
  const changeEvents = await read<{ key: string; transition: Transition; count: string }>(`
    select api_keys.id as key, transition, count(target_id) as count
    from api_keys
      cross join (values
        ('revoked', 'key.revoked', null), ('narrowed', 'key.updated', 'permissions'),
        ('expired', 'key.updated', 'expires_at'), ('limited', 'key.updated', 'rate_limit')
      ) as transitions (transition, changed_by, field)
      left join audit_events on target_type = 'key' and target_id = api_keys.id and action = changed_by
        and (field is null or changes->field is not null)
    where name like '${name} tested %'
    group by api_keys.id, transition`)

  return {
    names: {
      report: hours.flatMap(({ hour, ...data }) =>
        readMinutes(data, 0, 60).map(({ minute, latency_ms }) => `${hour * 60 + minute} ${latency_ms ?? ''}`),
      ),
      incident: incidents.map(({ title }) => title),
      key: keys.map(({ name }) => name),
    },
    changed,
    unmatched: unmatched.map(({ text }) => text),
    changeEvents: changeEvents.map(({ count, ...event }) => ({ ...event, count: Number(count) })),
  }
}
