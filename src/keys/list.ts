import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { invalidCursor } from '../errors.ts'
import { formatCursor, parseCursor } from '../wire/pagination.ts'
import { parseTime } from '../wire/time.ts'
import { soonDays } from './expiry.ts'
import { type ApiKey, keyColumns, matchesText } from './repository.ts'

/** The parts of the list of keys. Keys that expire soon are active, too. */
export const keyViews = ['all', 'active', 'expiring', 'expired', 'revoked'] as const
type KeyView = (typeof keyViews)[number]

export const keyOrders = ['name', 'created', 'last_used', 'expires'] as const
export type KeyOrder = (typeof keyOrders)[number]

const expiry = sql`coalesce(expires_at, 'infinity')`

/** A rotated key is meant to expire. */
const conditionsAt = (now: RawBuilder<Date>): Record<KeyView, RawBuilder<boolean>> => ({
  all: sql`true`,
  active: sql`revoked_at is null and ${expiry} > ${now}`,
  expiring: sql`
    revoked_at is null and rotated_to is null
      and ${expiry} > ${now} and ${expiry} <= ${now} + make_interval(days => ${sql.lit(soonDays)})`,
  expired: sql`revoked_at is null and ${expiry} <= ${now}`,
  revoked: sql`revoked_at is not null`,
})

type Order = {
  /** The value by which keys are ordered, and then by `seq`. Never null, so that a cursor can be compared with it. */
  value: RawBuilder<unknown>
  type: RawBuilder<unknown>
  isValid: (position: string) => boolean
}

const time = {
  type: sql`timestamptz`,
  isValid: (position: string) =>
    /^-?infinity$/.test(position) ||
    parseTime(position.replace(' ', 'T').replace(/\+00$/, 'Z')) !== undefined,
}

const orders: Record<KeyOrder, Order> = {
  name: {
    value: sql`lower(name) collate "C"`,
    type: sql`text`,
    isValid: (position) => !position.includes('\0'),
  },
  created: { value: sql`seq`, type: sql`bigint`, isValid: (position) => /^\d{1,18}$/.test(position) },
  last_used: { value: sql`coalesce(last_used_at, '-infinity')`, ...time },
  expires: { value: expiry, ...time },
}

type KeyListQuery = {
  view: KeyView
  /** As in KeyFilter. */
  text?: string | undefined
  order: KeyOrder
  isDescending: boolean
  /** `previous` or `next` of a page in the same order. */
  cursor?: string | undefined
  limit: number
}

export type KeyList = {
  keys: ApiKey[]
  /** Position of the first key in the list, from 1. Estimated from the previous page, if keys were added since. */
  start: number
  previous: string | null
  next: string | null
}

/**
 * Returns a page of keys. The order by creation is read by index; others read every key (0.1 s with 100,000 keys on a slow
 * core), because only this page would use an index that every change of a key has to update.
 * @throws ApiError 400 for an invalid cursor
 */
export async function listKeysInOrder(
  db: Kysely<Tables>,
  { view, text, order, isDescending, cursor, limit }: KeyListQuery,
): Promise<KeyList> {
  const { value, type } = orders[order]
  const list = `keys/${isDescending ? '-' : ''}${order}`
  const from = cursor === undefined ? undefined : parsePosition(cursor, list, orders[order])
  const isBackward = from?.side === 'before'
  const direction = sql.raw(isDescending === isBackward ? 'asc' : 'desc')
  const comparison = sql.raw(isDescending === isBackward ? '>' : '<')
  const isAfter = from
    ? sql`(${value}, seq) ${comparison} (${from.value}::${type}, ${from.seq}::bigint)`
    : sql`true`
  // The position is only computed for the keys of the page.
  const { rows } = await sql<ApiKey & { position: string }>`
    select ${keyColumns}, (${value})::text as position from (
      select * from api_keys
      where ${conditionsAt(sql`now()`)[view]} and ${isAfter} ${text === undefined ? sql`` : sql`and ${matchesText(text)}`}
      order by ${value} ${direction}, seq ${direction} limit ${limit + 1}::integer
    ) as api_keys order by ${value} ${direction}, seq ${direction}`.execute(db)
  const hasMore = rows.length > limit
  const page = isBackward ? rows.slice(0, limit).reverse() : rows.slice(0, limit)
  const [first, last] = [page[0], page.at(-1)]
  const start = !from ? 1 : isBackward ? (hasMore ? Math.max(1, from.start - page.length) : 1) : from.start
  const toCursor = (side: Side, { position, seq }: { position: string; seq: string }, start: number) =>
    formatCursor(list, [side, start, seq, Buffer.from(position).toString('base64url')].join(':'))
  return {
    keys: page,
    start,
    previous: first && (isBackward ? hasMore : from) ? toCursor('before', first, start) : null,
    next: last && (isBackward || hasMore) ? toCursor('after', last, start + page.length) : null,
  }
}

type Side = 'before' | 'after'

/** @throws ApiError 400 */
function parsePosition(cursor: string, list: string, { isValid }: Order) {
  const [side, start, seq = '', encoded = ''] = parseCursor(
    cursor,
    list,
    /^(before|after):\d{1,9}:\d{1,18}:[\w-]*$/,
  ).split(':')
  const value = Buffer.from(encoded, 'base64url').toString()
  if (!isValid(value)) throw invalidCursor()
  return { side: side as Side, start: Number(start), seq, value }
}

export type KeyViewCounts = Record<KeyView, number>

/** Counts the keys of each view in one scan: 0.06 s with 100,000 keys, 0.1 s with a text. */
export async function countKeysByView(db: Kysely<Tables>, text?: string): Promise<KeyViewCounts> {
  // A subquery is computed once, and not for each key.
  const conditions = conditionsAt(sql`(select now())`)
  const counts = keyViews.map(
    (view) => sql`count(*) filter (where ${conditions[view]})::integer as ${sql.ref(view)}`,
  )
  const where = text === undefined ? sql`` : sql`where ${matchesText(text)}`
  const { rows } = await sql<KeyViewCounts>`select ${sql.join(counts)} from api_keys ${where}`.execute(db)
  const [row] = rows
  if (!row) throw new Error('A count returned no row')
  return row
}
