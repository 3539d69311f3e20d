import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { closingStates, eventStates, impacts, reportStatuses, states, statuses } from '../enums.ts'
import { maxDurationSeconds } from '../maintenances/schedule.ts'
import { Nullable, StringEnum } from '../wire/envelope.ts'

/**
 * Kener 4.1's wire format. Source: `static/api-references/v4.json` and `src/routes/(api)/api/v4` of rajnandan1/kener.
 * Unlike the rest of /api, it passes over fields that it does not know.
 */

export const maxSeconds = 253_402_300_799

/** Since 1970, in UTC. Of a time that comes in, the minute it lies in counts. */
const Seconds = Type.Number({ minimum: 0, maximum: maxSeconds, examples: [1_767_225_600] })
const WholeSeconds = Type.Integer({ minimum: 0, maximum: maxSeconds })

/** The start of the minute that a time lies in. */
export function toMinuteStart(seconds: number): Date {
  return new Date(Math.floor(seconds / 60) * 60_000)
}

export function toSeconds(time: Date): number {
  return Math.floor(time.getTime() / 1000)
}

/** As the client knows us: what has a page of its own in Kener may be read here, with a key. */
export function originOf({ protocol, host }: FastifyRequest): string {
  return `${protocol}://${host}/api/v4`
}

/** With commas between them. */
export function splitTags(text: string): string[] {
  return text
    .split(',')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '')
}

export const Id = Type.Integer({ minimum: 1, maximum: 2_147_483_647 })
const IsoTime = Type.String({ examples: ['2026-01-01T00:00:00.000Z'] })
const TextOfLength = (maxLength: number) => Type.String({ maxLength })
const NonBlankText = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '\\S' })
const AnyObject = Type.Object({}, { additionalProperties: true })

const timesExample = { created_at: '2026-01-01T00:00:00.000Z', updated_at: '2026-01-01T00:00:00.000Z' }

/** `{"message": ...}`: what a deletion is answered with. */
export const Message = Type.Object(
  { message: Type.String() },
  { examples: [{ message: '… deleted successfully' }] },
)

// Monitors.

export const monitorTypes = [
  'API',
  'PING',
  'TCP',
  'DNS',
  'NONE',
  'GROUP',
  'SSL',
  'SQL',
  'HEARTBEAT',
  'GAMEDIG',
  'GRPC',
] as const

const YesNo = StringEnum(['YES', 'NO'])
const Activity = StringEnum(['ACTIVE', 'INACTIVE'])
const MonitorType = StringEnum(monitorTypes)

const MonitorTag = Type.String({
  maxLength: 255,
  pattern: '^\\s*[a-z0-9]([a-z0-9_-]*[a-z0-9])?\\s*$',
  errorMessage:
    'must consist of lower-case letters, digits, _ and -, and begin and end with a letter or a digit',
  description: 'lower-case letters, digits, - and _; begins and ends with a letter or a digit',
})

export const Monitor = Type.Object(
  {
    id: Id,
    tag: Type.String(),
    name: Type.String(),
    description: Nullable(Type.String()),
    image: Nullable(Type.String()),
    cron: Nullable(Type.String()),
    default_status: StringEnum(statuses),
    status: Activity,
    category_name: Nullable(Type.String()),
    monitor_type: Type.String(),
    type_data: AnyObject,
    include_degraded_in_downtime: YesNo,
    is_hidden: YesNo,
    confirmation_threshold: Type.Integer(),
    monitor_settings_json: AnyObject,
    external_url: Nullable(Type.String()),
    created_at: IsoTime,
    updated_at: IsoTime,
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
        ...timesExample,
      },
    ],
  },
)

