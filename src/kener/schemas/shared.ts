import { type TSchema, Type } from 'typebox'
import { maintenanceImpacts } from '../../enums.ts'
import { maxAffectedMonitors } from '../../limits.ts'
import { Nullable, StringEnum } from '../../wire/envelope.ts'
import { maxId } from '../../wire/validator.ts'

// The format of Kener 4.1, after `static/api-references/v4.json` and `src/routes/(api)/api/v4` of rajnandan1/kener.

/** Latest time that Kener's clients can send, in seconds since 1970: the end of the year 9999. */
export const maxSeconds = 253_402_300_799

const bounds = { minimum: 0, maximum: maxSeconds }

/** A time in seconds since 1970, as responses and queries contain it. @param more further sentences */
export const seconds = (meaning: string, more = '') =>
  Type.Integer({ ...bounds, description: sentences(`${meaning}, in seconds since 1970 (UTC).`, more) })

/** A time in seconds since 1970, as bodies contain it. Only its minute is used. @param more further sentences */
export const minute = (meaning: string, more = '') =>
  Type.Number({
    ...bounds,
    examples: [1_767_225_600],
    description: sentences(`${meaning}, in seconds since 1970 (UTC), rounded down to the minute.`, more),
  })

const sentences = (...parts: string[]) => parts.filter((part) => part !== '').join(' ')

/** With commas. Not by toLocaleString, which loads the data of a locale and delays the start. */
const formatBound = (bound: number) => String(bound).replace(/\B(?=(\d{3})+$)/g, ',')

export const idOf = (resource: string) =>
  Type.Integer({ minimum: 1, maximum: maxId, description: `Id of the ${resource}.` })

const IsoTime = (description: string) =>
  Type.String({ examples: ['2026-01-01T00:00:00.000Z'], description: `${description}, as an ISO 8601 time.` })

export const timestamps = { created_at: IsoTime('Creation'), updated_at: IsoTime('Last update') }

export const timestampsExample = {
  created_at: '2026-01-01T00:00:00.000Z',
  updated_at: '2026-01-01T00:00:00.000Z',
}

export const text = (maxLength: number, description: string) =>
  Type.String({ maxLength, description: `${description} At most ${formatBound(maxLength)} characters.` })

export const nonBlankText = (maxLength: number, description: string) =>
  Type.String({
    minLength: 1,
    maxLength,
    pattern: '\\S',
    description: `${description} 1 to ${formatBound(maxLength)} characters, not blank. White space at both ends is removed.`,
  })

export const activity = (description: string) => StringEnum(['ACTIVE', 'INACTIVE'], { description })

export const resourceUrl = Type.String({
  description: 'URL of the public page. With PUBLIC_PAGE=off, URL of this resource in the API.',
})

/** Affected monitors in a body. */
export const newAffected = (defaultImpact: (typeof maintenanceImpacts)[number]) =>
  Type.Array(
    Type.Object({
      monitor_tag: Type.String({ minLength: 1, description: 'Tag of the monitor.' }),
      impact: Type.Optional(
        Nullable(
          StringEnum([...maintenanceImpacts, ''], {
            description: `Status of the monitor meanwhile. UP: it is not impaired. Default, also if null or empty: ${defaultImpact}.`,
          }),
        ),
      ),
    }),
    { maxItems: maxAffectedMonitors, description: 'Affected monitors, at most 1,000, each at most once.' },
  )

export const affected = Type.Array(
  Type.Object({
    monitor_tag: Type.String({ description: 'Tag of the monitor.' }),
    impact: StringEnum(maintenanceImpacts, {
      description: 'Status of the monitor meanwhile. UP: it is not impaired.',
    }),
  }),
  { description: 'Affected monitors, ordered by tag.' },
)

/** A response with one field, which has the response's description. */
export const Only = <Name extends string, Schema extends TSchema>(
  name: Name,
  schema: Schema,
  description: string,
) =>
  Type.Object({ [name]: { ...schema, description: `${description}.` } } as unknown as Record<Name, Schema>, {
    description,
  })

/** The response of a deletion. */
export const Message = Type.Object(
  { message: Type.String({ description: 'Confirms the deletion.' }) },
  { description: 'The resource is deleted', examples: [{ message: '… deleted successfully' }] },
)
