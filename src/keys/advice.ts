import { type Kysely, sql } from 'kysely'
import type { PermissionColumn, Tables } from '../database/schema.ts'
import { type Permission, permissions } from '../permissions.ts'
import { formatCursor, paginate, parseCursor } from '../wire/pagination.ts'
import { formatTime } from '../wire/time.ts'
import { type ExpiryLimits, soonDays } from './expiry.ts'
import type { KeyChanges } from './repository.ts'
import { permissionColumns, today } from './usage.ts'

/** In the order in which the findings of a key are listed. */
export const adviceCodes = [
  'unused_permission',
  'never_expires',
  'expires_soon',
  'idle',
  'rotated_but_used',
] as const
export type AdviceCode = (typeof adviceCodes)[number]

/** A key, or a permission, that no request has used for so many days is reported. */
const unusedDays = 90

/** The proposed lifetime of a key, in days, unless the limits are lower. */
const proposedDays = 365

export type Finding = {
  key_id: string
  key_name: string
  code: AdviceCode
  message: string
  /** Since when this is the case. Null: for an expiry. */
  since: Date | null
  fix: Fix | null
}

/** The change that resolves a finding. */
export type Fix = { action: 'update'; changes: KeyChanges } | { action: 'revoke' }

export type Caller = ExpiryLimits & {
  /** The key that asks, which no fix revokes, or deprives of the permission `admin`. */
  callerId: string
}

type Row = {
  seq: string
  /** Position of the code in adviceCodes, from 1. bigint, which pg returns as a string. */
  rank: string
  id: string
  name: string
  permissions: Permission[]
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
  rotated_to: string | null
  rotated_at: Date | null
  /** Since when all its permissions were observed. */
  observed_since: Date
  now: Date
} & Record<PermissionColumn, number | null>

/**
 * Most keys that one page examines, so that the work for a page is bounded. A page may have fewer findings than its limit,
 * or none, although others follow.
 */
const maxExamined = 5_000

type AdviceQuery = {
  cursor?: string | undefined
  limit: number
  /** Only findings with these codes. */
  codes?: readonly AdviceCode[]
}

/** Returns a page of findings about active keys, newest keys first. @throws ApiError 400 for an invalid cursor */
export async function listAdvice(
  db: Kysely<Tables>,
  caller: Caller,
  { cursor, limit, codes = adviceCodes }: AdviceQuery,
) {
  const list = 'keys/advice'
  const [seq = null, rank = null] =
    cursor === undefined ? [] : parseCursor(cursor, list, /^\d{1,18}:\d$/).split(':')
  const keys = sql`
    select * from api_keys where seq <= coalesce(${seq}::bigint, ${maxSeq}) order by seq desc limit ${sql.lit(maxExamined)}`
  const after = sql<boolean>`(seq, -rank) < (coalesce(${seq}::bigint, ${maxSeq}), -coalesce(${rank}::integer, 0))`
  const ranks = codes.map((code) => adviceCodes.indexOf(code) + 1)
  const { rows } = await sql<{ examined: number; last_seq: string } & (Row | { id: null })>`
    with examined as materialized (${keys}), findings as (
      select * from (${findingsOf('examined', caller)}) as finding where ${after} and rank = any(${ranks}::integer[])
      order by seq desc, rank limit ${limit + 1}::integer
    )
    select findings.*, examined, last_seq
    from (select count(*)::integer as examined, min(seq) as last_seq from examined) as page left join findings on true
    order by seq desc, rank`.execute(db)
  const found = rows.filter((row): row is (typeof rows)[number] & Row => row.id !== null)
  const { data, pagination } = paginate(found, limit, list, ({ seq, rank }) => `${seq}:${rank}`)
  const [page] = rows
  const isEnd = pagination.next_cursor !== null || !page || page.examined < maxExamined
  return {
    data: data.map((row) => toFinding(row, caller)),
    pagination: isEnd
      ? pagination
      : { next_cursor: formatCursor(list, `${page.last_seq}:${adviceCodes.length}`) },
  }
}

/** Returns the findings about one key. */
export async function adviseKey(db: Kysely<Tables>, caller: Caller, id: string): Promise<Finding[]> {
  const { rows } = await sql<Row>`
    with key as (select * from api_keys where id = ${id})
    select * from (${findingsOf('key', caller)}) as finding order by rank`.execute(db)
  return rows.map((row) => toFinding(row, caller))
}

const maxSeq = sql`9223372036854775807`

const days = (count: number) => sql`make_interval(days => ${sql.lit(count)})`

/** The permissions that requests of the last days needed. */
const usedPermissions = sql`
  array_remove(array[${sql.join(
    permissions.map(
      (permission) =>
        sql`case when ${sql.ref(`last.${permissionColumns[permission]}`)} >= ${today} - ${sql.lit(unusedDays)}
          then ${sql.lit(permission)} end`,
    ),
  )}], null)`

/** Usage is recorded since this migration. */
const recordedSince = sql<Date>`
  (select applied_at from kener_api_migrations where name = '2026-11-26-zz-key-usage')`

/**
 * Selects the findings about the active keys of a subquery, one row each.
 *
 * Permissions are only reported if usage has been recorded, and the key has had them, for the whole time; and not for an
 * idle key, which should be revoked instead. The calling key uses `admin` right now.
 */