/** Null stands for the default. */
const monitorFields = {
  description: Type.Optional(Nullable(TextOfLength(10_000))),
  image: Type.Optional(Nullable(Type.String())),
  cron: Type.Optional(Nullable(TextOfLength(255))),
  default_status: Type.Optional(Nullable(StringEnum(statuses))),
  status: Type.Optional(Nullable(Activity)),
  category_name: Type.Optional(Nullable(TextOfLength(255))),
  monitor_type: Type.Optional(Nullable(MonitorType)),
  type_data: Type.Optional(Nullable(AnyObject)),
  include_degraded_in_downtime: Type.Optional(Nullable(YesNo)),
  is_hidden: Type.Optional(Nullable(YesNo)),
  confirmation_threshold: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 60 }))),
  monitor_settings_json: Type.Optional(Nullable(AnyObject)),
  external_url: Type.Optional(
    Nullable(
      Type.String({
        maxLength: 2_048,
        pattern: '^(https?://|$)',
        errorMessage: 'must begin with http:// or https://, or be empty',
      }),
    ),
  ),
}

export const CreateMonitor = Type.Object(
  { tag: MonitorTag, name: NonBlankText(255), ...monitorFields },
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
  { name: Type.Optional(NonBlankText(255)), ...monitorFields },
  { examples: [{ status: 'INACTIVE' }] },
)

export const ListMonitors = Type.Object({
  status: Type.Optional(Activity),
  category_name: Type.Optional(Type.String()),
  monitor_type: Type.Optional(MonitorType),
  is_hidden: Type.Optional(YesNo),
})

export const MonitorParams = Type.Object({ monitor_tag: Type.String() })

// Monitor data.

export const maxLatencyMs = 2_000_000_000
const Latency = Type.Number({ minimum: 0, maximum: maxLatencyMs, description: 'ms' })
const PointStatus = StringEnum(['UP', 'DOWN', 'DEGRADED'])

export const Point = Type.Object(
  {
    monitor_tag: Type.String(),
    timestamp: WholeSeconds,
    status: StringEnum(reportStatuses),
    latency: Type.Number({ minimum: 0 }),
    type: Type.String(),
  },
  {
    examples: [
      { monitor_tag: 'website', timestamp: 1_767_225_600, status: 'UP', latency: 120, type: 'MANUAL' },
    ],
  },
)

export const ReadData = Type.Object({ start_ts: WholeSeconds, end_ts: WholeSeconds })

export const FillData = Type.Object(
  {
    start_ts: Seconds,
    end_ts: Seconds,
    status: PointStatus,
    latency: Latency,
    deviation: Type.Optional(Nullable(Latency)),
  },
  {
    examples: [{ start_ts: 1_767_225_600, end_ts: 1_767_229_200, status: 'UP', latency: 120, deviation: 20 }],
  },
)

export const PointParams = Type.Object({ monitor_tag: Type.String(), timestamp: WholeSeconds })

export const UpdatePoint = Type.Object(
  { status: Type.Optional(PointStatus), latency: Type.Optional(Latency) },
  { examples: [{ status: 'DEGRADED', latency: 900 }] },
)

// Incidents.

const AnyImpact = [...impacts, 'UP'] as const

const affected = (fallback: (typeof AnyImpact)[number]) =>
  Type.Array(
    Type.Object({
      monitor_tag: Type.String({ minLength: 1 }),
      impact: Type.Optional(
        Nullable(StringEnum([...AnyImpact, ''], { description: `${fallback} when empty or left out` })),
      ),
    }),
    { maxItems: 1_000 },
  )

/** What is said of no impact has the usual one. */
export function toAffected<Impact extends string>(
  values: { monitor_tag: string; impact?: Impact | '' | null }[],
  defaultImpact: Impact,
): { monitor_tag: string; impact: Impact }[] {
  return values.map(({ monitor_tag, impact }) => ({ monitor_tag, impact: impact ? impact : defaultImpact }))
}

export const Affected = Type.Object({ monitor_tag: Type.String(), impact: StringEnum(AnyImpact) })

const incident = {
  id: Id,
  title: Type.String(),
  start_date_time: WholeSeconds,
  end_date_time: Nullable(WholeSeconds),
  state: StringEnum(states),
  incident_source: Type.String(),
  monitors: Type.Array(Affected),
  created_at: IsoTime,
  updated_at: IsoTime,
  url: Type.String(),
}

const incidentExample = {
  id: 1,
  title: 'Website is slow',
  start_date_time: 1_767_225_600,
  end_date_time: null,
  state: 'INVESTIGATING',
  incident_source: 'API',
  monitors: [{ monitor_tag: 'website', impact: 'DEGRADED' }],
  ...timesExample,
  url: 'https://status.example.com/api/v4/incidents/1',
}

