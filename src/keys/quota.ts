import { type Kysely, type Selectable, sql } from 'kysely'
import { batch } from '../database/batch.ts'
import { precompiled } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { isLastUsedStale, type KeyStatus, keyStatus, touchKeys } from './repository.ts'

/** The rate limit of a key after a request. Windows start on the full minute of the database's clock. */
export type Quota = {
  /** Requests per window. */
  limit: number
  /** Requests left in the window after this one. */
  remaining: number
  /** End of the window: a Unix timestamp, in seconds. */
  reset: number
  /** Seconds until the end of the window, at least 1. */
  secondsLeft: number
  /** False if this request exceeds the limit. */
  isAllowed: boolean
}

export type KeyWithStatus = Pick<
  Selectable<Tables['api_keys']>,
  'id' | 'name' | 'permissions' | 'rate_limit' | 'expires_at' | 'created_at'
> & { status: KeyStatus }

export type KeyWithQuota = { key: KeyWithStatus; quota: Quota }

type Item = { id: string; count: boolean }

/** Keys and counters are one JSON value, which pg parses in half the time of the same rows. */
type ResultRow = {
  keys: (Omit<KeyWithStatus, 'expires_at' | 'created_at'> & {
    expires_at: string | null
    created_at: string
    max: number
    is_last_used_stale: boolean
    /** The window. */
    minute: number
    /** Null if the statement counted no request: none was submitted, or the limit was reached before. */
    used: number | null
    granted: number | null
  })[]
  /** The database's clock: seconds since 1970, with a fraction. */
  now: number
}

export type KeyQuotas = ReturnType<typeof createKeyQuotas>

/**
 * Reads keys and counts requests, with one statement for concurrent requests. Nothing is cached: each request sees the
 * key as it is in PostgreSQL after the request started.
 */
export function createKeyQuotas(
  db: Kysely<Tables>,
  { rateLimitMax, onError }: { rateLimitMax: number; onError: (error: unknown) => void },
) {
  const touchLastUsed = batch(async (ids: string[]) => {
    await touchKeys(db, [...new Set(ids)])
    return ids
  })

  const submit = batch(async (items: Item[]) => {
    const counts = new Map<string, number>()
    for (const { id, count } of items) counts.set(id, (counts.get(id) ?? 0) + Number(count))
    const [row] = await selectAndIncrement(db, [[...counts.keys()], [...counts.values()], rateLimitMax])
    if (!row) throw new Error('A query without FROM has one row')
    for (const { id, status, is_last_used_stale } of row.keys) {
      if (is_last_used_stale && status === 'active' && counts.get(id)) touchLastUsed(id).catch(onError)
    }
    return allocate(items, row)
  })

  return {
    /** Reads the key without counting a request. */
    peek: async (id: string): Promise<KeyWithStatus | undefined> => (await submit({ id, count: false }))?.key,
    /** Reads the key and, if it is active, counts this request. */
    consume: (id: string): Promise<KeyWithQuota | undefined> => submit({ id, count: true }),
  }
}

const now = sql`extract(epoch from now())::float8`
const thisMinute = sql`floor(${now} / 60)::integer`
const max = sql`coalesce(rate_limit, $3::integer)`

/**
 * True if a counter counts the minute of the statement, or the next one: a statement that started in the previous minute
 * and waited for a lock counts in the newer window. Any other minute is over, or the clock was set back since.
 */
const isThisWindow = sql`counter.minute in (excluded.minute, excluded.minute + 1)`

/**
 * $1: ids of keys, $2: number of requests to count for each key, $3: the limit of a key without its own limit.
 *
 * A counter never exceeds its limit: `granted` is the number of these requests that are within it. Requests over the
 * limit write nothing. Rows are locked in the order of ids, so that two replicas do not deadlock.
 */
const selectAndIncrement = precompiled(sql<ResultRow>`
  with counted as (
    insert into rate_counters as counter (key_id, minute, max, used, granted)
    select id, ${thisMinute}, ${max}, least(n, ${max}), least(n, ${max})
    from unnest($1::text[], $2::integer[]) as item (id, n) join api_keys using (id)
    where n > 0 and ${keyStatus} = 'active'
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
    select id, name, permissions, rate_limit, expires_at, created_at,
      ${keyStatus} as status, ${max} as max, ${isLastUsedStale} as is_last_used_stale, used, granted,
      coalesce(
        minute,
        (select minute from rate_counters as counter where counter.key_id = id and minute = ${thisMinute} + 1),
        ${thisMinute}
      ) as minute
    from api_keys left join counted on key_id = id
    where id = any($1)
  )
  select coalesce((select json_agg(keys) from keys), '[]') as keys, ${now} as now`)

/** Allocates the granted requests to the items in their order. */
function allocate(items: Item[], { keys, now }: ResultRow): (KeyWithQuota | undefined)[] {
  const rows = new Map(
    keys.map((row) => {
      // Field by field, because rest and spread take longer than the rest of this function.
      const key: KeyWithStatus = {
        id: row.id,
        name: row.name,
        permissions: row.permissions,
        rate_limit: row.rate_limit,
        status: row.status,
        expires_at: row.expires_at === null ? null : new Date(row.expires_at),
        created_at: new Date(row.created_at),
      }
      const { max, used, granted, minute } = row
      const counter = { max, used: used ?? max, granted: granted ?? 0, minute }
      return [key.id, { key, counter, position: 0 }]
    }),
  )
  return items.map(({ id, count }) => {
    const row = rows.get(id)
    if (!row) return undefined
    if (count) row.position++
    const { key, counter, position } = row
    const used = counter.used - Math.max(0, counter.granted - position)
    const reset = (counter.minute + 1) * 60
    const quota = {
      limit: counter.max,
      remaining: Math.max(0, counter.max - used),
      reset,
      secondsLeft: Math.max(1, Math.ceil(reset - now)),
      isAllowed: position <= counter.granted,
    }
    return { key, quota }
  })
}
