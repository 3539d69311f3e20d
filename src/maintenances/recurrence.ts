import { RRuleTemporal } from 'rrule-temporal'
import { maxTime } from '../wire/time.ts'
import { once, reject, type Schedule } from './schedule.ts'

/**
 * Evaluates rules. Some take seconds, so that this runs in a worker thread only: see ./evaluation.ts.
 */

/** Events are planned 7 days ahead, and at most 200 at a time. */
const horizonMs = 7 * 86_400_000
const maxPlanned = 200

/**
 * Periods of each frequency in which the first occurrence must be. A leap day may be 8 years away, and a leap day on a
 * Monday 40 years. The bounds keep the search for a rule that never occurs to a few milliseconds.
 */
const maxSearched = { YEARLY: 100, MONTHLY: 500, WEEKLY: 1_000, DAILY: 3_000, HOURLY: 1_000 }

/** Iterations for a range: enough for one year and one week of hours, the longest range that planning needs. */
const maxListed = 10_000

/** @throws ApiError 400 if the schedule never occurs, or its last occurrence takes too long to find */
export function assertOccurs(schedule: Schedule): void {
  if (schedule.rrule === once) return

  if (!nextAfter(schedule, new Date(schedule.starts_at.getTime() - 1))) {
    reject('must occur at least once from starts_at on; this rule never does, or only after many years')
  }
  // The library counts from the first occurrence, so the last one must be within the search, too.
  if (/COUNT=/.test(schedule.rrule) && nextAfter(schedule, maxTime) !== null) {
    reject('must reach its last occurrence sooner: use a lower COUNT, or UNTIL')
  }
}

/** Lists the occurrences in [from, to], at most one year apart. If there are more than `max`, returns the latest. */
export function occurrences(schedule: Schedule, from: Date, to: Date, max: number): Date[] {
  const found = search(() => toRule(schedule, maxListed).between(from, to, true)) ?? []
  return found
    .slice(-max)
    .map(({ epochMilliseconds }) => new Date(epochMilliseconds))
    .filter((occurrence) => endOf(schedule, occurrence) <= maxTime)
}

/** New events of a maintenance. */
export type Plan = {
  occurrences: Date[]
  /** Up to when events are planned; null if the rule has no further occurrence. */
  until: Date | null
}

/**
 * Plans the events of a maintenance: every occurrence that is ongoing or starts within 7 days, and at least one that has
 * not started. A schedule that occurs once always has its event, even in the past, as a record.
 */
export function planEvents(schedule: Schedule, now: Date): Plan {
  if (schedule.rrule === once) return { occurrences: [schedule.starts_at], until: null }
  const horizon = new Date(now.getTime() + horizonMs)
  const ended = now.getTime() - schedule.duration_seconds * 1000
  const near = occurrences(schedule, new Date(Math.max(ended + 1, 0)), horizon, maxPlanned)
  const far = near.some((occurrence) => occurrence > now) ? undefined : nextAfter(schedule, horizon)
  const planned = far ?? horizon
  return {
    occurrences: [...near, ...(far ? [far] : [])],
    until: nextAfter(schedule, planned) === null ? null : planned,
  }
}

/** Lists the next occurrences that start now or later, at most `count`. */
export function nextOccurrences(schedule: Schedule, now: Date, count: number): Date[] {
  const found: Date[] = []
  for (let last = new Date(now.getTime() - 1); found.length < count;) {
    const next = nextAfter(schedule, last)
    if (!next) break
    found.push(next)
    last = next
  }
  return found
}

function endOf({ duration_seconds }: Schedule, occurrence: Date): Date {
  return new Date(occurrence.getTime() + duration_seconds * 1000)
}

/** @returns null if the rule has no further occurrence, undefined if none is within the search. */
function nextAfter(schedule: Schedule, time: Date): Date | null | undefined {
  const [, frequency] = /FREQ=(\w+)/.exec(schedule.rrule) ?? []
  const found = search(() => toRule(schedule, maxSearched[frequency as 'DAILY']).next(time))
  if (!found) return found
  const next = new Date(found.epochMilliseconds)
  return endOf(schedule, next) > maxTime ? null : next
}

/** Runs a search of the library. @returns undefined if it exceeds the maximum of iterations. */
function search<Found>(run: () => Found): Found | undefined {
  try {
    return run()
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('Maximum ')) return undefined
    throw error
  }
}

/** @throws ApiError 400 if parts of the rule contradict each other */
function toRule({ starts_at, rrule }: Schedule, maxIterations: number): RRuleTemporal {
  const rule = rrule.replace(/(?<=UNTIL=)\d{8}(?!T)/, '$&T235959Z')
  const options = { strict: true, cache: false, maxIterations }
  try {
    return new RRuleTemporal({ rruleString: `DTSTART:${toCompact(starts_at)}\nRRULE:${rule}`, ...options })
  } catch (error) {
    return reject(`is not valid: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** Formats a time as 20270131T120000Z. */
function toCompact(time: Date): string {
  return time.toISOString().replace(/-|:|\.\d+/g, '')
}
