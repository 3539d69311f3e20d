import { fullFormats } from 'ajv-formats/dist/formats.js'
import { Type } from 'typebox'

/** RFC 3339. Out: UTC and whole seconds. In: any offset; a fraction of a second is cut off. */
export const Time = Type.String({ format: 'date-time', examples: ['2024-01-01T00:00:00Z'] })

/** The last that four digits of a year can say. */
export const maxTime = new Date('9999-12-31T23:59:59Z')

export const timeErrorMessage = 'must be a time like 2024-01-01T00:00:00Z, from 1970 to 9999'

/** Undefined when the text is no RFC 3339 time, or outside what PostgreSQL and four digits of a year can say. */
export function parseTime(text: string): Date | undefined {
  if (!/^\d{4}-\d{2}-\d{2}T/i.test(text) || !isDateTime(text)) return undefined
  // JavaScript knows no leap second; RFC 3339 does.
  const seconds = Math.floor(Date.parse(text.replace(/:60(?=\D)/, ':59').toUpperCase()) / 1000)
  return seconds >= 0 && seconds * 1000 <= maxTime.getTime() ? new Date(seconds * 1000) : undefined
}

export function formatTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`
}

export function formatTimeOrNull(time: Date | null): string | null {
  return time && formatTime(time)
}

/** The schema has checked that it is a time. */
export function parseValidTime(text: string): Date {
  const time = parseTime(text)
  if (!time) throw new Error('A time that the schema took cannot be read')
  return time
}

/** Of a field that may be left out. */
export function parseOptionalTime(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : parseValidTime(text)
}

/** The minute that a time lies in, counted since 1970. */
export function parseMinute(text: string): number {
  return Math.floor(parseValidTime(text).getTime() / 60_000)
}

export function formatMinute(minute: number): string {
  return formatTime(new Date(minute * 60_000))
}

function isDateTime(text: string): boolean {
  const format = fullFormats['date-time']
  return (
    typeof format === 'object' && 'validate' in format && (format.validate as (text: string) => boolean)(text)
  )
}
