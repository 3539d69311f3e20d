import type { FastifyRequest } from 'fastify'
import { maintenanceImpacts } from '../../enums.ts'
import type { ApiError } from '../../errors.ts'
import type { Maintenance, NewMaintenance } from '../../maintenances/repository.ts'
import { maxDurationSeconds } from '../../maintenances/schedule.ts'
import {
  type AffectedForm,
  fillAffected,
  parseAffected,
  readAffected,
  toAffectedFields,
  toAffectedMessage,
} from '../affected-monitors.tsx'
import {
  assertValidFields,
  type FieldErrors,
  parseDateTimeField,
  readLines,
  readText,
  toDateTimeField,
  toFieldErrors,
} from '../form.ts'
import { emptyRuleForm, fromRule, type RuleForm, toRule } from './rule.ts'

/** Longest body of a form with the longest description and the most monitors, percent-encoded. */
export const maintenanceFormLimitBytes = 524_288

/** Values as entered, so that a rejected form is shown again without loss. */
export type MaintenanceForm = RuleForm & {
  title: string
  description: string
  startsAt: string
  duration: string
  durationUnit: string
  /** `on`, or empty. */
  enabled: string
  affected: AffectedForm
}

/** In seconds. */
export const durationUnits = [
  ['60', 'Minutes'],
  ['3600', 'Hours'],
  ['86400', 'Days'],
] as const

export const emptyMaintenanceForm: MaintenanceForm = {
  ...emptyRuleForm,
  title: '',
  description: '',
  startsAt: '',
  duration: '1',
  durationUnit: '3600',
  enabled: 'on',
  affected: fillAffected([]),
}

export function readMaintenanceForm(body: unknown): MaintenanceForm {
  const read = (name: string) => readText(body, name).trim()
  return {
    title: read('title'),
    description: readLines(body, 'description'),
    startsAt: read('starts_at'),
    duration: read('duration'),
    durationUnit: read('duration_unit'),
    enabled: read('enabled'),
    repeat: read('repeat'),
    interval: read('interval'),
    position: read('position'),
    weekday: read('weekday'),
    rrule: read('rrule'),
    affected: readAffected(body),
  }
}

export function fillMaintenanceForm(maintenance: Maintenance): MaintenanceForm {
  const { title, description, starts_at, duration_seconds: seconds, enabled, rrule, monitors } = maintenance
  const [unit] = durationUnits.findLast(([length]) => seconds % Number(length) === 0) ?? durationUnits[0]
  return {
    ...fromRule(rrule),
    title,
    description: description ?? '',
    startsAt: toDateTimeField(starts_at),
    duration: String(seconds / Number(unit)),
    durationUnit: unit,
    enabled: enabled ? 'on' : '',
    affected: fillAffected(monitors),
  }
}

/** The fields of the form, by their names. */
export function toMaintenanceFields(form: MaintenanceForm): Record<string, string> {
  return {
    title: form.title,
    description: form.description,
    starts_at: form.startsAt,
    duration: form.duration,
    duration_unit: form.durationUnit,
    enabled: form.enabled,
    repeat: form.repeat,
    interval: form.interval,
    position: form.position,
    weekday: form.weekday,
    rrule: form.rrule,
    ...toAffectedFields(form.affected),
  }
}

const messages = {
  title: 'Enter a title of 1 to 255 characters',
  description: 'Enter at most 10,000 characters',
  starts_at: 'Enter a day and a time, in UTC',
  duration_seconds: 'Enter 1 minute to 365 days',
  interval: 'Enter a whole number from 1 to 1,000',
  repeat: 'Choose how often it takes place',
  monitors: 'Choose an impact from the list',
}

/**
 * Parses the form of a new or an existing maintenance.
 * @param before a start in the same minute is kept, because the form has no seconds, and so is its duration
 * @throws ApiError 400, 403 if it names a monitor that the key may not use
 */
export function parseMaintenance(
  request: FastifyRequest,
  form: MaintenanceForm,
  before?: Maintenance,
): NewMaintenance {
  const { title, description, enabled } = form
  const monitors = parseAffected(request, form.affected, maintenanceImpacts)
  const isStartKept = before && form.startsAt === toDateTimeField(before.starts_at)
  const starts_at = isStartKept ? before.starts_at : parseDateTimeField(form.startsAt)
  const duration_seconds = parseDuration(form)
  const isDurationValid =
    duration_seconds === before?.duration_seconds ||
    (duration_seconds >= 60 && duration_seconds <= maxDurationSeconds)
  const rrule = toRule(form)
  const hasInterval = !['once', 'rule'].includes(form.repeat)
  const isIntervalValid = !hasInterval || /^([1-9]\d{0,2}|1000)$/.test(form.interval)
  assertValidFields({
    title: title === '' ? messages.title : undefined,
    monitors: monitors ? undefined : messages.monitors,
    starts_at: starts_at ? undefined : messages.starts_at,
    duration_seconds: isDurationValid ? undefined : messages.duration_seconds,
    interval: isIntervalValid ? undefined : messages.interval,
    rrule: isIntervalValid && rrule === undefined ? messages.repeat : undefined,
  })
  if (!starts_at || rrule === undefined || !monitors)
    throw new Error('A form that passed validation is incomplete')
  return {
    title,
    description: description === '' ? null : description,
    starts_at,
    duration_seconds,
    rrule,
    enabled: enabled !== '',
    monitors,
  }
}

/** Returns NaN if it is not a number. */
function parseDuration({ duration, durationUnit }: MaintenanceForm): number {
  const isKnown = durationUnits.some(([unit]) => unit === durationUnit)
  return isKnown && /^\d{1,10}(\.\d{1,20})?$/.test(duration)
    ? Math.round(Number(duration) * Number(durationUnit))
    : NaN
}

/** Replaces messages of the API, which name fields of JSON. */
export function toMaintenanceErrors(error: ApiError, form: MaintenanceForm): FieldErrors {
  return toFieldErrors(error, (detail) => {
    const { path, message } = detail
    if (path === '/title') return messages.title
    if (path === '/description') return messages.description
    if (path === '/duration_seconds' && message.startsWith('must')) return 'The end is after the year 9999'
    if (path === '/rrule' && /^(must|is|takes)/.test(message)) return `The rule ${message}`
    return path.startsWith('/monitors/') ? toAffectedMessage(detail, form.affected) : message
  })
}