/** In lists. */
export const Incident = Type.Object(incident, { examples: [incidentExample] })

export const IncidentDetail = Type.Object(
  { ...incident, incident_type: Type.String() },
  { examples: [{ ...incidentExample, incident_type: 'INCIDENT' }] },
)

/** No end: null, or 0. */
const End = Type.Optional(Nullable(Seconds))

export const CreateIncident = Type.Object(
  {
    title: NonBlankText(255),
    start_date_time: Seconds,
    end_date_time: End,
    monitors: Type.Optional(affected('DOWN')),
  },
  { examples: [{ title: 'Website is slow', start_date_time: 1_767_225_600 }] },
)

export const UpdateIncident = Type.Object(
  {
    title: Type.Optional(NonBlankText(255)),
    start_date_time: Type.Optional(Seconds),
    end_date_time: End,
    monitors: Type.Optional(affected('DOWN')),
  },
  { examples: [{ title: 'Website was slow', monitors: [] }] },
)

/** `monitor_tags`: about any of these, with commas between them. */
export const ListIncidents = Type.Object({
  start_ts: Type.Optional(WholeSeconds),
  end_ts: Type.Optional(WholeSeconds),
  monitor_tags: Type.Optional(Type.String()),
})

export const IncidentParams = Type.Object({ incident_id: Id })

export const Comment = Type.Object(
  {
    id: Id,
    incident_id: Id,
    comment: Type.String(),
    timestamp: WholeSeconds,
    state: StringEnum(states),
    created_at: IsoTime,
    updated_at: IsoTime,
  },
  {
    examples: [
      {
        id: 1,
        incident_id: 1,
        comment: 'We are looking into it',
        timestamp: 1_767_225_600,
        state: 'INVESTIGATING',
        ...timesExample,
      },
    ],
  },
)

export const CreateComment = Type.Object(
  { comment: NonBlankText(10_000), state: StringEnum(states), timestamp: Type.Optional(Nullable(Seconds)) },
  { examples: [{ comment: 'We are looking into it', state: 'IDENTIFIED' }] },
)

export const UpdateComment = Type.Object(
  {
    comment: Type.Optional(NonBlankText(10_000)),
    state: Type.Optional(StringEnum(states)),
    timestamp: Type.Optional(Seconds),
  },
  { examples: [{ comment: 'We have found the cause' }] },
)

export const CommentParams = Type.Object({ incident_id: Id, comment_id: Id })

// Maintenances.

export const Maintenance = Type.Object(
  {
    id: Id,
    title: Type.String(),
    description: Nullable(Type.String()),
    start_date_time: WholeSeconds,
    rrule: Type.String(),
    duration_seconds: Type.Integer(),
    status: Activity,
    monitors: Type.Array(Affected),
    created_at: IsoTime,
    updated_at: IsoTime,
    url: Type.String(),
  },
  {
    examples: [
      {
        id: 1,
        title: 'Weekly updates',
        description: null,
        start_date_time: 1_767_225_600,
        rrule: 'FREQ=WEEKLY;BYDAY=SU',
        duration_seconds: 3_600,
        status: 'ACTIVE',
        monitors: [{ monitor_tag: 'website', impact: 'MAINTENANCE' }],
        ...timesExample,
        url: 'https://status.example.com/api/v4/maintenances/1',
      },
    ],
  },
)

const Duration = Type.Integer({ minimum: 1, maximum: maxDurationSeconds })
const Rule = Type.String({
  minLength: 1,
  maxLength: 255,
  description: 'the value of an RRULE (RFC 5545) in UTC, hourly at the most; FREQ=MINUTELY;COUNT=1: once',
})

export const CreateMaintenance = Type.Object(
  {
    title: NonBlankText(255),
    description: Type.Optional(Nullable(TextOfLength(10_000))),
    start_date_time: Seconds,
    rrule: Rule,
    duration_seconds: Duration,
    monitors: Type.Optional(affected('MAINTENANCE')),
  },
  {
    examples: [
      {
        title: 'Weekly updates',
        start_date_time: 1_767_225_600,
        rrule: 'FREQ=WEEKLY;BYDAY=SU',
        duration_seconds: 3_600,
      },
    ],
  },
)

