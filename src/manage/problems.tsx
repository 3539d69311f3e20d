import type { Incident } from '../incidents/repository.ts'
import type { OngoingMaintenance } from '../maintenances/list.ts'
import type { MonitorSummary } from '../status/repository.ts'
import { formatNumber } from './format.ts'
import { incidentPath, IncidentState, incidentsPath } from './incidents/ui.tsx'
import { maintenancePath } from './maintenances/ui.tsx'
import { monitorPath, MonitorStatus, monitorsPath, StatusReason } from './monitors/ui.tsx'
import { TimeAgo } from './ui.tsx'

/** Most items of each list. */
export const maxProblems = 20

/** Undefined: the key may not read them. */
type Props = {
  monitors: MonitorSummary | undefined
  incidents: Incident[] | undefined
  maintenances: OngoingMaintenance[] | undefined
}

/** Lists what is wrong, or says that nothing is. */
export function Problems({ monitors, incidents, maintenances }: Props) {
  const hasImpaired = monitors !== undefined && monitors.impaired.length > 0
  const hasIncidents = incidents !== undefined && incidents.length > 0
  const hasMaintenances = maintenances !== undefined && maintenances.length > 0
  if (!hasImpaired && !hasIncidents && !hasMaintenances) {
    const absent = [
      ...(monitors ? ['no monitor is down or degraded'] : []),
      ...(incidents ? ['no incident is open'] : []),
      ...(maintenances ? ['no maintenance is ongoing'] : []),
    ]
    return <p class="card">No problems: {new Intl.ListFormat('en').format(absent)}.</p>
  }
  return (
    <div class="columns halves">
      {hasImpaired && <Impaired {...monitors} />}
      {(hasIncidents || hasMaintenances) && (
        <div class="stack">
          {hasIncidents && <Incidents incidents={incidents} />}
          {hasMaintenances && <Maintenances maintenances={maintenances} />}
        </div>
      )}
    </div>
  )
}

function Impaired({ counts, impaired }: MonitorSummary) {
  const total = (counts.DOWN ?? 0) + (counts.DEGRADED ?? 0)
  return (
    <section class="card" aria-labelledby="impaired">
      <h2 id="impaired">Monitors down or degraded</h2>
      <ul class="rows">
        {impaired.map(({ tag, name, status, status_source, hidden }) => (
          <li key={tag}>
            <span>
              <a href={monitorPath(tag)}>{name}</a>
              {hidden && <span class="tag">hidden</span>}
              <span class="muted block">
                <StatusReason source={status_source} />
              </span>
            </span>
            <MonitorStatus status={status} />
          </li>
        ))}
      </ul>
      {total > impaired.length && (
        <p>
          <a href={`${monitorsPath}?status=${(counts.DOWN ?? 0) > 0 ? 'DOWN' : 'DEGRADED'}`}>
            {formatNumber(total - impaired.length)} more
          </a>
        </p>
      )}
    </section>
  )
}

function Incidents({ incidents }: { incidents: Incident[] }) {
  return (
    <section class="card" aria-labelledby="incidents">
      <h2 id="incidents">Open incidents</h2>
      <ul class="rows">
        {incidents.slice(0, maxProblems).map(({ id, title, state, started_at: start, monitors }) => (
          <li key={id}>
            <span>
              <a href={incidentPath(id)}>{title}</a>
              <span class="muted block">
                started <TimeAgo time={start} />
              </span>
              <Affected monitors={monitors} />
            </span>
            <IncidentState state={state} />
          </li>
        ))}
      </ul>
      {incidents.length > maxProblems && (
        <p>
          <a href={incidentsPath}>All open incidents</a>
        </p>
      )}
    </section>
  )
}

function Maintenances({ maintenances }: { maintenances: OngoingMaintenance[] }) {
  return (
    <section class="card" aria-labelledby="maintenances">
      <h2 id="maintenances">Ongoing maintenance</h2>
      <ul class="rows">
        {maintenances.map(({ id, title, ends_at: end, monitors }) => (
          <li key={id}>
            <span>
              <a href={maintenancePath(id)}>{title}</a>
              <span class="muted block">
                ends <TimeAgo time={end} />
              </span>
              <Affected monitors={monitors} />
            </span>
          </li>
        ))}
      </ul>
    </section>
  )
}

/** Most tags that are listed of an incident or a maintenance, which can affect 1,000 monitors. */
const maxTags = 5

function Affected({ monitors }: { monitors: readonly { monitor_tag: string }[] }) {
  if (monitors.length === 0) return null
  const others = monitors.length - maxTags
  return (
    <span class="muted block">
      {monitors
        .slice(0, maxTags)
        .map(({ monitor_tag: tag }) => tag)
        .join(', ')}
      {others > 0 && ` and ${formatNumber(others)} more`}
    </span>
  )
}
