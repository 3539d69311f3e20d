import { hash } from 'node:crypto'
import type { Static } from 'typebox'
import type { Impact, Status } from '../../enums.ts'
import type { PublicIncident } from '../../incidents/public-incidents.ts'
import type { DatedEvent } from '../../maintenances/public-maintenances.ts'
import type { History } from '../../status/history.ts'
import type { DescribedMonitor } from '../../status/repository.ts'
import { formatTime, formatTimeOrNull } from '../../wire/time.ts'
import type {
  ComponentsDocument,
  IncidentsDocument,
  ScheduledMaintenancesDocument,
  StatusDocument,
} from './schemas.ts'

type Component = Static<typeof ComponentsDocument>['components'][number]
type Incident = Static<typeof IncidentsDocument>['incidents'][number]
type ScheduledMaintenance = Static<typeof ScheduledMaintenancesDocument>['scheduled_maintenances'][number]

/** Everything that a document of Statuspage can contain. */
export type Content = Static<typeof StatusDocument> & {
  components: Component[]
  incidents: Incident[]
  unresolved: Incident[]
  scheduled: ScheduledMaintenance[]
  upcoming: ScheduledMaintenance[]
  active: ScheduledMaintenance[]
}

/** Longest lists of incidents and of maintenances, as at Statuspage. */
const maxListed = 50

type Site = { siteName: string; base: string; monitors: DescribedMonitor[] } & History

export function toContent({ siteName, base, monitors, incidents, events }: Site): Content {
  const components = toComponents(monitors)
  const byTag = new Map(components.map((component) => [component.id, component]))
  const toIncident = (incident: PublicIncident) => serializeIncident(incident, base, byTag)
  // The format has no status for them.
  const listed = events.filter(({ state }) => state !== 'CANCELLED')
  const scheduled = listed.map((event) => serializeEvent(event, base, byTag))
  const updates = [...monitors, ...incidents, ...listed].map(({ updated_at }) => updated_at)
  return {
    page: {
      id: pageId,
      name: siteName,
      url: base,
      time_zone: 'Etc/UTC',
      updated_at: formatTime(latest(updates)),
    },
    status: toStatus(monitors),
    components,
    incidents: incidents.slice(0, maxListed).map(toIncident),
    unresolved: incidents.filter(({ is_open }) => is_open).map(toIncident),
    scheduled: scheduled
      .toSorted((a, b) => b.scheduled_for.localeCompare(a.scheduled_for) || a.id.localeCompare(b.id))
      .slice(0, maxListed),
    upcoming: scheduled.filter(({ status }) => status === 'scheduled'),
    active: scheduled.filter(({ status }) => status === 'in_progress'),
  }
}

const pageId = 'status'

function latest(times: Date[]): Date {
  return times.reduce((newest, time) => (time > newest ? time : newest), new Date(0))
}

/** A monitor is down: some systems are. All are: the indicator is critical. */
function toStatus(monitors: DescribedMonitor[]): Content['status'] {
  const count = (status: Status) => monitors.filter((monitor) => monitor.status === status).length
  if (count('DOWN') > 0) {
    return count('DOWN') === monitors.length
      ? { indicator: 'critical', description: 'Major System Outage' }
      : { indicator: 'major', description: 'Partial System Outage' }
  }
  if (count('DEGRADED') > 0) return { indicator: 'minor', description: 'Partially Degraded Service' }
  if (count('MAINTENANCE') > 0) return { indicator: 'none', description: 'Service Under Maintenance' }
  return { indicator: 'none', description: 'All Systems Operational' }
}

/** The format has no status for a monitor without data. */
const componentStatuses: Record<Status, Component['status']> = {
  UP: 'operational',
  NO_DATA: 'operational',
  DEGRADED: 'degraded_performance',
  MAINTENANCE: 'under_maintenance',
  DOWN: 'major_outage',
}

/** Worst first. */
const bySeverity: Component['status'][] = [
  'major_outage',
  'under_maintenance',
  'degraded_performance',
  'operational',
]

/** @param monitors ordered by category */
function toComponents(monitors: DescribedMonitor[]): Component[] {
  const categories = new Map<string | null, DescribedMonitor[]>()
  for (const monitor of monitors) {
    const members = categories.get(monitor.category_name)
    if (members) members.push(monitor)
    else categories.set(monitor.category_name, [monitor])
  }
  return [...categories]
    .flatMap(([category, members]) => {
      const groupId = category === null ? null : `group:${hash('sha256', category).slice(0, 12)}`
      const components = members.map((monitor) => toComponent(monitor, groupId))
      return category === null || groupId === null
        ? components
        : [toGroup(groupId, category, members, components), ...components]
    })
    .map((component, index) => ({ ...component, position: index + 1 }))
}

const commonFields = {
  position: 0,
  showcase: false,
  start_date: null,
  page_id: pageId,
  only_show_if_degraded: false,
}

