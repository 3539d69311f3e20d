import { Type } from 'typebox'
import { closingStates, eventStates } from '../../enums.ts'
import { maxLengths } from '../../limits.ts'
import { maxDurationSeconds } from '../../maintenances/schedule.ts'
import { Nullable, StringEnum } from '../../wire/envelope.ts'
import {
  activity,
  affected,
  idOf,
  minute,
  newAffected,
  nonBlankText,
  resourceUrl,
  seconds,
  text,
  timestamps,
  timestampsExample,
} from './shared.ts'

const descriptions = {
  title: 'Title of the maintenance.',
  description: 'Description of the maintenance.',
  rrule:
    'Recurrence rule: the value of an RRULE (RFC 5545) in UTC, hourly or less frequent. FREQ=MINUTELY;COUNT=1: it occurs once.',
  duration_seconds: 'Duration of each event, in seconds.',
  status: 'INACTIVE: the maintenance is disabled, and affects no monitor.',
}

export const Maintenance = Type.Object(
  {
    id: idOf('maintenance'),
    title: Type.String({ description: descriptions.title }),
    description: Nullable(Type.String({ description: descriptions.description })),
    start_date_time: seconds('First start of the schedule'),
    rrule: Type.String({ description: descriptions.rrule }),
    duration_seconds: Type.Integer({ description: descriptions.duration_seconds }),
    status: activity(descriptions.status),
    monitors: affected,
    ...timestamps,
    url: resourceUrl,
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
        ...timestampsExample,
        url: 'https://status.example.com/maintenances/1',
      },
    ],
  },
)

const title = nonBlankText(maxLengths.maintenances.title, descriptions.title)
const description = Type.Optional(
  Nullable(text(maxLengths.maintenances.description, descriptions.description)),
)
const start = minute('First start of the schedule')
const rrule = Type.String({
  minLength: 1,
  maxLength: maxLengths.maintenances.rrule,
  description: `${descriptions.rrule} 1 to 255 characters.`,
})
const duration = Type.Integer({
  minimum: 1,
  maximum: maxDurationSeconds,
  description: `${descriptions.duration_seconds} 1 to 31,536,000 (365 days).`,
})

export const CreateMaintenance = Type.Object(
  {
    title,
    description,
    start_date_time: start,
    rrule,
    duration_seconds: duration,
    monitors: Type.Optional(newAffected('MAINTENANCE')),
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
    title: Type.Optional(title),
    description,
    start_date_time: Type.Optional(start),
    rrule: Type.Optional(rrule),
    duration_seconds: Type.Optional(duration),
    status: Type.Optional(activity(descriptions.status)),
    monitors: Type.Optional(newAffected('MAINTENANCE')),
  },
  { examples: [{ status: 'INACTIVE' }] },
)

export const ListMaintenances = Type.Object({
  status: Type.Optional(activity('Only maintenances with this status.')),
  monitor_tag: Type.Optional(Type.String({ description: 'Only maintenances that affect this monitor.' })),
})

export const MaintenanceParams = Type.Object({ maintenance_id: idOf('maintenance') })

const eventStatus = StringEnum(eventStates, {
  description: 'State of the event. READY: it starts within 60 minutes.',
})

export const Event = Type.Object(
  {
    id: idOf('event'),
    maintenance_id: idOf('maintenance'),
    start_date_time: seconds('Start of the event'),
    end_date_time: seconds('End of the event'),
    status: eventStatus,
    ...timestamps,
    url: resourceUrl,
  },
  {
    examples: [
      {
        id: 1,
        maintenance_id: 1,
        start_date_time: 1_767_484_800,
        end_date_time: 1_767_488_400,
        status: 'SCHEDULED',
        ...timestampsExample,
        url: 'https://status.example.com/maintenances/1',
      },
    ],
  },
)

/** An event with fields of its maintenance, in the list of all events. */
export const EventWithMaintenance = Type.Object(
  {
    maintenance_id: idOf('maintenance'),
    event_id: idOf('event'),
    event_start_date_time: seconds('Start of the event'),
    event_end_date_time: seconds('End of the event'),
    event_status: eventStatus,
    maintenance_title: Type.String({ description: descriptions.title }),
    maintenance_description: Nullable(Type.String({ description: descriptions.description })),
    maintenance_status: activity(descriptions.status),
    maintenance_rrule: Type.String({ description: descriptions.rrule }),
    maintenance_duration_seconds: Type.Integer({ description: descriptions.duration_seconds }),
    monitors: affected,
    url: resourceUrl,
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
        url: 'https://status.example.com/maintenances/1',
      },
    ],
  },
)

const page = {
  page: Type.Integer({ examples: [1], description: 'Number of this page, from 1.' }),
  limit: Type.Integer({ examples: [20], description: 'Maximum number of events on a page, 1 to 100.' }),
}

export const EventPage = Type.Object(
  { events: Type.Array(Event, { description: 'Events on this page.' }), ...page },
  { description: 'One page of the events of this maintenance, soonest first' },
)

export const AllEventsPage = Type.Object(
  {
    events: Type.Array(EventWithMaintenance, { description: 'Events on this page.' }),
    ...page,
    total: Type.Integer({ examples: [1], description: 'Number of events on all pages.' }),
  },
  { description: 'One page of the events of all maintenances, soonest first' },
)

const pageQuery = {
  page: Type.Optional(
    Type.Integer({ maximum: 1_000_000, description: 'Number of the page, 1 to 1,000,000. Default: 1.' }),
  ),
  limit: Type.Optional(
    Type.Integer({
      description: 'Maximum number of events. Values below 1 count as 1, above 100 as 100. Default: 20.',
    }),
  ),
}

export const ListEvents = Type.Object(pageQuery)

export const ListAllEvents = Type.Object({
  ...pageQuery,
  monitors: Type.Optional(
    Type.String({
      description: 'Comma-separated tags. Only events that affect at least one of these monitors.',
    }),
  ),
  event_status: Type.Optional(
    StringEnum([...eventStates, ...eventStates.map((state) => state.toLowerCase())], {
      description: 'Only events in this state.',
    }),
  ),
  event_start_date_time: Type.Optional(
    seconds('Only events that start in the minute of this time or later', 'Default: now.'),
  ),
  maintenance_id: Type.Optional(idOf('maintenance, to list only its events')),
})

export const EventParams = Type.Object({ maintenance_id: idOf('maintenance'), event_id: idOf('event') })

/** Either closes or moves an event. */
export const UpdateEvent = Type.Object(
  {
    status: Type.Optional(
      StringEnum(closingStates, {
        description:
          'Closes the event. COMPLETED: only an ongoing event. CANCELLED: any event that has not ended.',
      }),
    ),
    start_date_time: Type.Optional(minute('New start of the event')),
    end_date_time: Type.Optional(minute('New end of the event, at least one minute after its start')),
  },
  {
    examples: [{ start_date_time: 32_503_680_000, end_date_time: 32_503_683_600 }],
    oneOf: [{ required: ['status'] }, { required: ['start_date_time', 'end_date_time'] }],
    dependentRequired: { start_date_time: ['end_date_time'], end_date_time: ['start_date_time'] },
  },
)
