import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { permissions } from '../permissions.ts'
import { formatCursor, paginate, parseCursor } from '../wire/pagination.ts'
import { soonDays } from './expiry.ts'
import {
  type AdviceCode,
  adviceCodes,
  type Caller,
  type Finding,
  type FindingRow,
  toFinding,
  unusedDays,
} from './findings.ts'
import { permissionColumns, today } from './usage-columns.ts'

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
  const { rows } = await sql<{ examined: number; last_seq: string } & (FindingRow | { id: null })>`
    with examined as materialized (${keys}), findings as (
      select * from (${findingsOf('examined', caller)}) as finding where ${after} and rank = any(${ranks}::integer[])
      order by seq desc, rank limit ${limit + 1}::integer
    )
    select findings.*, examined, last_seq
    from (select count(*)::integer as examined, min(seq) as last_seq from examined) as page left join findings on true
    order by seq desc, rank`.execute(db)
  const found = rows.filter((row): row is (typeof rows)[number] & FindingRow => row.id !== null)
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
  const { rows } = await sql<FindingRow>`
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
  return sql<FindingRow>`
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
