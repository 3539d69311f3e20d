import type { Incident } from '../../incidents/repository.ts'
import type { Writer } from '../../keys/repository.ts'
import { keyPath, keysPath } from '../api-keys/ui.tsx'
import { incidentPath, IncidentState, incidentsPath } from '../incidents/ui.tsx'
import { TimeAgo, TimeAgoOrNever } from '../ui.tsx'

/** Incidents that a monitor's page shows. */
export const maxIncidents = 10
/** Keys that a monitor's page shows. */
export const maxWriters = 20

export function Incidents({ tag, incidents }: { tag: string; incidents: Incident[] }) {
  const path = `${incidentsPath}?${new URLSearchParams({ view: 'all', monitor: tag }).toString()}`
  return (
    <section class="card" aria-labelledby="incidents">
      <h2 id="incidents">Incidents</h2>
      {incidents.length === 0 ? (
        <p class="muted">No incident has affected this monitor.</p>
      ) : (
        <ul class="rows">
          {incidents.slice(0, maxIncidents).map(({ id, title, state, started_at: start }) => (
            <li key={id}>
              <span>
                <a href={incidentPath(id)}>{title}</a>
                <span class="muted block">
                  started <TimeAgo time={start} />
                </span>
              </span>
              <IncidentState state={state} />
            </li>
          ))}
        </ul>
      )}
      {incidents.length > maxIncidents && (
        <p>
          <a href={path}>All incidents of this monitor</a>
        </p>
      )}
    </section>
  )
}

export function Writers({ writers }: { writers: Writer[] }) {
  return (
    <section class="card" aria-labelledby="writers">
      <h2 id="writers">Keys that may report</h2>
      <ul class="rows">
        {writers.slice(0, maxWriters).map(({ id, name, permissions, monitors, last_used_at }) => (
          <li key={id}>
            <span>
              <a href={keyPath(id)}>{name}</a>
              <span class="muted block">
                last use: <TimeAgoOrNever time={last_used_at} />
              </span>
            </span>
            <span class="muted nowrap">
              {permissions.includes('admin') ? 'admin' : monitors === null ? 'all monitors' : 'some monitors'}
            </span>
          </li>
        ))}
      </ul>
      {writers.length > maxWriters && (
        <p class="muted">More keys may report. These are the last used ones.</p>
      )}
      <p>
        <a href={`${keysPath}/new`}>Generate a key</a>
      </p>
    </section>
  )
}
