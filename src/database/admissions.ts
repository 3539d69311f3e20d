import { type Kysely, type Selectable, sql } from 'kysely'
import { batch } from './batch.ts'
import { keyStatus, type KeyStatus, lastUseIsOld, touchKeys } from './keys.ts'
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
  'id' | 'name' | 'permissions' | 'secret_hash' | 'rate_limit' | 'expires_at' | 'created_at'
> & { status: KeyStatus }

export type Admission = { key: AdmittedKey; quota: Quota }

type Ask = { id: string; count: boolean }

/** A row of the statement: the key, and what its counter says after `granted` requests were let through. */
type Row = AdmittedKey & {
  max: number
  /** Null when nothing was counted, or nothing more fitted in. */
  used: number | null
  granted: number | null
  minute: number | null
  /** The database's clock: seconds since 1970, with a fraction. */
  now: number
  last_use_is_old: boolean
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
    const rows = await readAndCount(db, counts, rateLimitMax)
    for (const row of rows.values()) {
      if (row.granted !== null && row.last_use_is_old) noteUse(row.id).catch(onError)
    }
    return shareOut(asks, rows)
  })

  return {
    /** Reads the key, and counts nothing: for a caller who has yet to prove that he knows the secret. */
    read: async (id: string): Promise<AdmittedKey | undefined> => (await ask({ id, count: false }))?.key,
    /** Reads the key and, when it is active, counts this request. */
    admit: (id: string): Promise<Admission | undefined> => ask({ id, count: true }),
  }
}

/**
 * A counter never passes its limit: `granted` says how many of the requests asked for still fitted in. Requests over
 * the limit write nothing. A statement that began in the minute before, and had to wait for another, counts in the
 * newer window. The rows are locked in the order of their ids, so that two replicas cannot wait for each other.
 */
async function readAndCount(
  db: Kysely<Tables>,
  counts: Map<string, number>,
  rateLimitMax: number,
): Promise<Map<string, Row>> {
  const { rows } = await sql<Row>`
    with key as (
      select id, name, permissions, secret_hash, rate_limit, expires_at, created_at, n,
        coalesce(rate_limit, ${rateLimitMax}::integer) as max,
        ${keyStatus} as status,
        ${lastUseIsOld} as last_use_is_old,
        extract(epoch from now())::float8 as now
      from unnest(${[...counts.keys()]}::text[], ${[...counts.values()]}::integer[]) as ask (id, n)
      join api_keys using (id)
    ), counted as (
      insert into rate_counters as counter (key_id, minute, max, used, granted)
      select id, floor(now / 60)::integer, max, least(n, max), least(n, max) from key
      where n > 0 and status = 'active'
      order by id
      on conflict (key_id) do update set
        minute = greatest(counter.minute, excluded.minute),
        max = excluded.max,
        used = case when counter.minute < excluded.minute then excluded.used
          else least(counter.used + excluded.granted, excluded.max) end,
        granted = case when counter.minute < excluded.minute then excluded.granted
          else least(excluded.granted, excluded.max - counter.used) end
      where counter.minute < excluded.minute or counter.used < excluded.max
      returning key_id, minute, used, granted
    )
    select key.*, minute, used, granted from key left join counted on key_id = id`.execute(db)
  return new Map(rows.map((row) => [row.id, row]))
}

/** Deals the requests let through to those who asked first. */
function shareOut(asks: Ask[], rows: Map<string, Row>): (Admission | undefined)[] {
  const passed = new Map<string, number>()
  return asks.map(({ id, count }) => {
    const row = rows.get(id)
    if (!row) return undefined
    const granted = row.granted ?? 0
    const place = (passed.get(id) ?? 0) + Number(count)
    passed.set(id, place)
    const used = (row.used ?? row.max) - Math.max(0, granted - place)
    const reset = ((row.minute ?? Math.floor(row.now / 60)) + 1) * 60
    const quota = {
      limit: row.max,
      remaining: Math.max(0, row.max - used),
      reset,
      secondsLeft: Math.max(1, Math.ceil(reset - row.now)),
      granted: place <= granted,
    }
    return { key: row, quota }
  })
}
