import type { EventState } from '../../enums.ts'
import type { Maintenance } from '../../maintenances/repository.ts'
import { formatDateTime } from '../../wire/time-text.ts'
import { TimeAgo } from '../ui.tsx'

export const maintenancesPath = '/manage/maintenances'

export function maintenancePath(id: number): string {
  return `${maintenancesPath}/${id}`
}

type BreadcrumbsProps = { current: string; maintenance?: Pick<Maintenance, 'id' | 'title'> }

export function Breadcrumbs({ current, maintenance }: BreadcrumbsProps) {
  return (
    <nav class="breadcrumbs" aria-label="Breadcrumbs">
      <a href={maintenancesPath}>Maintenances</a>
      {maintenance && <a href={maintenancePath(maintenance.id)}>{maintenance.title}</a>}
      <span aria-current="page">{current}</span>
    </nav>
  )
}

const stateNames: Record<EventState, string> = {
  SCHEDULED: 'Scheduled',
  READY: 'Starts soon',
  ONGOING: 'Ongoing',
  COMPLETED: 'Completed',
  CANCELLED: 'Cancelled',
}

export function EventStatus({ state }: { state: EventState }) {
  return <span class={`status ${state.toLowerCase()}`}>{stateNames[state]}</span>
}

/** The start of an event and its end. */
export function Span({ from, to }: { from: Date; to: Date }) {
  return (
    <>
      <TimeAgo time={from} />
      <span class="muted">
        {' '}
        until{' '}
        <time dateTime={to.toISOString()} class="moment">
          <span class="muted">{formatDateTime(to)}</span>
        </time>
      </span>
    </>
  )
}
