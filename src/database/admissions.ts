import { type Kysely, type Selectable, sql } from 'kysely'
import { batch } from './batch.ts'
import { keyStatus, type KeyStatus, lastUseIsOld, touchKeys } from './keys.ts'
import { writtenOnce } from './prepared.ts'
import type { Tables } from './schema.ts'

/** What one request may know of its key's limit. Windows are minutes of the database's clock. */
export type Quota = {
  /** Requests a window. */
  limit: number
  /** Requests left in the window after this one. */
  remaining: number
  /** When the window ends: a unix timestamp, in seconds. */
  reset: number
  /** Seconds until then, 1 at least. */
  secondsLeft: number
  /** False when the limit was used up before this request. */
  granted: boolean
}

export type AdmittedKey = Pick<
  Selectable<Tables['api_keys']>,
  'id' | 'name' | 'permissions' | 'rate_limit' | 'expires_at' | 'created_at'
> & { status: KeyStatus }

export type Admission = { key: AdmittedKey; quota: Quota }

type Ask = { id: string; count: boolean }

/** Keys and their counters come as JSON: pg reads one value of it in half the time that a row of columns takes it. */
type Answer = {
  keys: (Omit<AdmittedKey, 'expires_at' | 'created_at'> & {
    expires_at: string | null
    created_at: string
    max: number
    last_use_is_old: boolean
    /** Null when no request was counted: none was asked for, or the limit was used up already. */
    minute: number | null
    used: number | null
    granted: number | null
  })[]
  /** The database's clock: seconds since 1970, with a fraction. */
  now: number
}

export type Admissions = ReturnType<typeof createAdmissions>

/**
 * Reads keys and counts requests, for all that ask at the same time in one statement. Nothing of what is read is
 * kept: each request is judged by the key as PostgreSQL has it after the request came in.
 */
export function createAdmissions(
  db: Kysely<Tables>,
  { rateLimitMax, onError }: { rateLimitMax: number; onError: (error: unknown) => void },
) {
  const noteUse = batch(async (ids: string[]) => {
    await touchKeys(db, [...new Set(ids)])
    return ids
  })

  const ask = batch(async (asks: Ask[]) => {
    const counts = new Map<string, number>()
    for (const { id, count } of asks) counts.set(id, (counts.get(id) ?? 0) + Number(count))
    const [answer] = await readAndCount(db, [[...counts.keys()], [...counts.values()], rateLimitMax])
    if (!answer) throw new Error('A query without FROM has one row')
    for (const { id, status, last_use_is_old } of answer.keys) {
      if (last_use_is_old && status === 'active' && counts.get(id)) noteUse(id).catch(onError)
    }
    return shareOut(asks, answer)
  })

  return {
    /** Reads the key, and counts nothing: for a caller who has yet to prove that he knows the secret. */
    read: async (id: string): Promise<AdmittedKey | undefined> => (await ask({ id, count: false }))?.key,
    /** Reads the key and, when it is active, counts this request. */
    admit: (id: string): Promise<Admission | undefined> => ask({ id, count: true }),
  }
}

const now = sql`extract(epoch from now())::float8`
const max = sql`coalesce(rate_limit, $3::integer)`

/**
 * $1: ids of keys, $2: how many requests of each to count, $3: the limit of a key without one of its own.
 *
 * A counter never passes its limit: `granted` says how many of the requests asked for still fitted in. Requests over
 * the limit write nothing. A statement that began in the minute before, and had to wait for another, counts in the
 * newer window. The rows are locked in the order of their ids, so that two replicas cannot wait for each other.
 */
const readAndCount = writtenOnce(sql<Answer>`
  with counted as (
    insert into rate_counters as counter (key_id, minute, max, used, granted)
    select id, floor(${now} / 60)::integer, ${max}, least(n, ${max}), least(n, ${max})
    from unnest($1::text[], $2::integer[]) as ask (id, n) join api_keys using (id)
    where n > 0 and ${keyStatus} = 'active'
    order by id
    on conflict (key_id) do update set
      minute = greatest(counter.minute, excluded.minute),
      max = excluded.max,
      used = case when counter.minute < excluded.minute then excluded.used
        else least(counter.used + excluded.granted, excluded.max) end,
      granted = case when counter.minute < excluded.minute then excluded.granted
        else least(excluded.granted, excluded.max - counter.used) end
    where counter.minute < excluded.minute or counter.used < excluded.max
    returning key_id, counter.minute, counter.used, counter.granted
  ), keys as (
    select id, name, permissions, rate_limit, expires_at, created_at,
      ${keyStatus} as status, ${max} as max, ${lastUseIsOld} as last_use_is_old, minute, used, granted
    from api_keys left join counted on key_id = id
    where id = any($1)
  )
  select coalesce((select json_agg(keys) from keys), '[]') as keys, ${now} as now`)

/** Deals the requests let through to those who asked first. */
function shareOut(asks: Ask[], { keys, now }: Answer): (Admission | undefined)[] {
  const thisMinute = Math.floor(now / 60)
  const found = new Map(
    keys.map((row) => {
      // Field by field, because to spread what is left of a row takes longer than all the rest of this.
      const key: AdmittedKey = {
        id: row.id,
        name: row.name,
        permissions: row.permissions,
        rate_limit: row.rate_limit,
        status: row.status,
        expires_at: row.expires_at === null ? null : new Date(row.expires_at),
        created_at: new Date(row.created_at),
      }
      const { max, used, granted, minute } = row
      const counter = { max, used: used ?? max, granted: granted ?? 0, minute: minute ?? thisMinute }
      return [key.id, { key, counter, place: 0 }]
    }),
  )
  return asks.map(({ id, count }) => {
    const row = found.get(id)
    if (!row) return undefined
    if (count) row.place++
    const { key, counter, place } = row
    const used = counter.used - Math.max(0, counter.granted - place)
    const reset = (counter.minute + 1) * 60
    const quota = {
      limit: counter.max,
      remaining: Math.max(0, counter.max - used),
      reset,
      secondsLeft: Math.max(1, Math.ceil(reset - now)),
      granted: place <= counter.granted,
    }
    return { key, quota }
  })
}
