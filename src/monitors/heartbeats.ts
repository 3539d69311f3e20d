import { hash } from 'node:crypto'
import { type Kysely, sql, type Transaction } from 'kysely'
import type { Change } from '../audit/transaction.ts'
import { batch } from '../database/batch.ts'
import { retryWhileLocked } from '../database/locks.ts'
import { precompiled } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { isStillPrimary } from '../database/still-primary.ts'
import { monitorNotFound, noHeartbeatUrl, rowLocked } from '../errors.ts'
import { isThisWindow, thisMinute } from '../keys/counters.ts'
import { generateSecret } from '../keys/token.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'
import { toTarget } from './repository.ts'

/** Requests per minute and URL. */
export const maxHeartbeats = 60

/**
 * Creates the secret of a monitor's heartbeat URL, which replaces the previous URL, and returns it. Only its digest is
 * stored: a fast one suffices, because the secret has 256 random bits.
 * @param expected condition on the previous URL @throws ApiError 404, 412
 */
export async function createHeartbeat(
  { trx, record }: Change,
  tag: string,
  expected: Precondition = {},
): Promise<string> {
  const { id, name } = await lockHeartbeat(trx, tag, expected)
  const secret = generateSecret()
  await sql`
    insert into heartbeats (monitor_id, secret_digest) values (${id}, ${digest(secret)})
    on conflict (monitor_id) do update set
      secret_digest = excluded.secret_digest, created_at = now(), minute = 0, used = 0, granted = 0`.execute(
    trx,
  )
  record({ action: 'heartbeat.created', target: toTarget({ tag, name }) })
  return secret
}

/** @throws ApiError 404 if the monitor does not exist, or has no heartbeat URL, and 412 */
export async function deleteHeartbeat(
  { trx, record }: Change,
  tag: string,
  expected: Precondition = {},
): Promise<void> {
  const { id, name, heartbeat } = await lockHeartbeat(trx, tag, expected)
  if (!heartbeat) throw noHeartbeatUrl()
  await sql`delete from heartbeats where monitor_id = ${id}`.execute(trx)
  record({ action: 'heartbeat.deleted', target: toTarget({ tag, name }) })
}

/** Locks the monitor until commit, so that its URL, which may not exist yet, does not change. @throws ApiError 404, 412 */
async function lockHeartbeat(trx: Transaction<Tables>, tag: string, expected: Precondition) {
  const monitor = await trx
    .selectFrom('monitors')
    .select(['id', 'name'])
    .where('tag', '=', tag)
    .forNoKeyUpdate()
    .executeTakeFirst()
  if (!monitor) throw monitorNotFound()
  const heartbeat = await findHeartbeat(trx, monitor.id)
  assertPrecondition(expected, heartbeat)
  return { ...monitor, heartbeat }
}

export type Heartbeat = {
  created_at: Date
  /** Start of the minute of the last request. Null: the URL was never requested. */
  last_used_at: Date | null
  /** Changes when the URL is replaced. */
  version: string
}

/** Returns undefined if the monitor has no heartbeat URL. */
export async function findHeartbeat(db: Kysely<Tables>, monitorId: number): Promise<Heartbeat | undefined> {
  const { rows } = await sql<Heartbeat>`
    select created_at, case when minute > 0 then to_timestamp(minute * 60::float8) end as last_used_at,
      extract(epoch from created_at)::text as version
    from heartbeats where monitor_id = ${monitorId}`.execute(db)
  return rows[0]
}

function digest(secret: string): string {
  return hash('sha256', secret, 'base64url')
}

/** Identifies a heartbeat URL. */
type Item = { tag: string; digest: string }

type HeartbeatQuota = {
  /** False if this request exceeds the limit. */
  isAllowed: boolean
  /** Seconds until the end of the window, at least 1. */
  secondsLeft: number
}

export type HeartbeatQuotas = ReturnType<typeof createHeartbeatQuotas>

