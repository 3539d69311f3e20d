import { Type } from 'typebox'
import { intervals } from '../../reports/series.ts'
import { maxLatencyMs } from '../../reports/writer.ts'
import { Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'
import { ReportStatus, Uptime } from './monitors.ts'

const Latency = Nullable(
  Type.Number({
    minimum: 0,
    maximum: maxLatencyMs,
    description:
      'Latency in milliseconds, 0 to 86,400,000 (one day). It is rounded to whole milliseconds. Null: not measured.',
  }),
)

const report = {
  status: ReportStatus,
  latency_ms: Type.Optional(Latency),
  timestamp: Type.Optional({
    ...Time,
    description:
      'Time of the report, at most 5 minutes in the future. It stands for the minute that it lies in. Default: now.',
  }),
}

export const Point = Type.Object(report, strict)

/** One report, or many. */
export const Report = Type.Object(
  {
    status: Type.Optional(report.status),
    latency_ms: report.latency_ms,
    timestamp: report.timestamp,
    points: Type.Optional(
      Type.Array(Point, {
        minItems: 1,
        maxItems: 10_000,
        description:
          '1 to 10,000 reports, which are all written or none. Of several reports about one minute the last is kept.',
      }),
    ),
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
  {
    from: { ...Time, description: 'Start of the period, rounded down to the minute.' },
    to: {
      ...Time,
      description:
        'End of the period (exclusive), rounded down to the minute: 1 minute to 366 days later than from, and at most 5 ' +
        'minutes in the future.',
    },
    status: ReportStatus,
    latency_ms: Type.Optional(Latency),
  },
  { ...strict, examples: [{ from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z', status: 'UP' }] },
)

export const WriteResponse = Type.Object(
  { written: Type.Integer({ minimum: 0, description: 'Number of distinct minutes that were written.' }) },
  { examples: [{ written: 1 }] },
)

export const ReadData = Type.Object(
  {
    from: Type.Optional({
      ...Time,
      description: 'Only minutes from this one on. Default: the first reported minute.',
    }),
    to: Type.Optional({ ...Time, description: 'Only minutes before this one. Default: no limit.' }),
    interval: StringEnum(intervals, {
      default: 'minute',
      description: 'Length of a bucket. Days are UTC days.',
    }),
    limit: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 1_440,
      description: 'Maximum number of buckets in the response, 1 to 10,000.',
    }),
    cursor: pageQuery.cursor,
  },
  strict,
)

const Minutes = (status: string) =>
  Type.Integer({ minimum: 0, description: `Number of minutes that were reported as ${status}.` })

export const Bucket = Type.Object(
  {
    timestamp: { ...Time, description: 'Start of the minute, hour or UTC day.' },
    up: Minutes('UP'),
    degraded: Minutes('DEGRADED'),
    down: Minutes('DOWN'),
    maintenance: Minutes('MAINTENANCE'),
    uptime: Uptime('of the bucket'),
    latency_ms: Nullable(
      Type.Number({
        minimum: 0,
        description: 'Mean of the reported latencies in milliseconds. Null: no latency was reported.',
      }),
    ),
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
