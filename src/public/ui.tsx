import { type ComponentChildren, createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { EventState, State, Status } from '../enums.ts'
import { formatDateTime, formatRelative } from '../wire/time-text.ts'
import { formatTime } from '../wire/time.ts'

/** The time of the database at which the page was read. */
export const Now = createContext(new Date(0))

/** Path of SITE_URL, which a proxy removes from requests: empty, or begins with a slash. */
export const SitePath = createContext('')

type LinkProps = {
  to: string
  class?: string
  rel?: string
  'aria-current'?: 'page' | undefined
  children: ComponentChildren
}

/** Links to a path of this service. */
export function Link({ to, ...attributes }: LinkProps) {
  return <a href={useContext(SitePath) + to} {...attributes} />
}

/** Renders a time in UTC. status.js replaces it with the local time. */
export function DateTime({ time }: { time: Date }) {
  return <time dateTime={formatTime(time)}>{formatDateTime(time)}</time>
}

/** Renders a time relative to now and in UTC. status.js updates the first, and replaces the second. */
export function TimeAgo({ time }: { time: Date }) {
  return (
    <span class="moment">
      <time dateTime={formatTime(time)} data-relative="">
        {formatRelative(time, useContext(Now))}
      </time>{' '}
      <DateTime time={time} />
    </span>
  )
}

const statusNames: Record<Status, string> = {
  UP: 'Operational',
  DEGRADED: 'Degraded',
  DOWN: 'Down',
  MAINTENANCE: 'Maintenance',
  NO_DATA: 'No data',
}

export const stateNames: Record<State, string> = {
  INVESTIGATING: 'Investigating',
  IDENTIFIED: 'Identified',
  MONITORING: 'Monitoring',
  RESOLVED: 'Resolved',
}

export const eventNames: Record<EventState, string> = {
  SCHEDULED: 'Scheduled',
  READY: 'Starts soon',
  ONGOING: 'In progress',
  COMPLETED: 'Completed',
  CANCELLED: 'Cancelled',
}

/** Shapes differ, so that they can be told apart without colour. */
const shapes: Record<Status, string> = {
  UP: 'M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0Zm4 5.9-4.9 5.4L4 8.3l1.2-1.2 1.8 1.8 3.7-4.1Z',
  DEGRADED: 'M8 .7.2 15.3h15.6Zm-.9 5.1h1.8v4.6H7.1Zm0 5.7h1.8v1.8H7.1Z',
  DOWN: 'M4.7 0h6.6L16 4.7v6.6L11.3 16H4.7L0 11.3V4.7Zm0 5.9L6.8 8l-2.1 2.1 1.2 1.2L8 9.2l2.1 2.1 1.2-1.2L9.2 8l2.1-2.1-1.2-1.2L8 6.8 5.9 4.7Z',
  MAINTENANCE: 'M0 0h16v16H0Zm4.2 4v8h2.4V4Zm5.2 0v8h2.4V4Z',
  NO_DATA:
    'M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0Zm0 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8ZM4.6 7.1h6.8v1.8H4.6Z',
}

/** Defines the shapes once per page. */
export function IconShapes() {
  return (
    <svg width="0" height="0" class="shapes" aria-hidden="true">
      {Object.entries(shapes).map(([status, path]) => (
        <symbol key={status} id={`is-${status}`} viewBox="0 0 16 16">
          <path fill-rule="evenodd" d={path} />
        </symbol>
      ))}
    </svg>
  )
}

export function StatusIcon({ status }: { status: Status }) {
  return (
    <svg class={`icon ${toClass(status)}`} aria-hidden="true">
      <use href={`#is-${status}`} />
    </svg>
  )
}

export function StatusLabel({ status }: { status: Status }) {
  return (
    <span class={`status ${toClass(status)}`}>
      <StatusIcon status={status} /> <span>{statusNames[status]}</span>
    </span>
  )
}

export function toClass(status: Status): string {
  return status.toLowerCase().replace('_', '-')
}

type AffectedMonitor = { monitor_tag: string; name: string; impact: Status }

/** Most affected monitors that a list of incidents or maintenances shows of each. */
const maxAffected = 20

/** Lists the affected monitors, each with its impact. @param isComplete false: the first ones, and the number of others */
export function Affected({
  monitors,
  isComplete = false,
}: {
  monitors: AffectedMonitor[]
  isComplete?: boolean
}) {
  if (monitors.length === 0) return null
  const shown = isComplete ? monitors : monitors.slice(0, maxAffected)
  const others = monitors.length - shown.length
  return (
    <ul class="affected" aria-label="Affected systems">
      {shown.map(({ monitor_tag, name, impact }) => (
        <li key={monitor_tag}>
          <StatusIcon status={impact} /> {name} <span class="muted">{statusNames[impact]}</span>
        </li>
      ))}
      {others > 0 && <li class="muted">and {others === 1 ? '1 other system' : `${others} other systems`}</li>}
    </ul>
  )
}
