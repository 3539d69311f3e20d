import { ApiError } from '../errors.ts'

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

/** Messages by field name. */
export type FieldErrors = Record<string, string>

export function isValidationError(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 'INVALID_REQUEST'
}

export function toFieldErrors({ details = [] }: ApiError): FieldErrors {
  return Object.fromEntries(details.map(({ path, message }) => [path.split('/')[1] ?? '', message]))
}
