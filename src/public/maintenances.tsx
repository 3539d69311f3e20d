import type { EventState } from '../enums.ts'
import type { PublicMaintenance, PublicTimetable } from '../maintenances/public-maintenances.ts'
import { formatDuration } from '../wire/time-text.ts'
import { Affected, DateTime, eventNames, Link, TimeAgo } from './ui.tsx'

type Event = { state: EventState; starts_at: Date; ends_at: Date }

export function MaintenanceCard({ maintenance }: { maintenance: PublicMaintenance }) {
  const { id, title, description, monitors, state } = maintenance
  return (
    <article class={state === 'ONGOING' ? 'card maintenance' : 'card'}>
      <header>
        <h3>
          <Link to={`/maintenances/${id}`}>{title}</Link>
        </h3>
        <EventLabel state={state} />
      </header>
      <p class="muted">
        <EventTime event={maintenance} />
      </p>
      {description && <p class="prose clamped">{description}</p>}
      <Affected monitors={monitors} />
    </article>
  )
}

export function MaintenanceDetails({ maintenance }: { maintenance: PublicTimetable }) {
  const { title, description, monitors, past } = maintenance
  const [next, ...later] = maintenance.upcoming
  return (
    <>
      <p class="back">
        <Link to="/">Status</Link>
      </p>
      <article class={next?.state === 'ONGOING' ? 'card maintenance' : 'card'}>
        <header>
          <h1>{title}</h1>
          {next && <EventLabel state={next.state} />}
        </header>
        {next && (
          <p class="muted">
            <EventTime event={toEvent(next)} />
          </p>
        )}
        {description && <p class="prose">{description}</p>}
        <Affected monitors={monitors} isComplete />
        <Events title="Later dates" events={later} />
        <Events title="Past dates" events={past} />
      </article>
    </>
  )
}

function Events({ title, events }: { title: string; events: PublicTimetable['past'] }) {
  if (events.length === 0) return null
  return (
    <section>
      <h2>{title}</h2>
      <ul class="list">
        {events.map((event) => (
          <li key={event.starts_at} class="heading">
            <span>
              <EventTime event={toEvent(event)} />
            </span>
            <EventLabel state={event.state} />
          </li>
        ))}
      </ul>
    </section>
  )
}

function toEvent({ state, starts_at: start, ends_at: end }: PublicTimetable['past'][number]): Event {
  return { state, starts_at: new Date(start * 1000), ends_at: new Date(end * 1000) }
}

function EventTime({ event }: { event: Event }) {
  const { state, starts_at: start, ends_at: end } = event
  if (state === 'ONGOING') {
    return (
      <>
        Since <DateTime time={start} />, ends <TimeAgo time={end} />
      </>
    )
  }
  return (
    <>
      {state === 'SCHEDULED' || state === 'READY' ? 'Starts ' : ''}
      <TimeAgo time={start} />, for {formatDuration((end.getTime() - start.getTime()) / 1000)}
    </>
  )
}

function EventLabel({ state }: { state: EventState }) {
  return <span class={state === 'ONGOING' ? 'state open' : 'state'}>{eventNames[state]}</span>
}
