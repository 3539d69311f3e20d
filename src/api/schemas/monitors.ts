import { Type } from 'typebox'
import { reportStatuses, statuses } from '../../enums.ts'
import { Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { attributes, attributesWithDefaults, Name, Tag } from '../../wire/monitors.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

export const ReportStatus = StringEnum(reportStatuses, {
  description: 'Status of the monitor in the reported minutes.',
})

const Latency = Nullable(
  Type.Integer({ minimum: 0, description: 'Latency in milliseconds. Null: not measured.' }),
)

const ReadOnly = Type.Optional(
  Type.Unknown({ readOnly: true, description: 'Ignored, so that the response of a GET can be sent back.' }),
)
const readOnlyFields = {
  status: ReadOnly,
  status_source: ReadOnly,
  last_report: ReadOnly,
  uptime: ReadOnly,
  created_at: ReadOnly,
  updated_at: ReadOnly,
}

export const PutMonitor = Type.Object(
  {
    tag: Type.Optional({
      ...Tag,
      description: 'Tag of the monitor. If present, it must be the tag in the path.',
    }),
    name: Name,
    ...attributesWithDefaults,
    ...readOnlyFields,
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
