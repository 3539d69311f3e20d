import { Type } from 'typebox'
import { invalidCursor, rangeReversed } from '../errors.ts'
import { parseValidTime } from './time.ts'

/** The query parameters of every list. */
export const pageQuery = {
  limit: Type.Integer({
    minimum: 1,
    maximum: 100,
    default: 50,
    description: 'Maximum number of items on the page, 1 to 100.',
  }),
  cursor: Type.Optional(
    Type.String({
      maxLength: 1_000,
      description: 'Value of `next_cursor` of the previous page, unchanged. Omit it for the first page.',
    }),
  ),
}

/**
 * Makes a page from up to `limit + 1` rows: an additional row means that there is a next page.
 * @param cursorOf returns the values of the last row by which the list is ordered
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
 * Decodes a cursor.
 * @param pattern rejects cursors that the list did not issue
 * @throws ApiError 400
 */
export function parseCursorText(cursor: string, pattern: RegExp): string {
  const text = Buffer.from(cursor, 'base64url').toString()
  if (!pattern.test(text)) throw invalidCursor()
  return text
}

/** @throws ApiError 400 if `to` is before `from` */
export function assertRangeOrder({ from, to }: { from?: string | undefined; to?: string | undefined }): void {
  if (from === undefined || to === undefined || parseValidTime(from) <= parseValidTime(to)) return
  throw rangeReversed()
}

/** Encodes a position in a list that is ordered by time, then by id. */
export function encodeCursor(at: Date, id: number): string {
  return `${at.getTime() / 1000}:${id}`
}

/** @throws ApiError 400 */
export function decodeCursor(cursor: string | undefined): { at: Date; id: number } | undefined {
  if (cursor === undefined) return undefined
  const [seconds, id] = parseCursorText(cursor, /^\d{1,12}:\d{1,9}$/).split(':')
  return { at: new Date(Number(seconds) * 1000), id: Number(id) }
}
