import { Type } from 'typebox'
import { describe, Nullable, StringEnum } from '../../wire/envelope.ts'
import { Time } from '../../wire/time.ts'

const timeExample = '2027-01-31T12:00:00Z'
const time = (description: string) => describe({ ...Time, examples: [timeExample] }, description)
const optionalTime = (description: string) => Nullable(time(description))
const text = (description: string, example: string) => Type.String({ description, examples: [example] })
/** A field of the format without a function here. */
const unused = (description: string) =>
  Type.Null({ description: `${description} Always null.`, examples: [null] })

const componentStatuses = [
  'operational',
  'degraded_performance',
  'major_outage',
  'under_maintenance',
] as const
const indicators = ['none', 'minor', 'major', 'critical'] as const
const incidentStatuses = ['investigating', 'identified', 'monitoring', 'resolved'] as const
const maintenanceStatuses = ['scheduled', 'in_progress', 'completed'] as const

const PageId = text('Id of the page, the same for all.', 'status')

const Page = Type.Object(
  {
    id: PageId,
    name: text('Title of the page: `SITE_NAME`.', 'Status'),
    url: text('Address of the page.', 'https://status.example.com'),
    time_zone: text('Time zone of the page.', 'Etc/UTC'),
    updated_at: time('Latest update of anything that the page shows.'),
  },
  { description: 'The page.' },
)

const Status = Type.Object(
  {
    indicator: StringEnum(indicators, {
      description:
        'none: no monitor is down or degraded. minor: degraded. major: some are down. critical: all are down.',
      examples: ['none'],
    }),
    description: text('The overall status in words.', 'All Systems Operational'),
  },
  { description: 'The overall status.' },
)

const Component = Type.Object({
  id: text('Tag of the monitor. Of a group: an id that depends on its name.', 'website'),
  name: text('Name of the monitor, or of the category for a group.', 'Website'),
  status: StringEnum(componentStatuses, {
    description:
      'Status of the monitor. Without data, it is operational. Of a group: the most severe one of its components.',
    examples: ['operational'],
  }),
  created_at: time('Creation of the monitor. Of a group: of its first monitor.'),
  updated_at: time('Latest change of the attributes of the monitor. Of a group: of its monitors.'),
  position: Type.Integer({ description: 'Position in the list, from 1 on.', examples: [1] }),
  description: Nullable(Type.String({ description: 'Text about the monitor.', examples: [null] })),
  showcase: Type.Boolean({ description: 'Always false.', examples: [false] }),
  start_date: unused('Date of the first data.'),
  group_id: Nullable(
    Type.String({
      description: 'Id of the group of the category. Null: the monitor has no category.',
      examples: [null],
    }),
  ),
  page_id: PageId,
  group: Type.Boolean({ description: 'True for a group: a category.', examples: [false] }),
  only_show_if_degraded: Type.Boolean({ description: 'Always false.', examples: [false] }),
  components: Type.Optional(
    Type.Array(text('Id of a component.', 'website'), { description: 'Ids of the components of a group.' }),
  ),
})

const update = {
  id: text('Id of the update.', '12'),
  body: text('Text of the update.', 'We are looking into it.'),
  created_at: time('Creation of the update.'),
  updated_at: time('Latest change of the update.'),
  display_at: time('Time of the update.'),
  affected_components: unused('Components that the update affects.'),
  deliver_notifications: Type.Boolean({ description: 'Always false.', examples: [false] }),
  custom_tweet: unused('Text of a tweet.'),
  tweet_id: unused('Id of a tweet.'),
}

const incident = {
  id: text('Id of the incident. Of a maintenance: ids of the maintenance and of its event.', '12'),
  name: text('Title.', 'Website is down'),
  created_at: time('Creation.'),
  updated_at: time('Latest update.'),
  monitoring_at: optionalTime('Time of the newest comment with the state MONITORING.'),
  resolved_at: optionalTime('End, if it has ended.'),
  started_at: time('Start.'),
  shortlink: text('Address of its page.', 'https://status.example.com/incidents/12'),
  page_id: PageId,
  components: Type.Array(Component, { description: 'The affected components.' }),
  reminder_intervals: unused('Intervals of reminders.'),
}

const IncidentStatus = StringEnum(incidentStatuses, {
  description: 'State of the incident.',
  examples: ['investigating'],
})
const Incident = Type.Object({
  ...incident,
  status: IncidentStatus,
  impact: StringEnum(indicators, {
    description: 'Worst impact: critical for DOWN, minor for DEGRADED, otherwise none.',
    examples: ['critical'],
  }),
  incident_updates: Type.Array(
    Type.Object({
      ...update,
      incident_id: text('Id of the incident.', '12'),
      status: describe(IncidentStatus, 'State of the incident at that time.'),
    }),
    {
      description:
        'The newest comments, newest first, at most 50. Without comments: one update with the title.',
    },
  ),
})

const MaintenanceStatus = StringEnum(maintenanceStatuses, {
  description: 'State of the event.',
  examples: ['scheduled'],
})
const ScheduledMaintenance = Type.Object({
  ...incident,
  status: MaintenanceStatus,
  impact: StringEnum(['maintenance'], { description: 'Always maintenance.', examples: ['maintenance'] }),
  scheduled_for: time('Start of the event.'),
  scheduled_until: time('End of the event.'),
  incident_updates: Type.Array(
    Type.Object({
      ...update,
      incident_id: text('Id of the maintenance and of its event.', '3-7'),
      status: MaintenanceStatus,
    }),
    { description: 'One update, with the description of the maintenance.' },
  ),
})

const components = Type.Array(Component, {
  description: 'Visible monitors, ordered by category and tag, each category after its group.',
})
const list = (description: string) => Type.Array(Incident, { description })
const scheduled = (description: string) => Type.Array(ScheduledMaintenance, { description })

export const SummaryDocument = Type.Object({
  page: Page,
  status: Status,
  components,
  incidents: list('Open incidents, newest start first, at most 50.'),
  scheduled_maintenances: scheduled('Events that are ongoing or upcoming, soonest first, at most 100.'),
})
export const StatusDocument = Type.Object({ page: Page, status: Status })
export const ComponentsDocument = Type.Object({ page: Page, components })
export const IncidentsDocument = Type.Object({
  page: Page,
  incidents: list('Incidents, newest start first, at most 50.'),
})
export const ScheduledMaintenancesDocument = Type.Object({
  page: Page,
  scheduled_maintenances: scheduled('Events, latest start first, at most 50. Cancelled ones are left out.'),
})
