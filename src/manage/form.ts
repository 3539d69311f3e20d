import { ApiError, type ErrorDetail } from '../errors.ts'

/** Returns the value of a form field, or '' if it is missing or occurs more than once. */
export function readText(body: unknown, name: string): string {
  const value = readField(body, name)
  return typeof value === 'string' ? value : ''
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
