import { Type } from 'typebox'
import { maintenanceImpacts } from '../../enums.ts'
import { Nullable, StringEnum } from '../../wire/envelope.ts'

// The format of Kener 4.1, after `static/api-references/v4.json` and `src/routes/(api)/api/v4` of rajnandan1/kener.

/** Latest time that Kener's clients can send, in seconds since 1970: the end of the year 9999. */
export const maxSeconds = 253_402_300_799

const bounds = { minimum: 0, maximum: maxSeconds }

/** A time in seconds since 1970, as responses and queries contain it. */
export const seconds = (description: string) =>
  Type.Integer({ ...bounds, description: `${description}, in seconds since 1970 (UTC).` })

/** A time in seconds since 1970, as bodies contain it. Only its minute is used. */
export const minute = (description: string) =>
  Type.Number({
    ...bounds,
    examples: [1_767_225_600],
    description: `${description}, in seconds since 1970 (UTC). It is rounded down to the minute.`,
  })

export const idOf = (resource: string) =>
  Type.Integer({ minimum: 1, maximum: 2_147_483_647, description: `Id of the ${resource}.` })

const IsoTime = (description: string) =>
  Type.String({ examples: ['2026-01-01T00:00:00.000Z'], description: `${description}, as an ISO 8601 time.` })

export const timestamps = { created_at: IsoTime('Creation'), updated_at: IsoTime('Last update') }

export const timestampsExample = {
  created_at: '2026-01-01T00:00:00.000Z',
  updated_at: '2026-01-01T00:00:00.000Z',
}

export const text = (maxLength: number, description: string) =>
  Type.String({ maxLength, description: `${description} At most ${maxLength} characters.` })

export const nonBlankText = (maxLength: number, description: string) =>
  Type.String({
    minLength: 1,
    maxLength,
    pattern: '\\S',
    description: `${description} 1 to ${maxLength} characters, not only white space. White space at both ends is removed.`,
  })

export const activity = (description: string) => StringEnum(['ACTIVE', 'INACTIVE'], { description })

export const resourceUrl = Type.String({ description: 'URL of this resource in the API.' })

/** Affected monitors in a body. */
export const newAffected = (defaultImpact: (typeof maintenanceImpacts)[number]) =>
  Type.Array(
    Type.Object({
      monitor_tag: Type.String({ minLength: 1, description: 'Tag of the monitor.' }),
      impact: Type.Optional(
        Nullable(
          StringEnum([...maintenanceImpacts, ''], {
            description: `Status of the monitor meanwhile; UP: not impaired. ${defaultImpact} if it is omitted, null or empty.`,
          }),
        ),
      ),
    }),
    { maxItems: 1_000, description: 'Affected monitors, each at most once. At most 1,000.' },
  )

export const affected = Type.Array(
  Type.Object({
    monitor_tag: Type.String({ description: 'Tag of the monitor.' }),
    impact: StringEnum(maintenanceImpacts, {
      description: 'Status of the monitor meanwhile; UP: not impaired.',
    }),
  }),
  { description: 'Affected monitors, ordered by tag.' },
)

/** The response of a deletion. */
export const Message = Type.Object(
  { message: Type.String({ description: 'Confirms the deletion.' }) },
  { description: 'Deleted', examples: [{ message: '… deleted successfully' }] },
)
