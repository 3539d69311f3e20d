import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { statusesBySeverity } from '../enums.ts'
import { type Principal, requirePrincipal } from '../http/auth.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { type Incident, listIncidents } from '../incidents/repository.ts'
import { listAdvice } from '../keys/advice.ts'
import type { AdviceCode, Finding } from '../keys/findings.ts'
import { type LimitedKey, listLimitedKeys } from '../keys/usage.ts'
import { listOngoingMaintenances, type OngoingMaintenance } from '../maintenances/repository.ts'
import { type Access, allows } from '../permissions.ts'
import { type MonitorSummary, summarizeMonitors } from '../status/repository.ts'
import { OwnKey } from './account.tsx'
import { toCaller } from './api-keys/advice.tsx'
import { keyPath, keysPath } from './api-keys/ui.tsx'
import { BarChart } from './chart.tsx'
import { formatNumber } from './format.ts'
import { incidentPath, IncidentState, incidentsPath } from './incidents/ui.tsx'
import { maintenancePath, maintenancesPath } from './maintenances/ui.tsx'
import { FirstMonitor } from './monitors/first-monitor.tsx'
import { monitorPath, MonitorStatus, monitorsPath, StatusReason } from './monitors/ui.tsx'
import { sendPage } from './page.tsx'
import { Message, TimeAgo } from './ui.tsx'

/** Most items of each list of problems, and of each list of keys. */
const maxProblems = 20
const maxKeys = 5

/** The advice that is shown here, because it does not wait until the next review of the keys. */
const urgentAdvice: AdviceCode[] = ['expires_soon', 'idle', 'rotated_but_used']

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/', { config: { permission: 'any-key' } }, async function showOverview(request, reply) {
    const principal = requirePrincipal(request)
    const { permissions } = principal
    const scope = scopeOf(request)
    const isAdmin = allows(permissions, 'admin')
    const readsMonitors = allows(permissions, 'read:monitors')
    const readsIncidents = allows(permissions, 'read:incidents')
    // One after the other, because a request may take one connection at a time.
    const monitors = readsMonitors ? await summarizeMonitors(app.db, scope, maxProblems) : undefined
    const incidents = readsIncidents
      ? await listIncidents(app.db, { scope, open: true }, maxProblems + 1)
      : undefined
    const maintenances = readsIncidents
      ? await listOngoingMaintenances(app.db, scope, maxProblems)
      : undefined
    const advice = isAdmin
      ? await listAdvice(app.db, toCaller(request), { limit: maxKeys, codes: urgentAdvice })
      : undefined
    const limited = isAdmin ? await listLimitedKeys(app.db, maxKeys) : []
    const traffic = isAdmin ? await app.readTraffic() : undefined
    return sendPage(
      request,
      reply,
      { title: 'Overview', section: 'overview' },
      <>
        <h1>Overview</h1>
        {monitors && <Monitors summary={monitors} request={request} />}
        {(readsMonitors || readsIncidents) && <Problems {...{ monitors, incidents, maintenances }} />}
        <WriteOnly permissions={permissions} />
        {advice && <Keys findings={advice.data} limited={limited} />}
        {traffic && <Traffic requests={traffic} />}
        {!readsMonitors && !readsIncidents && (
          <OwnKey principal={principal} rateLimitMax={app.config.rateLimitMax} />
        )}
      </>,
    )
  })
}

export default routes

