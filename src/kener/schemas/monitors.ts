import { Type } from 'typebox'
import { statuses } from '../../enums.ts'
import { maxLengths } from '../../limits.ts'
import { Nullable, StringEnum } from '../../wire/envelope.ts'
import { activity, idOf, nonBlankText, text, timestamps, timestampsExample } from './shared.ts'

const descriptions = {
  tag: 'Identifies the monitor.',
  name: 'Name of the monitor.',
  description: 'Description of the monitor.',
  image: 'URL or path of an image. It is stored and returned, and not used.',
  cron: 'Schedule of the checks. It is stored and returned, and not used: this service runs no checks.',
  default_status: 'Status of the monitor while it has no report.',
  status: 'INACTIVE: the monitor is disabled.',
  category_name: 'Category of the monitor.',
  monitor_type:
    'How Kener checks the monitor, such as API or PING. It is stored and returned, and not used. NONE: reported by clients only.',
  type_data:
    'Settings of the check. They are stored and returned, and not used. They may contain secrets: a key without write:monitors gets {}.',
  include_degraded_in_downtime: 'YES: minutes with the status DEGRADED count as down in the uptime.',
  is_hidden: 'YES: the public page does not show the monitor.',
  confirmation_threshold:
    'Number of failed checks before the status changes, 1 to 60. It is stored and returned, and not used.',
  monitor_settings_json:
    'Further settings, such as the uptime formula. They are stored and returned, and not used. A key without write:monitors gets {}.',
  external_url: 'Link to the monitored service.',
}

const describedObject = (description: string) => Type.Object({}, { additionalProperties: true, description })
const yesNo = (description: string) => StringEnum(['YES', 'NO'], { description })

export const Monitor = Type.Object(
  {
    id: idOf('monitor'),
    tag: Type.String({ description: descriptions.tag }),
    name: Type.String({ description: descriptions.name }),
    description: Nullable(Type.String({ description: descriptions.description })),
    image: Nullable(Type.String({ description: descriptions.image })),
    cron: Nullable(Type.String({ description: descriptions.cron })),
    default_status: StringEnum(statuses, { description: descriptions.default_status }),
    status: activity(descriptions.status),
    category_name: Nullable(Type.String({ description: descriptions.category_name })),
    monitor_type: Type.String({ description: descriptions.monitor_type }),
    type_data: describedObject(descriptions.type_data),
    include_degraded_in_downtime: yesNo(descriptions.include_degraded_in_downtime),
    is_hidden: yesNo(descriptions.is_hidden),
    confirmation_threshold: Type.Integer({ description: descriptions.confirmation_threshold }),
    monitor_settings_json: describedObject(descriptions.monitor_settings_json),
    external_url: Nullable(Type.String({ description: descriptions.external_url })),
    ...timestamps,
  },
  {
    examples: [
      {
        id: 1,
        tag: 'website',
        name: 'Website',
        description: null,
        image: null,
        cron: '* * * * *',
        default_status: 'UP',
        status: 'ACTIVE',
        category_name: 'Public',
        monitor_type: 'API',
        type_data: { url: 'https://www.example.com' },
        include_degraded_in_downtime: 'NO',
        is_hidden: 'NO',
        confirmation_threshold: 1,
        monitor_settings_json: {
          uptime_formula_numerator: 'up + maintenance + degraded',
          uptime_formula_denominator: 'up + down + degraded + maintenance',
        },
        external_url: 'https://www.example.com',
        ...timestampsExample,
      },
    ],
  },
)

const MonitorTag = Type.String({
  maxLength: maxLengths.monitors.tag,
  pattern: '^\\s*[a-z0-9]([a-z0-9_-]*[a-z0-9])?\\s*$',
  errorMessage:
    'must consist of lower-case letters, digits, _ and -, and begin and end with a letter or a digit',
  description:
    'Identifies the monitor, and cannot be changed. 1 to 255 lower-case letters, digits, _ and -; begins and ends with a ' +
    'letter or a digit. White space at both ends is removed.',
})

const merged = 'It is merged into the stored object.'

/** Null resets a field to its default. */
const attributes = {
  description: Type.Optional(Nullable(text(maxLengths.monitors.description, descriptions.description))),
  image: Type.Optional(Nullable(Type.String({ description: descriptions.image }))),
  cron: Type.Optional(Nullable(text(255, descriptions.cron))),
  default_status: Type.Optional(
    Nullable(StringEnum(statuses, { description: `${descriptions.default_status} Default: UP.` })),
  ),
  status: Type.Optional(Nullable(activity(`${descriptions.status} Default: ACTIVE.`))),
  category_name: Type.Optional(Nullable(text(maxLengths.monitors.category_name, descriptions.category_name))),
  monitor_type: Type.Optional(
    Nullable(Type.String({ description: `${descriptions.monitor_type} Default: API.` })),
  ),
  type_data: Type.Optional(Nullable(describedObject(`${descriptions.type_data} ${merged}`))),
  include_degraded_in_downtime: Type.Optional(
    Nullable(yesNo(`${descriptions.include_degraded_in_downtime} Default: NO.`)),
  ),
  is_hidden: Type.Optional(Nullable(yesNo(`${descriptions.is_hidden} Default: NO.`))),
  confirmation_threshold: Type.Optional(
    Nullable(
      Type.Integer({
        minimum: 1,
        maximum: 60,
        description: `${descriptions.confirmation_threshold} Default: 1.`,
      }),
    ),
  ),
  monitor_settings_json: Type.Optional(
    Nullable(describedObject(`${descriptions.monitor_settings_json} ${merged}`)),
  ),
  external_url: Type.Optional(
    Nullable(
      Type.String({
        maxLength: maxLengths.monitors.external_url,
        pattern: '^(https?://|$)',
        errorMessage: 'must begin with http:// or https://, or be empty',
        description: `${descriptions.external_url} At most 2,048 characters, begins with http:// or https://, or is empty.`,
      }),
    ),
  ),
}

export const CreateMonitor = Type.Object(
  { tag: MonitorTag, name: nonBlankText(maxLengths.monitors.name, descriptions.name), ...attributes },
  {
    examples: [
      {
        tag: 'earth',
        name: 'Earth',
        cron: '* * * * *',
        monitor_type: 'API',
        type_data: { url: 'https://www.example.com', method: 'GET', timeout: 5000 },
      },
    ],
  },
)

export const UpdateMonitor = Type.Object(
  { name: Type.Optional(nonBlankText(maxLengths.monitors.name, descriptions.name)), ...attributes },
  { examples: [{ status: 'INACTIVE' }] },
)

export const ListMonitors = Type.Object({
  status: Type.Optional(activity('Only monitors with this status.')),
  category_name: Type.Optional(
    Type.String({ description: 'Only monitors of this category. All Categories: no filter.' }),
  ),
  monitor_type: Type.Optional(Type.String({ description: 'Only monitors of this type.' })),
  is_hidden: Type.Optional(yesNo('Only monitors that are hidden (YES) or visible (NO).')),
})

export const MonitorParams = Type.Object({ monitor_tag: Type.String({ description: 'Tag of the monitor.' }) })
