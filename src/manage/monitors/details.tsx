import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { monitorNotFound } from '../../errors.ts'
import { DayBars, DayLegend, formatUptime, toDates } from '../../html/days.tsx'
import { requirePrincipal } from '../../http/auth.ts'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { type Incident, listIncidents } from '../../incidents/repository.ts'
import { listWriters, type Writer } from '../../keys/repository.ts'
import { findHeartbeat } from '../../monitors/heartbeats.ts'
import { getMonitor, type Monitor, updateMonitor } from '../../monitors/repository.ts'
import { allows } from '../../permissions.ts'
import { type Bucket, readSeries } from '../../reports/series.ts'
import { type MonitorDay, shownDays } from '../../status/page.ts'
import { keyPath, keysPath } from '../api-keys/ui.tsx'
import { auditPath } from '../audit-events.tsx'
import { isValidationError, toFieldErrors } from '../form.ts'
import { incidentPath, IncidentState, incidentsPath } from '../incidents/ui.tsx'
import { sendPage } from '../page.tsx'
import { Fact, Form, IfAllowed, TimeAgo, TimeAgoOrNever } from '../ui.tsx'
import { HeartbeatCard } from './heartbeat.tsx'
import { Latency, latencyMinutes } from './latency.tsx'
import { emptyReportForm, parseReport, readReportForm, ReportForm, type ReportState } from './report.tsx'
import {
  Breadcrumbs,
  formatStatus,
  monitorPath,
  MonitorParams,
  MonitorStatus,
  StatusReason,
  VisibilityTags,
} from './ui.tsx'

const Query = Type.Object({ notice: Type.Optional(Type.String()) })

const notices = new Map([
  ['created', 'Monitor created.'],
  ['saved', 'Changes saved.'],
  ['hide', 'Monitor hidden. The public page no longer shows it.'],
  ['show', 'The monitor is no longer hidden.'],
  ['disable', 'Monitor disabled. The public page no longer shows it.'],
  ['enable', 'Monitor enabled.'],
  ['reported', 'Status reported.'],
  ['heartbeat-deleted', 'Heartbeat URL deleted.'],
  [
    'heartbeat-exists',
    'This form was sent before. The heartbeat URL is shown once: replace it if you did not copy it.',
  ],
])

/** Buttons that change one attribute. */
const switches = [
  { action: 'hide', label: 'Hide', changes: { hidden: true } },
  { action: 'show', label: 'Stop hiding', changes: { hidden: false } },
  { action: 'disable', label: 'Disable', changes: { enabled: false } },
  { action: 'enable', label: 'Enable', changes: { enabled: true } },
]

const maxIncidents = 10
const maxWriters = 20

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const inPath = { param: 'tag' } as const
  const read = { permission: 'read:monitors', tags: inPath } as const
  const write = { permission: 'write:monitors', tags: inPath } as const

  app.get(
    '/:tag',
    { config: read, schema: { params: MonitorParams, querystring: Query } },
    async function show(request, reply) {
      const notice = notices.get(request.query.notice ?? '')
      return sendDetails(request, reply, request.params.tag, { notice })
    },
  )

  app.post(
    '/:tag/report',
    { config: { ...write, showAgain }, schema: { params: MonitorParams } },
    async function report(request, reply) {
      const { tag } = request.params
      const form = readReportForm(request.body)
      try {
        const { outcome } = await app.writeReports(tag, [parseReport(form)])
        if (outcome === 'unknown') throw monitorNotFound()
      } catch (error) {
        if (!isValidationError(error)) throw error
        const errors = toFieldErrors(error, ({ message }) => message)
        return sendDetails(request, reply.code(400), tag, { report: { form, errors } })
      }
      return reply.redirect(`${monitorPath(tag)}?notice=reported`, 303)
    },
  )

  for (const { action, changes } of switches) {
    app.post(
      `/:tag/${action}`,
      { config: write, schema: { params: MonitorParams } },
      async function switchAttribute(request, reply) {
        const { tag } = request.params
        await change(request, (change) => updateMonitor(change, tag, changes))
        return reply.redirect(`${monitorPath(tag)}?notice=${action}`, 303)
      },
    )
  }

  function showAgain(request: FastifyRequest<{ Params: { tag: string } }>, reply: FastifyReply) {
    const report = { form: readReportForm(request.body), errors: {} }
    return sendDetails(request, reply, request.params.tag, { report })
  }

  type State = { notice?: string | undefined; report?: ReportState }

  async function sendDetails(
    request: FastifyRequest,
    reply: FastifyReply,
    tag: string,
    { notice, report = { form: emptyReportForm, errors: {} } }: State,
  ) {
    const { permissions } = requirePrincipal(request)
    const now = request.session.now ?? new Date()
    const minute = Math.floor(now.getTime() / 60_000)
    const firstDay = Math.floor(minute / 1440) - shownDays + 1
    // One after the other, because a request may take one connection at a time.
    const monitor = await getMonitor(app.db, tag)
    const days = await readSeries(app.db, tag, {
      interval: 'day',
      from: firstDay * 1440,
      to: (firstDay + shownDays) * 1440,
      limit: shownDays,
    })
    const from = minute + 1 - latencyMinutes
    const minutes = await readSeries(app.db, tag, {
      interval: 'minute',
      from,
      to: minute + 1,
      limit: latencyMinutes,
    })
    const heartbeat = await findHeartbeat(app.db, monitor.id)
    const incidents = allows(permissions, 'read:incidents')
      ? await listIncidents(app.db, { scope: scopeOf(request), monitor_tags: [tag] }, maxIncidents + 1)
      : []
    const writers = allows(permissions, 'admin') ? await listWriters(app.db, tag, maxWriters + 1) : []
    return sendPage(
      request,
      reply,
      { title: monitor.name, section: 'monitors', notice },
      <>
        <Heading monitor={monitor} />
        <Uptime monitor={monitor} days={toDays(days, firstDay)} firstDay={firstDay} />
        <Latency minutes={minutes} from={from} />
        <div class="columns halves">
          <div class="stack">
            <IfAllowed access="write:monitors">
              <ReportForm monitor={monitor} {...report} />
            </IfAllowed>
            <HeartbeatCard tag={tag} heartbeat={heartbeat} />
          </div>
          <div class="stack">
            <IfAllowed access="read:incidents">
              <Incidents tag={tag} incidents={incidents} />
            </IfAllowed>
            <IfAllowed access="admin">
              <Writers writers={writers} />
            </IfAllowed>
          </div>
        </div>
        <Facts monitor={monitor} />
      </>,
    )
  }
}

