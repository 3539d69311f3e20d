import { fullFormats } from 'ajv-formats/dist/formats.js'
import { Type } from 'typebox'

/** RFC 3339. Output is UTC and whole seconds. Input may have any offset; fractions of a second are truncated. */
export const Time = Type.String({ format: 'date-time', examples: ['2024-01-01T00:00:00Z'] })

/** The last time that RFC 3339 can represent. */
export const maxTime = new Date('9999-12-31T23:59:59Z')

/** Describes a valid time, for messages. */
export const timeExample = 'a time like 2024-01-01T00:00:00Z, from 1970 to 9999'

/** Returns undefined if the text is not an RFC 3339 time from 1970 to 9999. */
export function parseTime(text: string): Date | undefined {
  if (!/^\d{4}-\d{2}-\d{2}T/i.test(text) || !isDateTime(text)) return undefined
  // RFC 3339 allows leap seconds, JavaScript does not.
  const seconds = Math.floor(Date.parse(text.replace(/:60(?=\D)/, ':59').toUpperCase()) / 1000)
  return seconds >= 0 && seconds * 1000 <= maxTime.getTime() ? new Date(seconds * 1000) : undefined
}

export function formatTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`
}

export function formatTimeOrNull(time: Date | null): string | null {
  return time && formatTime(time)
}

/** Parses a time that the schema has validated. */
export function parseValidTime(text: string): Date {
  const time = parseTime(text)
  if (!time) throw new Error('A time that passed validation cannot be parsed')
  return time
}

export function parseOptionalTime(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : parseValidTime(text)
}

/** Returns the minute of a time, counted from 1970. */
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
