import { invalidField } from './errors.ts'

/**
 * Longest texts of each table, in characters. Kener's columns have 255 characters, except descriptions and comments. The
 * repositories enforce these limits, so that they hold for the API, for Kener's clients and for an import.
 */
export const maxLengths = {
  monitors: { tag: 255, name: 255, description: 10_000, category_name: 255, external_url: 2_048 },
  incidents: { title: 255 },
  incident_comments: { comment: 10_000 },
  maintenances: { title: 255, description: 10_000, rrule: 255 },
} as const

/** Most monitors that an incident or a maintenance affects. */
export const maxAffectedMonitors = 1_000

/** Most items on a page of a list. */
export const maxPageLength = 100

/** Deepest nesting of JSON, in levels. */
export const maxDepth = 32

/**
 * Returns the values of a row that is written. Values that are not written are not checked, so that a row which exceeds
 * a limit can still be updated. @throws ApiError 400
 */
export function withinLimits<Values extends object>(table: keyof typeof maxLengths, values: Values): Values {
  for (const [column, max] of Object.entries(maxLengths[table])) {
    const value = (values as Record<string, unknown>)[column]
    if (typeof value === 'string' && isLongerThan(value, max)) {
      throw invalidField(`/${column}`, `must have at most ${max} characters`)
    }
  }
  return values
}

function isLongerThan(text: string, max: number): boolean {
  return text.length > max && Array.from(text).length > max
}

/** True if a value has more levels than allowed. Stops there, so that the depth of the value does not matter. */
export function isNestedTooDeeply(value: unknown, depth = 0): boolean {
  if (typeof value !== 'object' || value === null) return false
  return depth === maxDepth || Object.values(value).some((each) => isNestedTooDeeply(each, depth + 1))
}
