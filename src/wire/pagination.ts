import { Type } from 'typebox'
import { invalidRequest } from '../errors.ts'
import { parseValidTime } from './time.ts'

/** What every list takes in its query. */
export const pageQuery = {
  limit: Type.Integer({ minimum: 1, maximum: 100, default: 50 }),
  cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
}

/**
 * A page out of `limit + 1` rows: the row too many tells that there is a next page.
 * @param cursorOf what the next page starts after: the values the list is ordered by, of its last row.
 */
export function paginate<Row>(rows: Row[], limit: number, cursorOf: (last: Row) => string) {
  const data = rows.slice(0, limit)
  const last = data.at(-1)
  const hasMore = rows.length > limit && last !== undefined
  return {
    data,
    pagination: { next_cursor: hasMore ? Buffer.from(cursorOf(last)).toString('base64url') : null },
  }
}

/**
 * @param pattern what a place looks like, so that a cursor that we never gave out is refused.
 * @throws ApiError 400
 */
export function parseCursorText(cursor: string, pattern: RegExp): string {
  const text = Buffer.from(cursor, 'base64url').toString()
  if (!pattern.test(text)) {
    throw invalidRequest('The cursor is not one of ours: take next_cursor as it came, or leave it out', [
      { path: '/cursor', message: 'must be the next_cursor of the page before' },
    ])
  }
  return text
}

/** A list of what lies in [from, to), where `to` comes first, is asked for by mistake. @throws ApiError 400 */
export function assertRangeOrder({ from, to }: { from?: string | undefined; to?: string | undefined }): void {
  if (from === undefined || to === undefined || parseValidTime(from) <= parseValidTime(to)) return
  throw invalidRequest('Invalid query: /to is before from', [
    { path: '/to', message: 'must not be before from' },
  ])
}

/** The place in a list that is ordered by a time, and by id where times are the same. */
export function encodeCursor(at: Date, id: number): string {
  return `${at.getTime() / 1000}:${id}`
}

/** @throws ApiError 400 */
export function decodeCursor(cursor: string | undefined): { at: Date; id: number } | undefined {
  if (cursor === undefined) return undefined
  const [seconds, id] = parseCursorText(cursor, /^\d{1,12}:\d{1,9}$/).split(':')
  return { at: new Date(Number(seconds) * 1000), id: Number(id) }
}
