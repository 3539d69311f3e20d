import { Type } from 'typebox'
import { invalidCursor, rangeReversed } from '../errors.ts'
import { maxPageLength } from '../limits.ts'
import { parseValidTime } from './time.ts'
import { maxId } from './validator.ts'

/** The query parameters of every list. */
export const pageQuery = {
  limit: Type.Integer({
    minimum: 1,
    maximum: maxPageLength,
    default: 50,
    description: `Maximum number of items on the page, 1 to ${maxPageLength}.`,
  }),
  cursor: Type.Optional(
    Type.String({
      maxLength: 1_000,
      description:
        'Value of `next_cursor` of the previous page of this list, unchanged. Omit it for the first page.',
    }),
  ),
}

/**
 * Makes a page from up to `limit + 1` rows: an additional row means that there is a next page.
 * @param list identifies the list, so that its cursors are rejected elsewhere: its path and what else determines the order
 * of its rows. Not its filters, because a client may compute one anew for each page, such as a start of "a day ago".
 * @param positionOf returns the values of the last row by which the list is ordered
 */
export function paginate<Row>(rows: Row[], limit: number, list: string, positionOf: (last: Row) => string) {
  const data = rows.slice(0, limit)
  const last = data.at(-1)
  const hasMore = rows.length > limit && last !== undefined
  return {
    data,
    pagination: {
      next_cursor: hasMore ? formatCursor(list, positionOf(last)) : null,
    },
  }
}

/** Makes the JSON of a page as paginate does, from the JSON texts of its items. */
export function paginateTexts(
  ...[texts, limit, list, positionOf]: Parameters<typeof paginate<string>>
): string {
  const { data, pagination } = paginate(texts, limit, list, positionOf)
  return `{"success":true,"data":[${data.join(',')}],"pagination":${JSON.stringify(pagination)}}`
}

/** @param list as in paginate */
export function formatCursor(list: string, position: string): string {
  return Buffer.from(`${list} ${position}`).toString('base64url')
}

/**
 * Returns the position in the list.
 * @param list as in paginate
 * @throws ApiError 400 if another list issued the cursor, or none
 */
export function parseCursor(cursor: string, list: string, pattern: RegExp): string {
  const [issuer, position = ''] = Buffer.from(cursor, 'base64url').toString().split(' ')
  if (issuer !== list || !pattern.test(position)) throw invalidCursor()
  return position
}

/** @throws ApiError 400 if `to` is before `from` */
export function assertRangeOrder({ from, to }: { from?: string | undefined; to?: string | undefined }): void {
  if (from === undefined || to === undefined || parseValidTime(from) <= parseValidTime(to)) return
  throw rangeReversed()
}

/**
 * Returns the response with a page of a list that is ordered by time, then by id.
 * @param list identifies the list, as in paginate
 * @param read returns up to `limit` rows after the cursor
 * @param timeOf returns the time by which the list is ordered
 * @throws ApiError 400 for an invalid cursor
 */
export async function pageByTime<Row extends { id: number }, Item>(
  query: { cursor?: string | undefined; limit: number },
  list: string,
  read: (page: { cursor: Position | undefined; limit: number }) => Promise<Row[]>,
  timeOf: (row: Row) => Date,
  serialize: (row: Row) => Item,
) {
  const { cursor, limit } = query
  const rows = await read({ cursor: parseTimeCursor(cursor, list), limit: limit + 1 })
  const { data, pagination } = paginate(rows, limit, list, (last) =>
    formatPosition({ at: timeOf(last), id: last.id }),
  )
  return { success: true as const, data: data.map(serialize), pagination }
}

/** Time and id of the last row of the previous page. */
type Position = { at: Date; id: number }

/**
 * Returns the position in a list that is ordered by time, then by id.
 * @param list as in paginate
 * @throws ApiError 400
 */
export function parseTimeCursor(cursor: string | undefined, list: string): Position | undefined {
  return cursor === undefined ? undefined : parsePosition(parseCursor(cursor, list, /^\d{1,12}:\d{1,10}$/))
}

export function formatPosition({ at, id }: Position): string {
  return `${at.getTime() / 1000}:${id}`
}

/** @throws ApiError 400 if the id is not one of a row */
function parsePosition(text: string): Position {
  const [seconds, id] = text.split(':').map(Number) as [number, number]
  // The database rejects other ids with an error.
  if (id > maxId) throw invalidCursor()
  return { at: new Date(seconds * 1000), id }
}
