import { Type } from 'typebox'
import { closingStates, eventStates, maintenanceImpacts } from '../../enums.ts'
import { maxAffectedMonitors, maxLengths } from '../../limits.ts'
import { maxDurationSeconds } from '../../maintenances/schedule.ts'
import { describe, Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { Id } from '../../wire/ids.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'
import { createdAt, MonitorTag, timesExample, Title, updatedAt } from './incidents.ts'

const Description = Nullable(
  Type.String({
    maxLength: maxLengths.maintenances.description,
    description: 'Text about the maintenance, at most 10,000 characters.',
  }),
)
const StartsAt = describe(Time, 'Start of the first occurrence.')
const Duration = Type.Integer({
  minimum: 60,
  maximum: maxDurationSeconds,
  description: 'Duration of each occurrence in seconds, 60 to 31,536,000 (365 days).',
})
const Rule = Nullable(
  Type.String({
    maxLength: maxLengths.maintenances.rrule,
    description:
      'Recurrence rule: the value of an RRULE (RFC 5545) in UTC, hourly or less frequent, at most 255 characters. ' +
      'Null: the maintenance occurs once.',
    examples: ['FREQ=WEEKLY;BYDAY=SU'],
  }),
)
const enabled = {
  description: 'Whether the maintenance affects its monitors and gets further events.',
}
const EventStateSchema = StringEnum(eventStates, {
  description:
    'State of the event: SCHEDULED, READY in the 60 minutes before it starts, ONGOING, COMPLETED after its end or if a ' +
    'request ended it, or CANCELLED by a request.',
})
const EventStartsAt = describe(Time, 'Start of the event.')
const EventEndsAt = describe(Time, 'End of the event, after its start.')

const impact = {
  description: 'Status of the monitor while an event is ongoing, unless a worse impact applies.',
}
const Affected = Type.Object(
  { monitor_tag: MonitorTag, impact: StringEnum(maintenanceImpacts, impact) },
  strict,
)
const AffectedList = Type.Array(Affected, { description: 'Affected monitors, ordered by tag.' })
const NewAffected = Type.Object(
  {
    monitor_tag: MonitorTag,
    impact: Type.Optional(
      StringEnum(maintenanceImpacts, { description: `${impact.description} Default: MAINTENANCE.` }),
    ),
  },
  strict,
)
const NewAffectedList = Type.Array(NewAffected, {
  maxItems: maxAffectedMonitors,
  description: 'Affected monitors, at most 1,000, each at most once.',
})

const event = { id: Id, starts_at: EventStartsAt, ends_at: EventEndsAt, state: EventStateSchema }

const eventExample = {
  id: 1,
  starts_at: '2999-01-01T22:00:00Z',
  ends_at: '2999-01-01T23:00:00Z',
  state: 'SCHEDULED',
}
const affectedExample = [{ monitor_tag: 'website', impact: 'MAINTENANCE' }]

export const Event = Type.Object(
  {
    ...event,
    maintenance_id: describe(Id, 'Id of the maintenance.'),
    created_at: createdAt,
    updated_at: updatedAt,
  },
  { examples: [{ ...eventExample, maintenance_id: 1, ...timesExample }] },
)

export const Maintenance = Type.Object(
  {
    id: Id,
    title: Title,
    description: Description,
    starts_at: StartsAt,
    // Kener's API allows shorter durations.
    duration_seconds: {
      ...Duration,
      minimum: 1,
      description: 'Duration of each occurrence in seconds, 1 to 31,536,000 (365 days).',
    },
    rrule: Rule,
    enabled: Type.Boolean(enabled),
    monitors: AffectedList,
    next_event: describe(
      Nullable(Type.Object(event)),
      'The ongoing event, otherwise the next one. Null: there is neither.',
    ),
    created_at: createdAt,
    updated_at: updatedAt,
  },
  {
    examples: [
      {
        id: 1,
        title: 'Database upgrade',
        description: null,
        starts_at: '2999-01-01T22:00:00Z',
        duration_seconds: 3600,
        rrule: null,
        enabled: true,
        monitors: affectedExample,
        next_event: eventExample,
        ...timesExample,
      },
    ],
  },
)

/** Item of the public page: a maintenance with its ongoing event, otherwise with the next one. */
export const PublicMaintenance = Type.Object(
  {
    id: Id,
    title: Title,
    description: Description,
    state: EventStateSchema,
    starts_at: EventStartsAt,
    ends_at: EventEndsAt,
    monitors: AffectedList,
  },
  {
    examples: [{ title: 'Database upgrade', description: null, ...eventExample, monitors: affectedExample }],
  },
)

export const CreateMaintenance = Type.Object(
  {
    title: Title,
    description: { ...Description, default: null },
    starts_at: StartsAt,
    duration_seconds: Duration,
    rrule: { ...Rule, default: null },
    enabled: Type.Boolean({ ...enabled, default: true }),
    monitors: { ...NewAffectedList, default: [] },
  },
  {
    ...strict,
    examples: [
      {
        title: 'Database upgrade',
        starts_at: '2999-01-01T22:00:00Z',
        duration_seconds: 3600,
        monitors: [{ monitor_tag: 'website', impact: 'DOWN' }],
      },
      {
        title: 'Backups',
        description: 'The website may be slow',
        starts_at: '2026-01-04T03:00:00Z',
        duration_seconds: 1800,
        rrule: 'FREQ=WEEKLY;BYDAY=SU',
        monitors: [{ monitor_tag: 'website' }],
      },
    ],
  },
)

export const UpdateMaintenance = Type.Object(
  {
    title: Type.Optional(Title),
    description: Type.Optional(Description),
    starts_at: Type.Optional(
      describe(
        StartsAt,
        'Start of the first occurrence. A new schedule replaces the events that have not started.',
      ),
    ),
    duration_seconds: Type.Optional(Duration),
    rrule: Type.Optional(Rule),
    enabled: Type.Optional(Type.Boolean(enabled)),
    monitors: Type.Optional(
      describe(NewAffectedList, 'Replaces all affected monitors: at most 1,000, each at most once.'),
    ),
  },
  { ...strict, examples: [{ enabled: false }, { rrule: 'FREQ=MONTHLY;BYDAY=1SU' }] },
)

export const ListMaintenances = Type.Object(
  {
    enabled: Type.Optional(
      Type.Boolean({ description: 'true: only enabled maintenances. false: only disabled ones.' }),
    ),
    monitor_tag: Type.Optional(Type.String({ description: 'Only maintenances that affect this monitor.' })),
    ...pageQuery,
  },
  strict,
)

const MaintenanceId = describe(Id, 'Id of the maintenance.')
export const MaintenanceParams = Type.Object({ id: MaintenanceId })
export const EventParams = Type.Object({ id: MaintenanceId, event_id: describe(Id, 'Id of the event.') })

export const ListEvents = Type.Object(pageQuery, strict)

/** Closes an event, or moves it. */
export const UpdateEvent = Type.Object(
  {
    state: Type.Optional(
      StringEnum(closingStates, {
        description:
          'Closes the event: COMPLETED is allowed if it is ongoing, CANCELLED also before it starts. An ongoing event ' +
          'then ends at the current full minute. Not allowed together with times.',
      }),
    ),
    starts_at: Type.Optional(describe(Time, 'New start of the event. Requires ends_at.')),
    ends_at: Type.Optional(describe(Time, 'New end of the event, after starts_at. Requires starts_at.')),
  },
  {
    ...strict,
    examples: [
      { state: 'CANCELLED' },
      { starts_at: '2999-01-01T23:00:00Z', ends_at: '2999-01-02T00:00:00Z' },
    ],
    oneOf: [{ required: ['state'] }, { required: ['starts_at', 'ends_at'] }],
    dependentRequired: { starts_at: ['ends_at'], ends_at: ['starts_at'] },
  },
)
