import { invalidField } from '../errors.ts'
import { maxTime, parseTime } from '../wire/time.ts'

/** When a maintenance takes place: at each occurrence of the rule, counted from its start. */
export type Schedule = {
  starts_at: Date
  /** Value of an RRULE (RFC 5545, section 3.3.10), in UTC. */
  rrule: string
  duration_seconds: number
}

/** Rule of a maintenance that occurs once, in Kener's notation. */
export const once = 'FREQ=MINUTELY;COUNT=1'

/** Longest duration: 365 days, in seconds. It bounds how many events of a maintenance can overlap. */
export const maxDurationSeconds = 31_536_000

const maxInterval = 1_000

/** Bounded because the library counts from the first occurrence each time. */
const maxCount = 100

/**
 * Validates a schedule more strictly than the library that evaluates it, which accepts unknown parts and hours above 23.
 * Whether it occurs at all is checked by its evaluation: see ./evaluation.ts. @throws ApiError 400
 */
export function assertValidSchedule(schedule: Schedule): void {
  const { starts_at, rrule, duration_seconds } = schedule
  if (starts_at.getTime() + duration_seconds * 1000 > maxTime.getTime()) {
    throw invalidField('/duration_seconds', 'must not reach past the year 9999')
  }
  if (rrule === once) return
  const parts = parseParts(rrule)
  assertNotTooFrequent(parts)
  assertInexpensive(parts)
  assertSupported(parts)
  if (parts.has('COUNT') && parts.has('UNTIL')) reject('must not have both COUNT and UNTIL')
}

/** Returns whether two schedules have the same occurrences. Their durations may differ. */
export function isSameRecurrence(a: Schedule, b: Schedule): boolean {
  return a.rrule === b.rrule && a.starts_at.getTime() === b.starts_at.getTime()
}

export function isSameSchedule(a: Schedule, b: Schedule): boolean {
  return isSameRecurrence(a, b) && a.duration_seconds === b.duration_seconds
}

/** Values by the name of the part. */
type Parts = Map<string, string[]>

function parseParts(rrule: string): Parts {
  if (rrule.length > 255) reject('must have at most 255 characters')
  const parts: Parts = new Map()
  for (const part of rrule.split(';')) {
    const [, name = '', list = ''] = /^([A-Z]+)=([A-Z\d,+-]+)$/.exec(part) ?? []
    const known = knownParts.get(name)
    if (!known) reject(`must be a list like FREQ=WEEKLY;BYDAY=SU, of ${[...knownParts.keys()].join(', ')}`)
    const [isValid, allowed, maxValues = 1] = known
    if (parts.has(name)) reject(`must not have ${name} twice`)
    const values = list.split(',')
    if (values.length > maxValues || !values.every(isValid)) reject(`must have ${allowed} for ${name}`)
    parts.set(name, values)
  }
  if (!parts.has('FREQ')) reject('must have FREQ')
  return parts
}

const frequencies = ['YEARLY', 'MONTHLY', 'WEEKLY', 'DAILY', 'HOURLY', 'MINUTELY', 'SECONDLY']
const days = ['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU']

const isOneOf = (values: string[]) => (text: string) => values.includes(text)
const isWithin = (min: number, max: number) => (text: string) =>
  /^\d{1,4}$/.test(text) && Number(text) >= min && Number(text) <= max
/** Counts from the start of the period, or with a minus sign from its end. */
const isOrdinal = (max: number) => (text: string) => isWithin(1, max)(text.replace(/^[+-]/, ''))

/** Allowed values of each part, also as text for messages, and how many of them a list may have: 1 by default. */
const knownParts = new Map<
  string,
  [isValid: (value: string) => boolean, allowed: string, maxValues?: number]
>([
  ['FREQ', [isOneOf(frequencies), 'YEARLY, MONTHLY, WEEKLY, DAILY or HOURLY']],
  ['INTERVAL', [isWithin(1, maxInterval), `1 to ${maxInterval}`]],
  ['COUNT', [isWithin(1, maxCount), `1 to ${maxCount}`]],
  [
    'UNTIL',
    [(text) => parseUntil(text) !== undefined, 'a day like 20270131 or a time like 20270131T120000Z'],
  ],
  ['BYMONTH', [isWithin(1, 12), 'months from 1 to 12', 12]],
  ['BYMONTHDAY', [isOrdinal(31), 'days from 1 to 31 or -31 to -1', 62]],
  ['BYYEARDAY', [isOrdinal(366), 'days from 1 to 366 or -366 to -1', 62]],
  ['BYWEEKNO', [isOrdinal(53), 'weeks from 1 to 53 or -53 to -1', 53]],
  ['BYDAY', [isWeekday, 'days like MO, 1MO or -1MO', 62]],
  ['BYHOUR', [isWithin(0, 23), 'hours from 0 to 23', 24]],
  ['BYMINUTE', [isWithin(0, 59), 'one minute from 0 to 59']],
  ['BYSETPOS', [isOrdinal(366), 'positions from 1 to 366 or -366 to -1', 62]],
  ['WKST', [isOneOf(days), 'a day like MO']],
])

function isWeekday(text: string): boolean {
  const ordinal = text.slice(0, -2)
  return days.includes(text.slice(-2)) && (ordinal === '' || isOrdinal(53)(ordinal))
}

/** Parses the value of UNTIL. A date without a time includes the whole day. */
function parseUntil(text: string): Date | undefined {
  const [, year, month, day, hour = '23', minute = '59', second = '59'] =
    /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)Z)?$/.exec(text) ?? []
  return parseTime(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

function assertNotTooFrequent(parts: Parts): void {
  const [frequency = ''] = parts.get('FREQ') ?? []
  if (['MINUTELY', 'SECONDLY'].includes(frequency)) {
    reject(`must not be more frequent than hourly; use exactly ${once} for a maintenance that occurs once`)
  }
}

/** Longest lists together: the product of their lengths. Every hour of every day of the week is 168. */
const maxCombinations = 200

/** As maxCombinations, for rules with BYSETPOS, which requires the whole set of a period. The workdays of every month are 60. */
const maxCombinationsOfSet = 60

/** Rejects rules that are expensive to evaluate, far beyond what is in use. */
function assertInexpensive(parts: Parts): void {
  const hasPositions = parts.has('BYSETPOS')
  const max = hasPositions ? maxCombinationsOfSet : maxCombinations
  const lists = [...parts].filter(([name]) => name.startsWith('BY') && name !== 'BYSETPOS')
  if (lists.reduce((product, [, { length }]) => product * length, 1) > max) {
    reject(
      `must have at most ${max} combinations of the values of its lists${hasPositions ? ' with BYSETPOS' : ''}`,
    )
  }
  if (!hasPositions) return
  if (parts.has('BYWEEKNO')) reject('must not have BYWEEKNO together with BYSETPOS')
  const [frequency = ''] = parts.get('FREQ') ?? []
  if (!['YEARLY', 'MONTHLY'].includes(frequency)) reject('must have BYSETPOS with YEARLY or MONTHLY only')
  if ((parts.get('BYHOUR')?.length ?? 0) > 1) reject('must have one hour for BYHOUR together with BYSETPOS')
}

/** Rejects combinations for which the library returns wrong days. */
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

/** Rejects a rule. @throws ApiError 400 */
export function reject(message: string): never {
  throw invalidField('/rrule', message)
}
