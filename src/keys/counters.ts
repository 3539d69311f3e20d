import { type Selectable, sql } from 'kysely'
import { precompiled } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { isStillPrimary } from '../database/still-primary.ts'
import type { KeyStatus } from '../enums.ts'
import { isLastUsedStale } from './authentication.ts'
import { keyStatus } from './repository.ts'

/** Columns of a key that its requests need. */
export const principalColumns = [
  'id',
  'name',
  'description',
  'permissions',
  'rate_limit',
  'monitors',
  'allowed_ips',
  'expires_at',
  'created_at',
  'last_used_at',
] as const

export type KeyWithStatus = Pick<Selectable<Tables['api_keys']>, (typeof principalColumns)[number]> & {
  status: KeyStatus
}

/** Keys and counters are one JSON value, which pg parses in half the time of the same rows. */
export type ResultRow = {
  keys: (Omit<KeyWithStatus, 'expires_at' | 'created_at' | 'last_used_at'> & {
    expires_at: string | null
    created_at: string
    last_used_at: string | null
    max: number
    is_last_used_stale: boolean
    /** The window. */
    minute: number
    /** Null if the statement counted no request: none was submitted, or the limit was reached before. */
    used: number | null
    granted: number | null
    /** Why selectAndIncrementUnlocked could not count the requests. */
    obstacle?: Obstacle | null
  })[]
  /** The database's clock: seconds since 1970, with a fraction. */
  now: number
}

/** The counter is locked by another transaction, or does not exist yet. */
export type Obstacle = 'locked' | 'missing'

const now = sql`extract(epoch from now())::float8`
export const thisMinute = sql`floor(${now} / 60)::integer`
const max = sql`coalesce(rate_limit, $3::integer)`
const keyColumns = sql`
  ${sql.join(principalColumns.map((column) => sql.ref(column)))},
  ${keyStatus} as status, ${max} as max, ${isLastUsedStale} as is_last_used_stale`

/**
 * True if a counter counts the minute of the statement, or the next one: a statement that started in the previous minute
 * and waited for a lock counts in the newer window. Any other minute is over, or the clock was set back since.
 */
export const isThisWindow = sql`counter.minute in (${thisMinute}, ${thisMinute} + 1)`

/** The minute of the window, also if no request was counted. */
const windowMinute = sql`
  coalesce(
    minute,
    (select minute from rate_counters as counter where counter.key_id = id and minute = ${thisMinute} + 1),
    ${thisMinute}
  ) as minute`

/**
 * True if the statement counts requests of this key. Those of a key with `allowed_ips` are counted by a second statement
 * ($4), after their address was checked, so that a request from another address consumes no quota.
 */
const isCounted = sql`(allowed_ips is null or $4::boolean)`

/**
 * $1: ids of keys, $2: number of requests to count for each key, $3: the limit of a key without its own limit, $4: true if
 * the addresses of these requests were checked.
 *
 * A counter never exceeds its limit: `granted` is the number of these requests that are within it. Requests over the
 * limit write nothing. Rows are locked in the order of ids, so that two replicas do not deadlock.
 */
export const selectAndIncrement = precompiled(sql<ResultRow>`
  with counted as (
    insert into rate_counters as counter (key_id, minute, max, used, granted)
    select id, ${thisMinute}, ${max}, least(n, ${max}), least(n, ${max})
    from unnest($1::text[], $2::integer[]) as item (id, n) join api_keys using (id)
    where n > 0 and ${keyStatus} = 'active' and ${isCounted}
    order by id
    on conflict (key_id) do update set
      minute = case when ${isThisWindow} then counter.minute else excluded.minute end,
      max = excluded.max,
      used = case when ${isThisWindow} then least(counter.used + excluded.granted, excluded.max)
        else excluded.used end,
      granted = case when ${isThisWindow} then least(excluded.granted, excluded.max - counter.used)
        else excluded.granted end
    where not ${isThisWindow} or counter.used < excluded.max
    returning key_id, counter.minute, counter.used, counter.granted
  ), keys as (
    select ${keyColumns}, used, granted, ${windowMinute}
    from api_keys left join counted on key_id = id
    where id = any($1)
  )
  select coalesce((select json_agg(keys) from keys), '[]') as keys, ${now} as now
  where ${isStillPrimary}`)

/**
 * Does the same, but skips counters that another transaction has locked, and creates none, because an insert may wait
 * too. Takes twice as long.
 */
export const selectAndIncrementUnlocked = precompiled(sql<ResultRow>`
  with item as (
    select id, n from unnest($1::text[], $2::integer[]) as item (id, n)
  ), unlocked as (
    select key_id from rate_counters
    where key_id = any(array(select id from item where n > 0)) for no key update skip locked
  ), found as (
    select ${keyColumns}, n from api_keys join item using (id)
  ), counted as (
    update rate_counters as counter set
      minute = case when ${isThisWindow} then counter.minute else ${thisMinute} end,
      max = found.max,
      used = least(case when ${isThisWindow} then counter.used else 0 end + n, found.max),
      granted = least(n, found.max - case when ${isThisWindow} then counter.used else 0 end)
    from unlocked join found on id = key_id
    where counter.key_id = unlocked.key_id and status = 'active' and ${isCounted}
      and (not ${isThisWindow} or counter.used < found.max)
    returning counter.key_id, counter.minute, counter.used, counter.granted
  ), keys as (
    select found.*, used, granted, ${windowMinute},
      case when n > 0 and status = 'active' and ${isCounted} and unlocked.key_id is null then
        case when exists (select from rate_counters where key_id = id) then 'locked' else 'missing' end
      end as obstacle
    from found left join unlocked on unlocked.key_id = id left join counted on counted.key_id = id
  )
  select coalesce((select json_agg(keys) from keys), '[]') as keys, ${now} as now
  where ${isStillPrimary}`)

/** $1: ids of keys, sorted, so that two replicas do not deadlock. A counter of minute 0 has counted nothing. */
export const insertCounters = precompiled(sql`
  insert into rate_counters (key_id, minute, max, used, granted)
  select id, 0, 0, 0, 0 from api_keys where id = any($1) order by id
  on conflict do nothing`)
