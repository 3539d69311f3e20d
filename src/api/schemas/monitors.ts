import { Type } from 'typebox'
import { reportStatuses, statuses } from '../../enums.ts'
import { Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

export const StatusSchema = StringEnum(statuses)
const ReportStatusSchema = StringEnum(reportStatuses)

export const Tag = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$',
  errorMessage:
    'must consist of lower-case letters, digits, _ and -, and begin and end with a letter or a digit',
  description: 'lower-case letters, digits, _ and -; begins and ends with a letter or a digit',
})
const Name = Type.String({ minLength: 1, maxLength: 255, pattern: '\\S' })
const Description = Nullable(Type.String({ maxLength: 10_000 }))
const CategoryName = Nullable(Type.String({ minLength: 1, maxLength: 255 }))
const ExternalUrl = Nullable(
  Type.String({
    maxLength: 2_048,
    pattern: '^https?://',
    errorMessage: 'must begin with http:// or https://',
  }),
)
const StaleAfter = Nullable(Type.Integer({ minimum: 1, maximum: 31_536_000 }))
const Latency = Nullable(Type.Integer({ minimum: 0, maximum: 2_000_000_000 }))

const attributes = {
  description: Description,
  category_name: CategoryName,
  external_url: ExternalUrl,
  enabled: Type.Boolean(),
  hidden: Type.Boolean(),
  default_status: StatusSchema,
  stale_after_seconds: StaleAfter,
  degraded_counts_as_down: Type.Boolean(),
}

const attributesWithDefaults = {
  description: { ...Description, default: null },
  category_name: { ...CategoryName, default: null },
  external_url: { ...ExternalUrl, default: null },
  enabled: Type.Boolean({ default: true }),
  hidden: Type.Boolean({ default: false }),
  default_status: StringEnum(statuses, { default: 'NO_DATA' }),
  stale_after_seconds: { ...StaleAfter, default: null },
  degraded_counts_as_down: Type.Boolean({ default: false }),
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

/** The tag stands in the path; a file that says it too may be sent as it is. */
export const PutMonitor = Type.Object(
  { tag: Type.Optional(Tag), name: Name, ...attributesWithDefaults },
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
    status: Type.Optional(StatusSchema),
    category_name: Type.Optional(Type.String()),
    enabled: Type.Optional(Type.Boolean()),
    hidden: Type.Optional(Type.Boolean()),
    ...pageQuery,
  },
  strict,
)

export const MonitorParams = Type.Object({ tag: Type.String() })

/** The one route that may make a monitor of the tag in its path. */
export const PutMonitorParams = Type.Object({ tag: Tag })

const Share = Nullable(Type.Number({ minimum: 0, maximum: 1 }))

export const Monitor = Type.Object(
  {
    tag: Tag,
    name: Name,
    ...attributes,
    status: StatusSchema,
    status_source: StringEnum(['incident', 'maintenance', 'report', 'default']),
    last_report: Nullable(Type.Object({ timestamp: Time, status: ReportStatusSchema, latency_ms: Latency })),
    uptime: Type.Object({ '24h': Share, '7d': Share, '30d': Share, '90d': Share }),
    created_at: Time,
    updated_at: Time,
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

const point = {
  status: ReportStatusSchema,
  latency_ms: Type.Optional(Latency),
  timestamp: Type.Optional(Time),
}

export const Point = Type.Object(point, strict)

/** One report, or many. */
export const Report = Type.Object(
  {
    status: Type.Optional(point.status),
    latency_ms: point.latency_ms,
    timestamp: point.timestamp,
    points: Type.Optional(Type.Array(Point, { minItems: 1, maxItems: 10_000 })),
  },
  {
    ...strict,
    examples: [
      { status: 'UP', latency_ms: 120 },
      {
        points: [
          { status: 'UP', timestamp: '2026-01-01T00:00:00Z' },
          { status: 'DOWN', timestamp: '2026-01-01T00:01:00Z' },
        ],
      },
    ],
    oneOf: [{ required: ['status'] }, { required: ['points'] }],
    dependentRequired: { latency_ms: ['status'], timestamp: ['status'] },
  },
)

export const FillData = Type.Object(
  { from: Time, to: Time, status: ReportStatusSchema, latency_ms: Type.Optional(Latency) },
  { ...strict, examples: [{ from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z', status: 'UP' }] },
)

export const WriteResponse = Type.Object(
  { written: Type.Integer({ minimum: 0 }) },
  { examples: [{ written: 1 }] },
)

export const ReadData = Type.Object(
  {
    from: Type.Optional(Time),
    to: Type.Optional(Time),
    interval: StringEnum(['minute', 'hour', 'day'], { default: 'minute' }),
    limit: Type.Integer({ minimum: 1, maximum: 10_000, default: 1_440 }),
    cursor: pageQuery.cursor,
  },
  strict,
)

const Count = Type.Integer({ minimum: 0 })

export const Bucket = Type.Object(
  {
    timestamp: Time,
    up: Count,
    degraded: Count,
    down: Count,
    maintenance: Count,
    uptime: Share,
    latency_ms: Nullable(Type.Number({ minimum: 0 })),
  },
  {
    examples: [
      {
        timestamp: '2026-01-01T00:00:00Z',
        up: 58,
        degraded: 1,
        down: 1,
        maintenance: 0,
        uptime: 59 / 60,
        latency_ms: 120.5,
      },
    ],
  },
)
