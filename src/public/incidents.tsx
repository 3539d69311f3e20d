import type { IncidentMonth, PublicIncident } from '../incidents/public-incidents.ts'
import { formatDuration } from '../wire/time-text.ts'
import { Affected, DateTime, Link, stateNames, TimeAgo } from './ui.tsx'

/** An incident with its newest comments, on the page of the status. */
export function OpenIncident({ incident }: { incident: PublicIncident }) {
  const { id, title, started_at: start, monitors, comments, comment_count: total } = incident
  const more = total - comments.length
  return (
    <article class={`card incident ${worstImpact(incident)}`}>
      <header>
        <h3>
          <Link to={`/incidents/${id}`}>{title}</Link>
        </h3>
        <StateLabel incident={incident} />
      </header>
      <p class="muted">
        Started <TimeAgo time={start} />
      </p>
      <Affected monitors={monitors} />
      <Timeline comments={comments} />
      {more > 0 && (
        <p>
          <Link to={`/incidents/${id}`}>{more === 1 ? '1 earlier update' : `${more} earlier updates`}</Link>
        </p>
      )}
    </article>
  )
}

/** Incidents that are no longer open, one line each. */
export function IncidentList({ incidents }: { incidents: PublicIncident[] }) {
  return (
    <ul class="list">
      {incidents.map((incident) => (
        <li key={incident.id}>
          <Link to={`/incidents/${incident.id}`}>{incident.title}</Link>
          <p class="muted">
            <Period incident={incident} />
          </p>
        </li>
      ))}
    </ul>
  )
}

const monthFormat = new Intl.DateTimeFormat('en-GB', { month: 'long', year: 'numeric', timeZone: 'UTC' })

/** `November 2026` */
export function formatMonth(time: Date): string {
  return monthFormat.format(time)
}

/** @param limit number of incidents that are shown */
export function Month({ start, month, limit }: { start: Date; month: IncidentMonth; limit: number }) {
  const { incidents, older, newer } = month
  return (
    <>
      <h1>Incidents</h1>
      <section aria-labelledby="month">
        <div class="heading">
          <h2 id="month">{formatMonth(start)}</h2>
          <MonthLinks older={older} newer={newer} />
        </div>
        {incidents.length === 0 ? (
          <p class="card empty">No incidents in this month.</p>
        ) : (
          incidents.slice(0, limit).map((incident) => <MonthIncident key={incident.id} incident={incident} />)
        )}
        {incidents.length > limit && (
          <p class="muted">This month has more incidents. Only the {limit} newest are shown here.</p>
        )}
      </section>
    </>
  )
}

/** Leads to the nearest months that have incidents. */
function MonthLinks({ older, newer }: { older: Date | null; newer: Date | null }) {
  const link = (time: Date) => `/incidents?month=${time.toISOString().slice(0, 7)}`
  return (
    <nav class="pages" aria-label="Months">
      {older && (
        <Link to={link(older)} rel="prev">
          ← {formatMonth(older)}
        </Link>
      )}
      {newer && (
        <Link to={link(newer)} rel="next">
          {formatMonth(newer)} →
        </Link>
      )}
      {!older && !newer && <span class="muted">No incidents in other months</span>}
    </nav>
  )
}

function MonthIncident({ incident }: { incident: PublicIncident }) {
  const [newest] = incident.comments
  return (
    <article class={`card incident ${worstImpact(incident)}`}>
      <header>
        <h3>
          <Link to={`/incidents/${incident.id}`}>{incident.title}</Link>
        </h3>
        <StateLabel incident={incident} />
      </header>
      <p class="muted">
        <Period incident={incident} />
      </p>
      {newest && <p class="prose clamped">{newest.comment}</p>}
      <Affected monitors={incident.monitors} />
    </article>
  )
}

export function IncidentDetails({ incident }: { incident: PublicIncident }) {
  const { title, monitors, comments, comment_count: total } = incident
  return (
    <>
      <p class="back">
        <Link to={`/incidents?month=${incident.started_at.toISOString().slice(0, 7)}`}>Incidents</Link>
      </p>
      <article class={`card incident ${worstImpact(incident)}`}>
        <header>
          <h1>{title}</h1>
          <StateLabel incident={incident} />
        </header>
        <p class="muted">
          <Period incident={incident} />
        </p>
        <Affected monitors={monitors} isComplete />
        {comments.length === 0 && <p class="muted">No updates have been published.</p>}
        <Timeline comments={comments} />
        {total > comments.length && <p class="muted">Earlier updates are not shown.</p>}
      </article>
    </>
  )
}

/** Incidents without comments in the timeline have none. */
function Timeline({ comments }: Pick<PublicIncident, 'comments'>) {
  if (comments.length === 0) return null
  return (
    <ol class="timeline">
      {comments.map(({ comment, state, timestamp }) => (
        <li key={`${timestamp} ${comment}`}>
          <p>
            <strong>{stateNames[state]}</strong>{' '}
            <span class="muted">
              <TimeAgo time={new Date(timestamp * 1000)} />
            </span>
          </p>
          <p class="prose">{comment}</p>
        </li>
      ))}
    </ol>
  )
}

function Period({ incident }: { incident: PublicIncident }) {
  const { started_at: start, ended_at: end, is_open: isOpen } = incident
  if (isOpen || !end) {
    return (
      <>
        Started <TimeAgo time={start} />
      </>
    )
  }
  return (
    <>
      <DateTime time={start} />, for {formatDuration((end.getTime() - start.getTime()) / 1000)}
    </>
  )
}

function StateLabel({ incident }: { incident: PublicIncident }) {
  const { state, is_open: isOpen } = incident
  return <span class={isOpen ? 'state open' : 'state'}>{isOpen ? stateNames[state] : 'Resolved'}</span>
}

/** Returns the class of the incident's mark: without affected monitors, an incident counts as degraded. */
function worstImpact({ monitors, is_open: isOpen }: PublicIncident): string {
  if (!isOpen) return 'resolved'
  const impacts = monitors.map(({ impact }) => impact)
  if (impacts.includes('DOWN')) return 'down'
  return impacts.length > 0 && impacts.every((impact) => impact === 'MAINTENANCE')
    ? 'maintenance'
    : 'degraded'
}
