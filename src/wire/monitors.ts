import { Type } from 'typebox'
import { statuses } from '../enums.ts'
import { maxLengths } from '../limits.ts'
import { Nullable, strict, StringEnum } from './envelope.ts'

export const Tag = Type.String({
  minLength: 1,
  maxLength: maxLengths.monitors.tag,
  pattern: '^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$',
  errorMessage:
    'must consist of lower-case letters, digits, _ and -, and begin and end with a letter or a digit',
  description:
    'Unique tag of the monitor, 1 to 255 characters: lower-case letters, digits, _ and -; it begins and ends with a ' +
    'letter or a digit. It cannot be changed.',
})
export const Name = Type.String({
  minLength: 1,
  maxLength: maxLengths.monitors.name,
  pattern: '\\S',
  description: 'Name for display, 1 to 255 characters, not blank.',
})
const Description = Nullable(
  Type.String({
    maxLength: maxLengths.monitors.description,
    description: 'Text about the monitor, at most 10,000 characters.',
  }),
)
const CategoryName = Nullable(
  Type.String({
    minLength: 1,
    maxLength: maxLengths.monitors.category_name,
    description: 'Category of the monitor, 1 to 255 characters.',
  }),
)
const ExternalUrl = Nullable(
  Type.String({
    maxLength: maxLengths.monitors.external_url,
    pattern: '^https?://',
    errorMessage: 'must begin with http:// or https://',
    description: 'URL about the monitored service: http:// or https://, at most 2,048 characters.',
  }),
)
const StaleAfter = Nullable(
  Type.Integer({
    minimum: 1,
    maximum: 31_536_000,
    description:
      'Age in seconds, 1 to 31,536,000 (365 days), after which the newest report no longer determines the status. ' +
      'Null: reports never become stale.',
  }),
)
const enabled = {
  description: 'Whether the monitor is in use. A disabled monitor is not part of the public status.',
}
const hidden = { description: 'Whether the monitor is excluded from the public status.' }
const defaultStatus = {
  description:
    'Status while neither an incident, nor a maintenance, nor a report that is not stale determines it.',
}
const degradedCountsAsDown = { description: 'Whether DEGRADED minutes count as down in the uptime.' }

/** For an update, in which no field has a default. */
export const attributes = {
  description: Description,
  category_name: CategoryName,
  external_url: ExternalUrl,
  enabled: Type.Boolean(enabled),
  hidden: Type.Boolean(hidden),
  default_status: StringEnum(statuses, defaultStatus),
  stale_after_seconds: StaleAfter,
  degraded_counts_as_down: Type.Boolean(degradedCountsAsDown),
}

export const attributesWithDefaults = {
  description: { ...Description, default: null },
  category_name: { ...CategoryName, default: null },
  external_url: { ...ExternalUrl, default: null },
  enabled: Type.Boolean({ ...enabled, default: true }),
  hidden: Type.Boolean({ ...hidden, default: false }),
  default_status: StringEnum(statuses, { ...defaultStatus, default: 'NO_DATA' }),
  stale_after_seconds: { ...StaleAfter, default: null },
  degraded_counts_as_down: Type.Boolean({ ...degradedCountsAsDown, default: false }),
}

export const CreateMonitor = Type.Object(
  { tag: Tag, name: Name, ...attributesWithDefaults },
  {
    ...strict,
    examples: [
      { tag: 'website', name: 'Website' },
      { tag: 'nightly-backup', name: 'Nightly backup', default_status: 'DOWN', stale_after_seconds: 90_000 },
    ],
  },
)