/** Links the forms of a key that may write what it may not read, because the navigation does not lead to them. */
function WriteOnly({ permissions }: Pick<Principal, 'permissions'>) {
  const readsMonitors = allows(permissions, 'read:monitors')
  const readsIncidents = allows(permissions, 'read:incidents')
  const links: [access: Access, isReadable: boolean, path: string, label: string][] = [
    ['write:monitors', readsMonitors, `${monitorsPath}/new`, 'Create a monitor'],
    ['write:incidents', readsIncidents, `${incidentsPath}/new`, 'Open an incident'],
    ['write:incidents', readsIncidents, `${maintenancesPath}/new`, 'Plan a maintenance'],
  ]
  const forms = links.filter(([access, isReadable]) => !isReadable && allows(permissions, access))
  return (
    <>
      {!readsMonitors && !readsIncidents && (
        <p class="card">
          This key may not read monitors, incidents or maintenances: it has neither <code>read:monitors</code>{' '}
          nor <code>read:incidents</code>. To see them, log in with another key.
        </p>
      )}
      {forms.length > 0 && (
        <p class="buttons">
          {forms.map(([, , path, label]) => (
            <a key={path} class="button" href={path}>
              {label}
            </a>
          ))}
        </p>
      )}
    </>
  )
}

/** Counts the monitors by status, each linked to the list of them. */
function Monitors({ summary: { counts }, request }: { summary: MonitorSummary; request: FastifyRequest }) {
  const present = statusesBySeverity.filter((status) => counts[status] !== undefined)
  if (present.length === 0) return <FirstMonitor request={request} />
  return (
    <ul class="counts" aria-label="Enabled monitors by status">
      {present.map((status) => (
        <li key={status}>
          <a class="count" href={`${monitorsPath}?status=${status}`}>
            {formatNumber(counts[status] ?? 0)} <MonitorStatus status={status} />
          </a>
        </li>
      ))}
    </ul>
  )
}

/** Undefined: the key may not read them. */
type ProblemsProps = {
  monitors: MonitorSummary | undefined
  incidents: Incident[] | undefined
  maintenances: OngoingMaintenance[] | undefined
}

function Problems({ monitors, incidents, maintenances }: ProblemsProps) {
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

function Keys({ findings, limited }: { findings: Finding[]; limited: LimitedKey[] }) {
  return (
    <section class="card" aria-labelledby="keys">
      <div class="heading">
        <h2 id="keys">Keys that need attention</h2>
        <a href={`${keysPath}/advice`}>All advice</a>
      </div>
      {findings.length + limited.length === 0 ? (
        <p class="muted">
          No key expires soon, is idle, exceeds its rate limit, or is used after its rotation.
        </p>
      ) : (
        <ul class="rows">
          {limited.map(({ id, name, rejected }) => (
            <li key={id}>
              <span>
                <a href={keyPath(id)}>{name}</a>
                <span class="muted block">
                  Exceeded its rate limit: {formatNumber(rejected)}{' '}
                  {rejected === 1 ? 'request was' : 'requests were'} rejected in the last 24 hours
                </span>
              </span>
            </li>
          ))}
          {findings.map(({ key_id: id, key_name: name, code, message }) => (
            <li key={`${id} ${code}`}>
              <span>
                <a href={keyPath(id)}>{name}</a>
                <span class="muted block">
                  <Message text={message} />
                </span>
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

/** Draws one bar per minute. The last minute is still being counted. */
function Traffic({ requests }: { requests: number[] }) {
  const highest = Math.max(...requests)
  const sum = requests.reduce((total, count) => total + count, 0)
  const summary = `${formatNumber(sum)} in the last hour, at most ${formatNumber(highest)} per minute`
  const bars = requests.map((value, index) => ({
    value,
    title: formatBar(value, requests.length - 1 - index),
  }))
  return (
    <section class="card" aria-labelledby="traffic">
      <div class="heading">
        <h2 id="traffic">Requests per minute</h2>
        <p class="muted">{sum === 0 ? 'No requests in the last hour' : summary}</p>
      </div>
      <BarChart
        bars={bars}
        label={`Requests per minute: ${summary}`}
        format={formatNumber}
        axis={['1 hour ago', 'now']}
      />
    </section>
  )
}

function formatBar(count: number, minutesAgo: number): string {
  return `${formatNumber(count)}, ${minutesAgo === 0 ? 'this minute' : `${minutesAgo} min ago`}`
}
