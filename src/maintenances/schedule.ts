import { RRuleTemporal } from 'rrule-temporal'
import { maxTime, parseTime } from '../wire/time.ts'

/** When a maintenance takes place: each time that the rule gives, counted from `startsAt`, for so long. */
export type Schedule = {
  startsAt: Date
  /** The value of an RRULE (RFC 5545, section 3.3.10), in UTC. */
  rrule: string
  durationSeconds: number
}

/** The rule of what happens once, as Kener says it. */
export const once = 'FREQ=MINUTELY;COUNT=1'

/** A year. Occurrences may overlap, but only so many. */
export const maxDurationSeconds = 31_536_000

/** How far ahead occurrences are planned, and how many at a time. */
const horizonMs = 7 * 86_400_000
const maxPlanned = 200

/**
 * How many years, months and so on are looked at for one in which the rule gives a time: leap days may be 8 years apart,
 * those that are Mondays 40. A rule that gives none costs some milliseconds, and is found out.
 */
const maxSearched = { YEARLY: 100, MONTHLY: 500, WEEKLY: 1_000, DAILY: 3_000, HOURLY: 1_000 }
/** A year of hours, and a week: all that a look at a stretch of time can meet. */
const maxListed = 10_000

const maxInterval = 1_000

/** They are counted anew each time, from the first. */
const maxCount = 100

/** Tells which field of a schedule cannot be, and why, in words that follow its name. */
export class InvalidSchedule extends Error {
  readonly field: 'rrule' | 'duration_seconds'

  constructor(field: InvalidSchedule['field'], message: string) {
    super(message)
    this.field = field
  }
}

/**
 * Holds a schedule against what we take. The library takes more: unknown names, hours past 23, rules that never match.
 * @throws InvalidSchedule
 */
export function parseSchedule(schedule: Schedule): Schedule {
  const { startsAt, rrule, durationSeconds } = schedule
  if (startsAt.getTime() + durationSeconds * 1000 > maxTime.getTime()) {
    throw new InvalidSchedule('duration_seconds', 'must not reach past the year 9999')
  }
  if (rrule === once) return schedule
  const parts = parseParts(rrule)
  assertNotTooFrequent(parts)
  assertNotCostly(parts)
  assertSupported(parts)
  if (parts.has('COUNT') && parts.has('UNTIL')) reject('must not have both COUNT and UNTIL')
  assertOccurs(schedule, parts.has('COUNT'))
  return schedule
}

/** From `from` to `to`, both included; if there are more than `max`, the latest. A year between the two at most. */
export function occurrences(schedule: Schedule, from: Date, to: Date, max: number): Date[] {
  const found = search(() => toRule(schedule, maxListed).between(from, to, true)) ?? []
  return found
    .slice(-max)
    .map(({ epochMilliseconds }) => new Date(epochMilliseconds))
    .filter((occurrence) => endOf(schedule, occurrence) <= maxTime)
}

/**
 * For which occurrences a maintenance is to be given events: for all that are under way or begin within a week, and for
 * one that has not begun in any case. What happens once always has its event; in the past it is a record.
 * @param until up to where it has been given them.
 * @returns `until` as it is then; null when the rule gives no more.
 */
export function planEvents(
  schedule: Schedule,
  until: Date | null,
  now: Date,
): { occurrences: Date[]; until: Date | null } {
  if (schedule.rrule === once) return { occurrences: [schedule.startsAt], until: null }
  const horizon = new Date(now.getTime() + horizonMs)
  const ended = now.getTime() - schedule.durationSeconds * 1000
  const near = occurrences(schedule, new Date(Math.max(ended + 1, 0)), horizon, maxPlanned)
  const far = near.some((occurrence) => occurrence > now) ? undefined : nextAfter(schedule, horizon)
  const planned = far ?? horizon
  return {
    occurrences: [...near, ...(far ? [far] : [])].filter((occurrence) => !until || occurrence > until),
    until: nextAfter(schedule, planned) === null ? null : planned,
  }
}

function endOf({ durationSeconds }: Schedule, occurrence: Date): Date {
  return new Date(occurrence.getTime() + durationSeconds * 1000)
}

type Parts = Map<string, string[]>

/** @throws InvalidSchedule */
function parseParts(rrule: string): Parts {
  if (rrule.length > 255) reject('must not have more than 255 characters')
  const parts: Parts = new Map()
  for (const part of rrule.split(';')) {
    const [, name = '', list = ''] = /^([A-Z]+)=([A-Z\d,+-]+)$/.exec(part) ?? []
    const known = knownParts.get(name)
    if (!known) reject(`must be a list like FREQ=WEEKLY;BYDAY=SU of ${[...knownParts.keys()].join(', ')}`)
    const [isValid, words, most = 1] = known
    if (parts.has(name)) reject(`must not have ${name} twice`)
    const values = list.split(',')
    if (values.length > most || !values.every(isValid)) reject(`must have ${words} for ${name}`)
    parts.set(name, values)
  }
  if (!parts.has('FREQ')) reject('must have FREQ')
  return parts
}

const frequencies = [...Object.keys(maxSearched), 'MINUTELY', 'SECONDLY']
const days = ['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU']

const isOneOf = (values: string[]) => (text: string) => values.includes(text)
const isWithin = (min: number, max: number) => (text: string) =>
  /^\d{1,4}$/.test(text) && Number(text) >= min && Number(text) <= max
/** Counted from the start, or with a minus from the end. */
const isOrdinal = (max: number) => (text: string) => isWithin(1, max)(text.replace(/^[+-]/, ''))

