import { Type } from 'typebox'
import { closingStates, eventStates, maintenanceImpacts } from '../../enums.ts'
import { maxDurationSeconds } from '../../maintenances/schedule.ts'
import { Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'
import { Id, timesExample, Title } from './incidents.ts'

const Description = Nullable(Type.String({ maxLength: 10_000 }))
const Duration = Type.Integer({ minimum: 60, maximum: maxDurationSeconds })
const Rule = Nullable(
  Type.String({
    maxLength: 255,
    description: 'the value of an RRULE (RFC 5545) in UTC, hourly at the most; null: once',
    examples: ['FREQ=WEEKLY;BYDAY=SU'],
  }),
)
const EventStateSchema = StringEnum(eventStates)

const Affected = Type.Object({ monitor_tag: Type.String(), impact: StringEnum(maintenanceImpacts) }, strict)
const NewAffected = Type.Object(
  { monitor_tag: Type.String(), impact: Type.Optional(StringEnum(maintenanceImpacts)) },
  strict,
)
const NewAffectedList = Type.Array(NewAffected, { maxItems: 1_000 })

const event = { id: Id, starts_at: Time, ends_at: Time, state: EventStateSchema }

const eventExample = {
  id: 1,
  starts_at: '2999-01-01T22:00:00Z',
  ends_at: '2999-01-01T23:00:00Z',
  state: 'SCHEDULED',
}
const affectedExample = [{ monitor_tag: 'website', impact: 'MAINTENANCE' }]

export const Event = Type.Object(
  { ...event, maintenance_id: Id, created_at: Time, updated_at: Time },
  { examples: [{ ...eventExample, maintenance_id: 1, ...timesExample }] },
)

export const Maintenance = Type.Object(
  {
    id: Id,
    title: Title,
    description: Description,
    starts_at: Time,
    // Clients of Kener may have planned less than a minute.
    duration_seconds: { ...Duration, minimum: 1 },
    rrule: Rule,
    enabled: Type.Boolean(),
    monitors: Type.Array(Affected),
    next_event: Nullable(Type.Object(event)),
    created_at: Time,
    updated_at: Time,
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

/** On the public page: with the time of its event under way, or else of the next. */
export const PublicMaintenance = Type.Object(
  {
    id: Id,
    title: Title,
    description: Description,
    state: EventStateSchema,
    starts_at: Time,
    ends_at: Time,
    monitors: Type.Array(Affected),
  },
  {
    examples: [{ title: 'Database upgrade', description: null, ...eventExample, monitors: affectedExample }],
  },
)

export const CreateMaintenance = Type.Object(
  {
    title: Title,
    description: { ...Description, default: null },
    starts_at: Time,
    duration_seconds: Duration,
    rrule: { ...Rule, default: null },
    enabled: Type.Boolean({ default: true }),
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
        description: 'Everything is a little slower',
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
    starts_at: Type.Optional(Time),
    duration_seconds: Type.Optional(Duration),
    rrule: Type.Optional(Rule),
    enabled: Type.Optional(Type.Boolean()),
    monitors: Type.Optional(NewAffectedList),
  },
  { ...strict, examples: [{ enabled: false }, { rrule: 'FREQ=MONTHLY;BYDAY=1SU' }] },
)

export const ListMaintenances = Type.Object(
  { enabled: Type.Optional(Type.Boolean()), monitor_tag: Type.Optional(Type.String()), ...pageQuery },
  strict,
)

export const MaintenanceParams = Type.Object({ id: Id })
export const EventParams = Type.Object({ id: Id, event_id: Id })

export const ListEvents = Type.Object(pageQuery, strict)

/** It is closed, or it is moved. */
export const UpdateEvent = Type.Object(
  {
    state: Type.Optional(StringEnum(closingStates)),
    starts_at: Type.Optional(Time),
    ends_at: Type.Optional(Time),
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