function findingsOf(keys: string, { callerId }: Caller) {
  const key = (column: string) => sql.ref(`${keys}.${column}`)
  const isCaller = sql`${key('id')} = ${callerId}`
  const observedSince = sql`
    greatest(coalesce(${key('permissions_since')}, ${key('created_at')}), ${recordedSince})`
  const isIdle = sql`
    (coalesce(${key('last_used_at')}, ${key('created_at')}) < now() - ${days(unusedDays)} and not ${isCaller})`
  const used = sql`
    (${usedPermissions} || case when ${isCaller} then array['admin'] else '{}' end)`
  const conditions = {
    unused_permission: sql`
      not ${isIdle} and ${observedSince} < now() - ${days(unusedDays)} and not ${key('permissions')} <@ ${used}`,
    never_expires: sql`${key('expires_at')} is null`,
    // A rotated key is meant to expire.
    expires_soon: sql`${key('expires_at')} < now() + ${days(soonDays)} and ${key('rotated_to')} is null`,
    idle: isIdle,
    rotated_but_used: sql`${key('last_used_at')} > successor.created_at`,
  } satisfies Record<AdviceCode, unknown>
  return sql<Row>`
    select ${key('seq')}, rank, ${sql.join(
      ['id', 'name', 'permissions', 'created_at', 'expires_at', 'last_used_at', 'rotated_to'].map(key),
    )}, successor.created_at as rotated_at, ${observedSince} as observed_since, now() as now,
      ${sql.join(Object.values(permissionColumns).map((column) => sql.ref(`last.${column}`)))}
    from ${sql.table(keys)}
      left join key_last_uses as last on last.key_id = ${key('id')}
      left join api_keys as successor on successor.id = ${key('rotated_to')}
      cross join lateral unnest(array[${sql.join(adviceCodes.map((code) => conditions[code]))}])
        with ordinality as condition (holds, rank)
    where ${key('revoked_at')} is null and coalesce(${key('expires_at')} > now(), true) and holds`
}

function toFinding(row: Row, caller: Caller): Finding {
  const code = adviceCodes[Number(row.rank) - 1]
  if (code === undefined) throw new Error(`There is no advice ${row.rank}`)
  return { key_id: row.id, key_name: row.name, code, since: null, ...describers[code](row, caller) }
}

type Description = Pick<Finding, 'message' | 'fix'> & Partial<Pick<Finding, 'since'>>

const describers: Record<AdviceCode, (row: Row, caller: Caller) => Description> = {
  unused_permission: describeUnused,
  never_expires: (row, caller) => ({
    message: 'The key never expires, and neither does a copy of it: set an expiry',
    fix: setExpiry(row, caller),
  }),
  expires_soon: (row, caller) => ({
    message: `The key expires at ${formatTime(row.expires_at ?? row.now)}: rotate it, or set a later expiry`,
    fix: setExpiry(row, caller),
  }),
  idle: ({ last_used_at, created_at }) => ({
    message:
      last_used_at === null
        ? `The key was created at ${formatTime(created_at)} and never used: revoke it if it is not needed`
        : `The key was last used at ${formatTime(last_used_at)}: revoke it if it is no longer needed`,
    since: last_used_at ?? created_at,
    fix: { action: 'revoke' },
  }),
  rotated_but_used: ({ id, rotated_to, rotated_at, expires_at }, { callerId }) => ({
    message:
      `The key was used after ${rotated_to} replaced it: give the new key to its client, and revoke this one` +
      (expires_at ? `, which expires at ${formatTime(expires_at)}` : ''),
    since: rotated_at,
    fix: id === callerId ? null : { action: 'revoke' },
  }),
}

function describeUnused(row: Row, { callerId }: Caller): Description {
  const lastDay = (permission: Permission) => row[permissionColumns[permission]]
  const firstDay = Math.floor(row.now.getTime() / dayMs) - unusedDays
  const used = permissions.filter(
    (permission) => (lastDay(permission) ?? 0) >= firstDay || (permission === 'admin' && row.id === callerId),
  )
  const unused = row.permissions.filter((permission) => !used.includes(permission))
  // A key with `admin` may have used permissions that it does not list.
  const needed = unused.includes('admin')
    ? used
    : used.filter((permission) => row.permissions.includes(permission))
  const lastUses = unused.map((permission) => new Date(((lastDay(permission) ?? 0) + 1) * dayMs))
  const hint = unused.includes('admin') && needed.length > 0 ? `: it needed only ${needed.join(', ')}` : ''
  return {
    message: `No request of this key needed ${unused.join(', ')} for ${unusedDays} days${hint}`,
    since: [row.observed_since, ...lastUses].reduce((latest, time) => (time > latest ? time : latest)),
    fix: needed.length > 0 ? { action: 'update', changes: { permissions: needed } } : null,
  }
}

const dayMs = 86_400_000

/** Returns null if the limits do not allow an expiry that would resolve the finding. */
function setExpiry({ now, expires_at }: Row, { callerExpiresAt, lifetimeMaxDays }: Caller): Fix | null {
  const lifetimeMs = Math.min(proposedDays, lifetimeMaxDays ?? Infinity) * dayMs
  const expiry = Math.min(now.getTime() + lifetimeMs, callerExpiresAt?.getTime() ?? Infinity)
  const isLater = expiry > now.getTime() + (soonDays + 1) * dayMs && expiry > (expires_at?.getTime() ?? 0)
  return isLater
    ? { action: 'update', changes: { expires_at: new Date(Math.floor(expiry / 1000) * 1000) } }
    : null
}
