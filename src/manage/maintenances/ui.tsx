import type { EventState } from '../../enums.ts'
import type { Maintenance } from '../../maintenances/repository.ts'
import { DateTime, TimeAgo } from '../ui.tsx'

export const maintenancesPath = '/manage/maintenances'

export function maintenancePath(id: number): string {
  return `${maintenancesPath}/${id}`
}

/** The pages above a page about the maintenance. */
export function trailOf({ id, title }: Pick<Maintenance, 'id' | 'title'>): [name: string, path: string][] {
  return [
    ['Maintenances', maintenancesPath],
    [title, maintenancePath(id)],
  ]
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
        until <DateTime time={to} />
      </span>
    </>
  )
}
