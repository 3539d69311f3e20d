import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { statusesBySeverity } from '../enums.ts'
import { type Incident, listIncidents } from '../incidents/repository.ts'
import { type MonitorSummary, summarizeMonitors } from '../status/repository.ts'
import { BarChart } from './chart.tsx'
import { formatNumber } from './format.ts'
import { sendPage } from './page.tsx'
import { TimeAgo } from './ui.tsx'

const maxMonitors = 100
const maxIncidents = 20

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/', async function showOverview(request, reply) {
    const [monitors, incidents, traffic] = await Promise.all([
      summarizeMonitors(app.db, maxMonitors),
      listIncidents(app.db, { scope: null, open: true }, maxIncidents),
      app.readTraffic(),
    ])
    return sendPage(
      request,
      reply,
      { title: 'Overview', section: 'overview' },
      <>
        <h1>Overview</h1>
        <Traffic requests={traffic} />
        <div class="columns">
          <Monitors {...monitors} />
          <Incidents incidents={incidents} />
        </div>
      </>,
    )
  })
}

export default routes

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

function Monitors({ counts, monitors }: MonitorSummary) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  return (
    <section class="card" aria-labelledby="monitors">
      <div class="heading">
        <h2 id="monitors">Monitors</h2>
        <ul class="counts">
          {statusesBySeverity.map(
            (status) =>
              counts[status] !== undefined && (
                <li key={status}>
                  {formatNumber(counts[status])} <MonitorStatus status={status} />
                </li>
              ),
          )}
        </ul>
      </div>
      {total === 0 ? (
        <>
          <p class="muted">No monitors yet. Create one with a key that has the permission write:monitors:</p>
          <pre tabIndex={0}>
            {
              'curl -X PUT …/api/monitors/website \\\n  -H "Authorization: Bearer $KENER_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d \'{"name": "Website"}\''
            }
          </pre>
          <p>
            <a href="/docs">API documentation</a>
          </p>
        </>
      ) : (
        <ul class="rows">
          {monitors.map(({ tag, name, status, hidden }) => (
            <li key={tag}>
              <span>
                {name} <code class="muted">{tag}</code>
                {hidden && <span class="tag">hidden</span>}
              </span>
              <MonitorStatus status={status} />
            </li>
          ))}
        </ul>
      )}
      {total > monitors.length && (
        <p class="muted">
          {formatNumber(total - monitors.length)} more monitors are available through the API.
        </p>
      )}
    </section>
  )
}

function MonitorStatus({ status }: { status: string }) {
  return <span class={`status ${status.toLowerCase()}`}>{status.replace('_', ' ')}</span>
}

function Incidents({ incidents }: { incidents: Incident[] }) {
  return (
    <section class="card" aria-labelledby="incidents">
      <h2 id="incidents">Open incidents</h2>
      {incidents.length === 0 ? (
        <p class="muted">
          No open incidents. Incidents created through the API are listed here until they are resolved.
        </p>
      ) : (
        <ul class="rows">
          {incidents.map(({ id, title, state, started_at: start, monitors }) => (
            <li key={id}>
              <span>
                {title}
                <span class="muted block">
                  {state.toLowerCase()} · started <TimeAgo time={start} />
                  {monitors.length > 0 && ` · ${monitors.map(({ monitor_tag: tag }) => tag).join(', ')}`}
                </span>
              </span>
              <code class="muted nowrap">#{id}</code>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}