function toComponent(monitor: DescribedMonitor, groupId: string | null): Component {
  return {
    ...commonFields,
    id: monitor.tag,
    name: monitor.name,
    status: componentStatuses[monitor.status],
    created_at: formatTime(monitor.created_at),
    updated_at: formatTime(monitor.updated_at),
    description: monitor.description,
    group_id: groupId,
    group: false,
  }
}

function toGroup(id: string, name: string, members: DescribedMonitor[], components: Component[]): Component {
  const present = new Set(components.map(({ status }) => status))
  return {
    ...commonFields,
    id,
    name,
    status: bySeverity.find((status) => present.has(status)) ?? 'operational',
    created_at: components.map(({ created_at }) => created_at).sort()[0] ?? '',
    updated_at: formatTime(latest(members.map(({ updated_at }) => updated_at))),
    description: null,
    group_id: null,
    group: true,
    components: components.map((component) => component.id),
  }
}

const impacts: [impact: Impact, indicator: Incident['impact']][] = [
  ['DOWN', 'critical'],
  ['DEGRADED', 'minor'],
]

const updateFields = {
  affected_components: null,
  deliver_notifications: false,
  custom_tweet: null,
  tweet_id: null,
}

function serializeIncident(
  incident: PublicIncident,
  base: string,
  components: Map<string, Component>,
): Incident {
  const { title, started_at, ended_at, created_at, monitors, comments } = incident
  const id = String(incident.id)
  // An incident whose end has passed is no longer open, whatever its state.
  const isOver = !incident.is_open
  const status = isOver ? 'resolved' : toIncidentStatus(incident.state)
  const updated = latest([incident.updated_at, ...comments.map((comment) => toDate(comment.updated_at))])
  const monitoring = comments.find(({ state }) => state === 'MONITORING')
  const updates = comments.map((comment) => ({
    ...updateFields,
    id: String(comment.id),
    incident_id: id,
    status: toIncidentStatus(comment.state),
    body: comment.comment,
    created_at: formatTime(toDate(comment.created_at)),
    updated_at: formatTime(toDate(comment.updated_at)),
    display_at: formatTime(toDate(comment.timestamp)),
  }))
  // Clients of Statuspage expect at least one update.
  const first = {
    ...updateFields,
    id: `${id}-0`,
    incident_id: id,
    status,
    body: title,
    created_at: formatTime(created_at),
    updated_at: formatTime(created_at),
    display_at: formatTime(started_at),
  }
  return {
    id,
    name: title,
    status,
    created_at: formatTime(created_at),
    updated_at: formatTime(updated),
    monitoring_at: monitoring ? formatTime(toDate(monitoring.timestamp)) : null,
    resolved_at: isOver ? formatTimeOrNull(ended_at) : null,
    started_at: formatTime(started_at),
    impact: impacts.find(([impact]) => monitors.some((each) => each.impact === impact))?.[1] ?? 'none',
    shortlink: `${base}/incidents/${id}`,
    page_id: pageId,
    incident_updates: updates.length > 0 ? updates : [first],
    components: findComponents(monitors, components),
    reminder_intervals: null,
  }
}

function toIncidentStatus(state: PublicIncident['state']): Incident['status'] {
  return state.toLowerCase() as Lowercase<typeof state>
}

function serializeEvent(
  event: DatedEvent,
  base: string,
  components: Map<string, Component>,
): ScheduledMaintenance {
  const { title, description, state, monitors } = event
  const id = `${event.id}-${event.event_id}`
  const status = state === 'ONGOING' ? 'in_progress' : state === 'COMPLETED' ? 'completed' : 'scheduled'
  const [created_at, updated_at, starts_at, ends_at] = [
    event.created_at,
    event.updated_at,
    event.starts_at,
    event.ends_at,
  ].map(formatTime) as [string, string, string, string]
  return {
    id,
    name: title,
    status,
    created_at,
    updated_at,
    monitoring_at: null,
    resolved_at: status === 'completed' ? ends_at : null,
    started_at: starts_at,
    scheduled_for: starts_at,
    scheduled_until: ends_at,
    impact: 'maintenance',
    shortlink: `${base}/maintenances/${event.id}`,
    page_id: pageId,
    incident_updates: [
      {
        ...updateFields,
        id: `${id}-0`,
        incident_id: id,
        status,
        body: description ?? title,
        created_at,
        updated_at,
        display_at: created_at,
      },
    ],
    components: findComponents(monitors, components),
    reminder_intervals: null,
  }
}

function findComponents(
  monitors: { monitor_tag: string }[],
  components: Map<string, Component>,
): Component[] {
  return monitors.flatMap(({ monitor_tag: tag }) => components.get(tag) ?? [])
}

function toDate(seconds: number): Date {
  return new Date(seconds * 1000)
}
