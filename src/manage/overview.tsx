import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { statusesBySeverity } from '../enums.ts'
import { type Principal, requirePrincipal } from '../http/auth.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { listIncidents } from '../incidents/list.ts'
import { listAdvice } from '../keys/advice.ts'
import type { AdviceCode, Finding } from '../keys/findings.ts'
import { type LimitedKey, listLimitedKeys } from '../keys/usage.ts'
import { listOngoingMaintenances } from '../maintenances/list.ts'
import { type Access, allows } from '../permissions.ts'
import { type MonitorSummary, summarizeMonitors } from '../status/repository.ts'
import { OwnKey } from './account.tsx'
import { toCaller } from './api-keys/advice.tsx'
import { keyPath, keysPath } from './api-keys/ui.tsx'
import { BarChart } from './chart.tsx'
import { formatNumber } from './format.ts'
import { incidentsPath } from './incidents/ui.tsx'
import { maintenancesPath } from './maintenances/ui.tsx'
import { FirstMonitor } from './monitors/first-monitor.tsx'
import { MonitorStatus, monitorsPath } from './monitors/ui.tsx'
import { sendPage } from './page.tsx'
import { maxProblems, Problems } from './problems.tsx'
import { Message } from './ui.tsx'

/** Most items of each list of keys. */
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