export const UpdateMaintenance = Type.Object(
  {
    title: Type.Optional(NonBlankText(255)),
    description: Type.Optional(Nullable(TextOfLength(10_000))),
    start_date_time: Type.Optional(Seconds),
    rrule: Type.Optional(Rule),
    duration_seconds: Type.Optional(Duration),
    status: Type.Optional(Activity),
    monitors: Type.Optional(affected('MAINTENANCE')),
  },
  { examples: [{ status: 'INACTIVE' }] },
)

export const ListMaintenances = Type.Object({
  status: Type.Optional(Activity),
  monitor_tag: Type.Optional(Type.String()),
})

export const MaintenanceParams = Type.Object({ maintenance_id: Id })

const EventStatus = StringEnum(eventStates)

export const Event = Type.Object(
  {
    id: Id,
    maintenance_id: Id,
    start_date_time: WholeSeconds,
    end_date_time: WholeSeconds,
    status: EventStatus,
    created_at: IsoTime,
    updated_at: IsoTime,
    url: Type.String(),
  },
  {
    examples: [
      {
        id: 1,
        maintenance_id: 1,
        start_date_time: 1_767_484_800,
        end_date_time: 1_767_488_400,
        status: 'SCHEDULED',
        ...timesExample,
        url: 'https://status.example.com/api/v4/maintenances/1/events/1',
      },
    ],
  },
)

/** An event among those of all maintenances: with what it is an event of. */
export const EventWithMaintenance = Type.Object(
  {
    maintenance_id: Id,
    event_id: Id,
    event_start_date_time: WholeSeconds,
    event_end_date_time: WholeSeconds,
    event_status: EventStatus,
    maintenance_title: Type.String(),
    maintenance_description: Nullable(Type.String()),
    maintenance_status: Activity,
    maintenance_rrule: Type.String(),
    maintenance_duration_seconds: Type.Integer(),
    monitors: Type.Array(Affected),
    url: Type.String(),
  },
  {
    examples: [
      {
        maintenance_id: 1,
        event_id: 1,
        event_start_date_time: 1_767_484_800,
        event_end_date_time: 1_767_488_400,
        event_status: 'SCHEDULED',
        maintenance_title: 'Weekly updates',
        maintenance_description: null,
        maintenance_status: 'ACTIVE',
        maintenance_rrule: 'FREQ=WEEKLY;BYDAY=SU',
        maintenance_duration_seconds: 3_600,
        monitors: [{ monitor_tag: 'website', impact: 'MAINTENANCE' }],
        url: 'https://status.example.com/api/v4/maintenances/1/events/1',
      },
    ],
  },
)

const pageQuery = {
  page: Type.Optional(Type.Integer({ maximum: 1_000_000 })),
  limit: Type.Optional(Type.Integer()),
}

export const ListEvents = Type.Object(pageQuery)

/** `event_start_date_time`: those that begin then or later; else from now on. `monitors`: tags with commas between. */
export const ListAllEvents = Type.Object({
  ...pageQuery,
  monitors: Type.Optional(Type.String()),
  event_status: Type.Optional(
    StringEnum([...eventStates, ...eventStates.map((state) => state.toLowerCase())]),
  ),
  event_start_date_time: Type.Optional(WholeSeconds),
  maintenance_id: Type.Optional(Id),
})

export const EventParams = Type.Object({ maintenance_id: Id, event_id: Id })

/** It is closed, or it is moved. */
export const UpdateEvent = Type.Object(
  {
    status: Type.Optional(StringEnum(closingStates)),
    start_date_time: Type.Optional(Seconds),
    end_date_time: Type.Optional(Seconds),
  },
  {
    examples: [{ start_date_time: 32_503_680_000, end_date_time: 32_503_683_600 }],
    oneOf: [{ required: ['status'] }, { required: ['start_date_time', 'end_date_time'] }],
    dependentRequired: { start_date_time: ['end_date_time'], end_date_time: ['start_date_time'] },
  },
)
