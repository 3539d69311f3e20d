import type { Status } from '../../enums.ts'
import type { ApiError } from '../../errors.ts'
import type { Monitor, MonitorAttributes } from '../../monitors/repository.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { CreateMonitor } from '../../wire/monitors.ts'
import { findErrors } from '../../wire/validator.ts'
import { type FieldErrors, readLines, readText, toFieldErrors } from '../form.ts'

/** Longest body of a form with the longest fields, percent-encoded. */
export const monitorFormLimitBytes = 262_144

/** Values as entered, so that a rejected form is shown again without loss. */
export type MonitorForm = {
  /** Only for a new monitor. */
  tag: string
  name: string
  description: string
  categoryName: string
  externalUrl: string
  defaultStatus: string
  staleAfter: string
  degradedCountsAsDown: boolean
  enabled: boolean
  hidden: boolean
}

export const emptyMonitorForm: MonitorForm = {
  tag: '',
  name: '',
  description: '',
  categoryName: '',
  externalUrl: '',
  defaultStatus: 'NO_DATA',
  staleAfter: '',
  degradedCountsAsDown: false,
  enabled: true,
  hidden: false,
}

export function readMonitorForm(body: unknown): MonitorForm {
  const read = (name: string) => readText(body, name).trim()
  const isChecked = (name: string) => readText(body, name) !== ''
  return {
    tag: read('tag'),
    name: read('name'),
    description: readLines(body, 'description'),
    categoryName: read('category_name'),
    externalUrl: read('external_url'),
    defaultStatus: read('default_status'),
    staleAfter: read('stale_after_seconds'),
    degradedCountsAsDown: isChecked('degraded_counts_as_down'),
    enabled: isChecked('enabled'),
    hidden: isChecked('hidden'),
  }
}

export function fillMonitorForm(monitor: Monitor): MonitorForm {
  return {
    tag: monitor.tag,
    name: monitor.name,
    description: monitor.description ?? '',
    categoryName: monitor.category_name ?? '',
    externalUrl: monitor.external_url ?? '',
    defaultStatus: monitor.default_status,
    staleAfter: String(monitor.stale_after_seconds ?? ''),
    degradedCountsAsDown: monitor.degraded_counts_as_down,
    enabled: monitor.enabled,
    hidden: monitor.hidden,
  }
}

/** Parses the form with the schema of POST /api/monitors. @throws ApiError 400, whose details name its fields */
export function parseMonitor(form: MonitorForm): MonitorAttributes {
  const toNull = (text: string) => (text === '' ? null : text)
  const attributes = {
    tag: form.tag,
    name: form.name,
    description: toNull(form.description),
    category_name: toNull(form.categoryName),
    external_url: toNull(form.externalUrl),
    default_status: form.defaultStatus as Status,
    stale_after_seconds:
      form.staleAfter === '' ? null : /^\d{1,15}$/.test(form.staleAfter) ? Number(form.staleAfter) : NaN,
    degraded_counts_as_down: form.degradedCountsAsDown,
    enabled: form.enabled,
    hidden: form.hidden,
  }
  const errors = findErrors(CreateMonitor, attributes)
  if (errors.length > 0) throw fromAjvErrors(errors)
  return attributes
}

/** Replaces messages of the API, which name types of JSON. */
const messages: Record<string, string> = {
  tag: 'Enter 1 to 255 lower-case letters, digits, _ and -, with a letter or a digit at the beginning and at the end',
  name: 'Enter a name of 1 to 255 characters',
  description: 'Enter at most 10,000 characters',
  category_name: 'Enter at most 255 characters',
  external_url: 'Enter a URL that begins with http:// or https://, of at most 2,048 characters',
  default_status: 'Choose a status from the list',
  stale_after_seconds: 'Enter a whole number of seconds from 1 to 31,536,000, or leave the field empty',
}

export function toMonitorErrors(error: ApiError): FieldErrors {
  return toFieldErrors(error, ({ path, message }) => messages[path.slice(1)] ?? message)
}