export default routes

/** Returns one item per day. Null: nothing was reported. */
function toDays(buckets: Bucket[], firstDay: number): (MonitorDay | null)[] {
  const days = Array<MonitorDay | null>(shownDays).fill(null)
  for (const bucket of buckets)
    if (bucket.uptime !== null) days[bucket.minute / 1440 - firstDay] = { ...bucket, uptime: bucket.uptime }
  return days
}

function Heading({ monitor }: { monitor: Monitor }) {
  const { tag, name, status, enabled, hidden } = monitor
  const path = monitorPath(tag)
  const offered = [hidden ? 'show' : 'hide', enabled ? 'disable' : 'enable']
  return (
    <>
      <Breadcrumbs current={name} />
      <div class="heading">
        <div>
          <h1>{name}</h1>
          <p class="muted">
            <MonitorStatus status={status} />{' '}
            <StatusReason source={monitor.status_source} lastReport={monitor.last_report} />{' '}
            <VisibilityTags monitor={monitor} />
          </p>
        </div>
        <div class="buttons">
          <IfAllowed access="write:monitors">
            <a class="button" href={`${path}/edit`}>
              Edit
            </a>
            {switches
              .filter(({ action }) => offered.includes(action))
              .map(({ action, label }) => (
                <Form key={action} action={`${path}/${action}`}>
                  <button>{label}</button>
                </Form>
              ))}
          </IfAllowed>
          <IfAllowed access="delete:monitors">
            <a class="button danger" href={`${path}/delete`}>
              Delete
            </a>
          </IfAllowed>
        </div>
      </div>
    </>
  )
}

const spans = [
  ['24h', '24 hours'],
  ['7d', '7 days'],
  ['30d', '30 days'],
  ['90d', '90 days'],
] as const

type UptimeProps = { monitor: Monitor; days: (MonitorDay | null)[]; firstDay: number }

function Uptime({ monitor: { uptime }, days, firstDay }: UptimeProps) {
  return (
    <section class="card" aria-labelledby="uptime">
      <h2 id="uptime">Uptime</h2>
      <dl class="figures">
        {spans.map(([span, label]) => (
          <div key={span}>
            <dt>{label}</dt>
            <dd>{uptime[span] === null ? <span class="muted">No data</span> : formatUptime(uptime[span])}</dd>
          </div>
        ))}
      </dl>
      <DayBars days={days} dates={toDates(firstDay)} />
      <div class="axis muted" aria-hidden="true">
        <span>{shownDays} days ago</span>
        <span>today</span>
      </div>
      <DayLegend>Days are in UTC.</DayLegend>
    </section>
  )
}

function Incidents({ tag, incidents }: { tag: string; incidents: Incident[] }) {
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

function Writers({ writers }: { writers: Writer[] }) {
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

function Facts({ monitor }: { monitor: Monitor }) {
  const { tag, description, category_name: category, external_url: url, stale_after_seconds: stale } = monitor
  return (
    <section class="card" aria-labelledby="details">
      <h2 id="details">Details</h2>
      <dl class="facts">
        <Fact name="Tag">
          <code>{tag}</code>
        </Fact>
        {description !== null && description !== '' && (
          <Fact name="Description">
            <span class="prose">{description}</span>
          </Fact>
        )}
        {category !== null && <Fact name="Category">{category}</Fact>}
        {url !== null && url !== '' && (
          <Fact name="Link">
            {/^https?:\/\//i.test(url) ? (
              <a href={url} rel="noreferrer nofollow">
                {url}
              </a>
            ) : (
              url
            )}
          </Fact>
        )}
        <Fact name="Reports">
          {stale === null ? 'valid until the next one' : `valid for ${stale} seconds`}, otherwise{' '}
          {formatStatus(monitor.default_status).toLowerCase()}
        </Fact>
        <Fact name="Degraded minutes">
          {monitor.degraded_counts_as_down ? 'lower the uptime' : 'do not lower the uptime'}
        </Fact>
        <Fact name="Created">
          <TimeAgo time={monitor.created_at} />
        </Fact>
        <Fact name="Changed">
          <TimeAgo time={monitor.updated_at} />
        </Fact>
      </dl>
      <IfAllowed access="admin">
        <p>
          <a href={`${auditPath}?${new URLSearchParams({ target: tag }).toString()}`}>
            All changes of this monitor
          </a>
        </p>
      </IfAllowed>
    </section>
  )
}
