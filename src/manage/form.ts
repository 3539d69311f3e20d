import { ApiError, type ErrorDetail, invalidRequest } from '../errors.ts'
import type { Precondition } from '../preconditions.ts'
import { formatTime, parseTime } from '../wire/time.ts'

/** Returns the value of a form field, or '' if it is missing or occurs more than once. */
export function readText(body: unknown, name: string): string {
  const value = readField(body, name)
  return typeof value === 'string' ? value : ''
}

/** Returns the text of a text area, whose line breaks browsers send as CRLF. */
export function readLines(body: unknown, name: string): string {
  return readText(body, name).replaceAll('\r\n', '\n').trim()
}

/** Returns all values of a form field, because checked checkboxes of one name are sent as several values. */
export function readTexts(body: unknown, name: string): string[] {
  return [readField(body, name)].flat().filter((value) => typeof value === 'string')
}

function readField(body: unknown, name: string): unknown {
  return (body as Record<string, unknown> | undefined)?.[name]
}

/** Messages by field name, one per line. */
export type FieldErrors = Record<string, string>

export function isValidationError(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 'INVALID_REQUEST'
}

/** @param toMessage words a detail for the form. A field shows equal messages once. */
export function toFieldErrors(
  { details = [] }: ApiError,
  toMessage: (detail: ErrorDetail) => string,
): FieldErrors {
  const messages = new Map<string, Set<string>>()
  for (const detail of details) {
    const name = detail.path.split('/')[1] ?? ''
    messages.set(name, (messages.get(name) ?? new Set()).add(toMessage(detail)))
  }
  return Object.fromEntries([...messages].map(([name, lines]) => [name, [...lines].join('\n')]))
}

/** @param errors messages by field name; undefined for a valid field. @throws ApiError 400 */
export function assertValidFields(errors: Record<string, string | undefined>): void {
  const details = Object.entries(errors).flatMap(([name, message]) =>
    message === undefined ? [] : [{ path: `/${name}`, message }],
  )
  const [first] = details
  if (first) throw invalidRequest(first.message, details)
}

/** Returns the version of the row from which the form was filled, as the condition of its change. */
export function readPrecondition(body: unknown): Precondition {
  return { match: [readText(body, 'version')] }
}

/** True if the row has changed since the form was opened. */
export function isConflict(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 'PRECONDITION_FAILED'
}

/** Formats a time for a field of the type datetime-local, which has minutes, in UTC. */
export function toDateTimeField(time: Date | null): string {
  return time === null ? '' : formatTime(time).slice(0, 16)
}

/** Parses the value of such a field, which a browser may send with seconds. Undefined if it is not a time. */
export function parseDateTimeField(text: string): Date | undefined {
  return parseTime(text.length === 16 ? `${text}:00Z` : `${text}Z`)
}

/** `2026-01-31 14:00 UTC`, from the value of a field of the type datetime-local */
export function describeDateTimeField(text: string): string {
  return text === '' ? '' : `${text.slice(0, 16).replace('T', ' ')} UTC`
}

/**
 * Returns a message for each field whose saved value differs from the entered one, so that a conflict can be resolved.
 * @param entered, saved texts by field name
 */
export function toSavedValues(entered: Record<string, string>, saved: Record<string, string>): FieldErrors {
  return Object.fromEntries(
    Object.entries(saved)
      .filter(([name, value]) => value !== entered[name])
      .map(([name, value]) => [name, value === '' ? 'Saved: nothing' : `Saved: ${value}`]),
  )
}
