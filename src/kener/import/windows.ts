import { maxSeconds } from '../schemas/shared.ts'

/** A range of incident starts, in seconds since 1970. Both bounds are inclusive. */
export type Window = { from: number; to: number }

/** Earliest start, in seconds. Kener reads 0 as no bound, so that earlier starts count as this one. */
export const minStart = 1

/** Latest start, in seconds. Later ones are not valid, and count as this one, because integers above 2^53 are inexact. */
export const maxStart = maxSeconds + 1

/** Omits the outermost bounds, so that starts beyond them are listed too. */
export function toQuery({ from, to }: Window): string {
  const bounds = {
    ...(from > minStart && { start_ts: String(from) }),
    ...(to < maxStart && { end_ts: String(to) }),
  }
  const query = new URLSearchParams(bounds).toString()
  return query && `?${query}`
}

/** Returns undefined for a start that is not a number: databases differ in how they compare it with a bound. */
export function parseStart(start: unknown): number | undefined {
  return typeof start === 'number' ? Math.min(Math.max(Math.floor(start), minStart), maxStart) : undefined
}

export function isBeyond({ from, to }: Window, start: number | undefined): boolean {
  return start !== undefined && (start < from || start > to)
}

/**
 * Splits a window in the middle of the listed starts, because the other starts are unknown. Each part is smaller than the
 * window. Returns the later part first, or undefined if the window cannot be split.
 */
export function bisect({ from, to }: Window, starts: (number | undefined)[]): [Window, Window] | undefined {
  let [first, last] = [Infinity, -Infinity]
  for (const start of starts) {
    first = Math.min(first, start ?? Infinity)
    last = Math.max(last, start ?? -Infinity)
  }
  if (first > last || from === to) return undefined
  const middle = first < last ? Math.floor((first + last) / 2) : last === to ? last - 1 : last
  return [
    { from: middle + 1, to },
    { from, to: middle },
  ]
}