/** By name: what a value may be, in code and in words, and how many there may be in a list. */
const knownParts = new Map<string, [isValid: (value: string) => boolean, words: string, most?: number]>([
  ['FREQ', [isOneOf(frequencies), 'YEARLY, MONTHLY, WEEKLY, DAILY or HOURLY']],
  ['INTERVAL', [isWithin(1, maxInterval), `1 to ${maxInterval}`]],
  ['COUNT', [isWithin(1, maxCount), `1 to ${maxCount}`]],
  ['UNTIL', [(text) => readUntil(text) !== undefined, 'a day like 20270131 or a time like 20270131T120000Z']],
  ['BYMONTH', [isWithin(1, 12), 'months from 1 to 12', 12]],
  ['BYMONTHDAY', [isOrdinal(31), 'days from 1 to 31 or -31 to -1', 62]],
  ['BYYEARDAY', [isOrdinal(366), 'days from 1 to 366 or -366 to -1', 62]],
  ['BYWEEKNO', [isOrdinal(53), 'weeks from 1 to 53 or -53 to -1', 53]],
  ['BYDAY', [isWeekday, 'days like MO, 1MO or -1MO', 62]],
  ['BYHOUR', [isWithin(0, 23), 'hours from 0 to 23', 24]],
  ['BYMINUTE', [isWithin(0, 59), 'one minute from 0 to 59']],
  ['BYSETPOS', [isOrdinal(366), 'places from 1 to 366 or -366 to -1', 62]],
  ['WKST', [isOneOf(days), 'a day like MO']],
])

function isWeekday(text: string): boolean {
  const ordinal = text.slice(0, -2)
  return days.includes(text.slice(-2)) && (ordinal === '' || isOrdinal(53)(ordinal))
}

/** What a text for UNTIL stands for; a day is one to its end. */
function readUntil(text: string): Date | undefined {
  const [, year, month, day, hour = '23', minute = '59', second = '59'] =
    /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)Z)?$/.exec(text) ?? []
  return parseTime(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

/** @throws InvalidSchedule */
function assertNotTooFrequent(parts: Parts): void {
  const [frequency = ''] = parts.get('FREQ') ?? []
  if (['MINUTELY', 'SECONDLY'].includes(frequency)) {
    reject(`must not be more often than hourly; ${once}, with nothing else, is for what happens once`)
  }
}

/**
 * What the library takes long to find that there is nothing of: half a second, and more.
 * @throws InvalidSchedule
 */
function assertNotCostly(parts: Parts): void {
  const [frequency = ''] = parts.get('FREQ') ?? []
  if (parts.has('BYSETPOS')) {
    if (!['YEARLY', 'MONTHLY'].includes(frequency)) reject('must have BYSETPOS with YEARLY or MONTHLY alone')
    if ((parts.get('BYHOUR')?.length ?? 0) > 1) reject('must have one hour for BYHOUR together with BYSETPOS')
  }
}

/**
 * What the library gives wrong days for.
 * @throws InvalidSchedule
 */
function assertSupported(parts: Parts): void {
  const others = ['BYMONTH', 'BYMONTHDAY', 'BYWEEKNO', 'BYDAY'].filter((name) => parts.has(name))
  if (parts.has('BYYEARDAY') && others.length > 0)
    reject(`must not have ${others.join(', ')} together with BYYEARDAY`)
  if (!parts.has('BYWEEKNO')) return
  const days = parts.get('BYDAY') ?? []
  if (days.length === 0 || days.some((day) => day.length > 2) || parts.has('BYMONTHDAY')) {
    reject('must have BYDAY with days like MO, and no BYMONTHDAY, together with BYWEEKNO')
  }
}

/** @throws InvalidSchedule */
function assertOccurs(schedule: Schedule, isCounted: boolean): void {
  if (!nextAfter(schedule, new Date(schedule.startsAt.getTime() - 1))) {
    reject('must give a time, from starts_at on, and within the years that we look at')
  }
  // What is counted is counted from the first: the last, too, has to be within reach.
  if (isCounted && nextAfter(schedule, maxTime) !== null) {
    reject('must not count up to what is so far off: lower COUNT, or use UNTIL')
  }
}

/** @returns null when the rule gives no more, undefined when none is within reach. */
function nextAfter(schedule: Schedule, time: Date): Date | null | undefined {
  const [, frequency] = /FREQ=(\w+)/.exec(schedule.rrule) ?? []
  const found = search(() => toRule(schedule, maxSearched[frequency as 'DAILY']).next(time))
  if (!found) return found
  const next = new Date(found.epochMilliseconds)
  return endOf(schedule, next) > maxTime ? null : next
}

/** Undefined when it takes too long. */
function search<Found>(look: () => Found): Found | undefined {
  try {
    return look()
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('Maximum ')) return undefined
    throw error
  }
}

/** @throws InvalidSchedule when parts of the rule do not go together. */
function toRule({ startsAt, rrule }: Schedule, maxIterations: number): RRuleTemporal {
  const rule = rrule.replace(/(?<=UNTIL=)\d{8}(?!T)/, '$&T235959Z')
  const options = { strict: true, cache: false, maxIterations }
  try {
    return new RRuleTemporal({ rruleString: `DTSTART:${toCompact(startsAt)}\nRRULE:${rule}`, ...options })
  } catch (error) {
    return reject(`cannot be: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** As in 20270131T120000Z. */
function toCompact(time: Date): string {
  return time.toISOString().replace(/-|:|\.\d+/g, '')
}

function reject(message: string): never {
  throw new InvalidSchedule('rrule', message)
}
