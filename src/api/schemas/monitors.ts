import { Type } from 'typebox'
import { reportStatuses, statuses } from '../../enums.ts'
import { maxLengths } from '../../limits.ts'
import { Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

export const ReportStatus = StringEnum(reportStatuses, {
  description: 'Status of the monitor in the reported minutes.',
})

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
const Name = Type.String({
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
export const Latency = Nullable(
  Type.Integer({
    minimum: 0,
    maximum: 2_000_000_000,
    description: 'Latency in milliseconds, 0 to 2,000,000,000. Null: not measured.',
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

const attributes = {
  description: Description,
  category_name: CategoryName,
  external_url: ExternalUrl,
  enabled: Type.Boolean(enabled),
  hidden: Type.Boolean(hidden),
  default_status: StringEnum(statuses, defaultStatus),
  stale_after_seconds: StaleAfter,
  degraded_counts_as_down: Type.Boolean(degradedCountsAsDown),
}

const attributesWithDefaults = {
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

export const PutMonitor = Type.Object(
  {
    tag: Type.Optional({
      ...Tag,
      description: 'Tag of the monitor. If present, it must be the tag in the path.',
    }),
    name: Name,
    ...attributesWithDefaults,
  },
  {
    ...strict,
    examples: [{ name: 'Website', category_name: 'Public', external_url: 'https://www.example.com' }],
  },
)

export const UpdateMonitor = Type.Partial(Type.Object({ name: Name, ...attributes }), {
  ...strict,
  examples: [{ hidden: true }],
})

export const ListMonitors = Type.Object(
  {
    status: Type.Optional(StringEnum(statuses, { description: 'Only monitors with this current status.' })),
    category_name: Type.Optional(Type.String({ description: 'Only monitors of this category.' })),
    enabled: Type.Optional(
      Type.Boolean({ description: 'true: only enabled monitors. false: only disabled ones.' }),
    ),
    hidden: Type.Optional(
      Type.Boolean({ description: 'true: only hidden monitors. false: only visible ones.' }),
    ),
    ...pageQuery,
  },
  strict,
)

export const MonitorParams = Type.Object({ tag: Type.String({ description: 'Tag of the monitor.' }) })

/** PUT may create a monitor with this tag, so it is validated. Elsewhere, an invalid tag is a 404. */
export const PutMonitorParams = Type.Object({ tag: Tag })

/** @param span the time that the uptime covers */
export const Uptime = (span: string) =>
  Nullable(
    Type.Number({
      minimum: 0,
      maximum: 1,
      description:
        `Share of the reported minutes ${span} that were UP, MAINTENANCE or, unless degraded_counts_as_down is set, ` +
        'DEGRADED: 0 to 1. Null: no minute was reported.',
    }),
  )

export const Monitor = Type.Object(
  {
    tag: Tag,
    name: Name,
    ...attributes,
    status: StringEnum(statuses, {
      description:
        'Current status: the worst impact of open incidents and ongoing maintenances, otherwise the newest report ' +
        'unless it is stale, otherwise default_status.',
    }),
    status_source: StringEnum(['incident', 'maintenance', 'report', 'default'], {
      description: 'What determines the status.',
    }),
    last_report: Nullable(
      Type.Object(
        {
          timestamp: { ...Time, description: 'Start of the reported minute.' },
          status: ReportStatus,
          latency_ms: Latency,
        },
        { description: 'Report about the newest minute. Null: there is no report.' },
      ),
    ),
    uptime: Type.Object(
      {
        '24h': Uptime('of the last 24 hours, the current hour included,'),
        '7d': Uptime('of the last 7 UTC days, today included,'),
        '30d': Uptime('of the last 30 UTC days, today included,'),
        '90d': Uptime('of the last 90 UTC days, today included,'),
      },
      { description: 'Uptime over four periods.' },
    ),
    created_at: { ...Time, description: 'Time at which the monitor was created.' },
    updated_at: { ...Time, description: 'Time at which an attribute of the monitor was last updated.' },
  },
  {
    examples: [
      {
        tag: 'website',
        name: 'Website',
        description: null,
        category_name: 'Public',
        external_url: 'https://www.example.com',
        enabled: true,
        hidden: false,
        default_status: 'NO_DATA',
        stale_after_seconds: 300,
        degraded_counts_as_down: false,
        status: 'UP',
        status_source: 'report',
        last_report: { timestamp: '2026-01-02T00:00:00Z', status: 'UP', latency_ms: 120 },
        uptime: { '24h': 1, '7d': 0.9998, '30d': 0.9998, '90d': 0.9998 },
        created_at: '2025-12-01T00:00:00Z',
        updated_at: '2025-12-01T00:00:00Z',
      },
    ],
  },
)