/**
 * Returns a function that verifies a heartbeat URL, and counts the request, exact across all replicas. Concurrent requests
 * share a statement. It searches for the digest of the secret only, so that it takes as long for an unknown monitor as for
 * a wrong secret, and skips locked rows, so that one URL does not delay another one. Requests over the limit update nothing.
 */
export function createHeartbeatQuotas(batchDb: Kysely<Tables>, maxLockWaitMs: number) {
  const submit = batch(async (items: Item[]) => allocate(items, await count(items)))

  async function count(items: Item[]): Promise<Map<string, Row>> {
    const counts = new Map<string, Item & { n: number }>()
    for (const item of items) {
      const counted = counts.get(nameOf(item))
      if (counted) counted.n++
      else counts.set(nameOf(item), { ...item, n: 1 })
    }
    const urls = [...counts.values()]
    const [row] = await selectAndCount(batchDb, [
      urls.map(({ tag }) => tag),
      urls.map(({ digest }) => digest),
      urls.map(({ n }) => n),
    ])
    if (!row) throw new Error('A query without FROM has one row')
    return new Map(row.urls.map((url) => [nameOf(url), url]))
  }

  /** Returns undefined if there is no such URL. @throws ApiError 503 if its row stays locked */
  return async (tag: string, secret: string): Promise<HeartbeatQuota | undefined> => {
    const item = { tag, digest: digest(secret) }
    const result = await retryWhileLocked(
      () => submit(item),
      maxLockWaitMs,
      (result) => result === 'locked',
    )
    if (result === 'locked') throw rowLocked()
    return result
  }
}

function nameOf({ tag, digest }: Item): string {
  return `${tag} ${digest}`
}

type Row = Item & { granted: number; is_locked: boolean; seconds_left: number }

/** Allocates the granted requests to the items in their order. */
function allocate(items: Item[], rows: Map<string, Row>): (HeartbeatQuota | 'locked' | undefined)[] {
  return items.map((item) => {
    const row = rows.get(nameOf(item))
    if (!row) return undefined
    if (row.is_locked) return 'locked'
    return { isAllowed: row.granted-- > 0, secondsLeft: row.seconds_left }
  })
}

const max = sql.lit(maxHeartbeats)
const isExhausted = sql`(${isThisWindow} and counter.used >= ${max})`
const usedBefore = sql`case when ${isThisWindow} then counter.used else 0 end`

/**
 * $1: tags of monitors, $2: digests of secrets, $3: number of requests to count for each of these URLs. A deposed primary
 * does not know the URLs that its successor has created, and cannot answer that they do not exist.
 */
const selectAndCount = precompiled(sql<{ urls: Row[] }>`
  with item as (
    select tag, digest, n from unnest($1::text[], $2::text[], $3::integer[]) as item (tag, digest, n)
  ), found as (
    select monitor_id, item.tag, digest, n, minute, ${isExhausted} as is_exhausted
    from item join heartbeats as counter on secret_digest = digest
    join monitors on id = monitor_id and monitors.tag = item.tag
  ), unlocked as (
    select monitor_id from heartbeats
    where monitor_id = any(array(select monitor_id from found where not is_exhausted))
    for no key update skip locked
  ), counted as (
    update heartbeats as counter set
      minute = case when ${isThisWindow} then counter.minute else ${thisMinute} end,
      used = least(${usedBefore} + n, ${max}),
      granted = least(n, ${max} - ${usedBefore})
    from unlocked join found using (monitor_id)
    where counter.monitor_id = unlocked.monitor_id and secret_digest = digest and not ${isExhausted}
    returning counter.monitor_id, counter.minute, granted
  ), url as (
    select tag, digest, coalesce(granted, 0) as granted, granted is null and not is_exhausted as is_locked,
      greatest(1, ceil((coalesce(counted.minute, found.minute) + 1) * 60 - extract(epoch from now())))::integer as seconds_left
    from found left join counted using (monitor_id)
  )
  select coalesce((select json_agg(url) from url), '[]') as urls where ${isStillPrimary}`)
