import { once, type Schedule } from '../../maintenances/schedule.ts'
import { formatDateTime, formatDuration } from '../../wire/time-text.ts'

/** How often a maintenance takes place, as selected in a form. The time of the day is that of its start. */
export type RuleForm = {
  repeat: string
  /** Number of days, weeks or months. */
  interval: string
  /** Position of the weekday in the month, or empty for the day of the start. */
  position: string
  weekday: string
  /** Rule that the other fields cannot express. */
  rrule: string
}

export const repeats = [
  ['once', 'Once'],
  ['DAILY', 'Daily'],
  ['WEEKLY', 'Weekly'],
  ['MONTHLY', 'Monthly'],
  ['rule', 'By another rule'],
] as const

export const positions = [
  ['', 'Day of the start'],
  ['1', 'First'],
  ['2', 'Second'],
  ['3', 'Third'],
  ['4', 'Fourth'],
  ['-1', 'Last'],
] as const

export const weekdays = [
  ['MO', 'Monday'],
  ['TU', 'Tuesday'],
  ['WE', 'Wednesday'],
  ['TH', 'Thursday'],
  ['FR', 'Friday'],
  ['SA', 'Saturday'],
  ['SU', 'Sunday'],
] as const

const units = { DAILY: 'day', WEEKLY: 'week', MONTHLY: 'month' } as const

export const emptyRuleForm: RuleForm = {
  repeat: 'once',
  interval: '1',
  position: '',
  weekday: 'SU',
  rrule: '',
}

/** Returns the rule, or undefined if a field has a value that is not in its list. */
export function toRule({ repeat, interval, position, weekday, rrule }: RuleForm): string | undefined {
  if (repeat === 'once') return once
  if (repeat === 'rule') return rrule.replace(/^RRULE:/i, '').toUpperCase()
  const isKnown =
    weekdays.some(([value]) => value === weekday) && positions.some(([value]) => value === position)
  if (!(repeat in units) || !/^\d{1,4}$/.test(interval) || !isKnown) return undefined
  const count = Number(interval) === 1 ? '' : `;INTERVAL=${interval}`
  if (repeat === 'DAILY') return `FREQ=DAILY${count}`
  if (repeat === 'WEEKLY') return `FREQ=WEEKLY${count};BYDAY=${weekday}`
  return `FREQ=MONTHLY${count}${position === '' ? '' : `;BYDAY=${position}${weekday}`}`
}

/** Fills the form from a rule. One that the selects cannot express is shown as it is. */
export function fromRule(rrule: string): RuleForm {
  if (rrule === once) return emptyRuleForm
  const [, repeat = 'rule', interval = '1', position = '', weekday = 'SU'] =
    /^FREQ=(DAILY|WEEKLY|MONTHLY)(?:;INTERVAL=(\d+))?(?:;BYDAY=([1-4]|-1)?([A-Z]{2}))?$/.exec(rrule) ?? []
  const form = { repeat, interval, position, weekday, rrule: '' }
  return toRule(form) === rrule ? form : { ...emptyRuleForm, repeat: 'rule', rrule }
}

/** `Every 2 weeks on Sunday at 02:00 UTC, for 2 h` */
export function describeSchedule({ rrule, starts_at, duration_seconds }: Schedule): string {
  const { repeat } = fromRule(rrule)
  const start = formatDateTime(starts_at)
  const time =
    repeat === 'once'
      ? `, ${start}`
      : repeat === 'rule'
        ? ` from ${start}`
        : ` at ${formatTimeOfDay(starts_at)}`
  return `${describeRule(rrule, starts_at)}${time}, for ${formatDuration(duration_seconds)}`
}

/** True for a rule on a day that some months do not have: RFC 5545, section 3.3.10, skips them. */
export function skipsShortMonths({ rrule, starts_at }: Pick<Schedule, 'rrule' | 'starts_at'>): boolean {
  const { repeat, position } = fromRule(rrule)
  return repeat === 'MONTHLY' && position === '' && starts_at.getUTCDate() > 28
}

function formatTimeOfDay(time: Date): string {
  return `${time.toISOString().slice(11, 16)} UTC`
}

/** `Every 2 weeks on Sunday` */
export function describeRule(rrule: string, start: Date): string {
  const { repeat, interval, position, weekday } = fromRule(rrule)
  if (repeat === 'once') return 'Once'
  if (repeat === 'rule') return `By the rule ${rrule}`
  const unit = units[repeat as keyof typeof units]
  const every = interval === '1' ? `Every ${unit}` : `Every ${interval} ${unit}s`
  const day = nameOf(weekdays, weekday)
  if (repeat === 'DAILY') return every
  if (repeat === 'WEEKLY') return `${every} on ${day}`
  if (position === '') return `${every} on day ${start.getUTCDate()}`
  return `${every} on the ${nameOf(positions, position).toLowerCase()} ${day}`
}

function nameOf(list: readonly (readonly [value: string, name: string])[], value: string): string {
  return list.find(([other]) => other === value)?.[1] ?? value
}
