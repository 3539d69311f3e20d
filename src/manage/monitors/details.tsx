import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { monitorNotFound } from '../../errors.ts'
import { requirePrincipal } from '../../http/auth.ts'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { listIncidents } from '../../incidents/list.ts'
import { listWriters } from '../../keys/repository.ts'
import { findHeartbeat } from '../../monitors/heartbeats.ts'
import { getMonitor, updateMonitor } from '../../monitors/repository.ts'
import { allows } from '../../permissions.ts'
import { readSeries } from '../../reports/series.ts'
import { shownDays } from '../../status/page.ts'
import { isValidationError, toFieldErrors } from '../form.ts'
import { sendPage } from '../page.tsx'
import { sentBefore } from '../submission.ts'
import { IfAllowed } from '../ui.tsx'
import { Facts, Heading, switches } from './facts.tsx'
import { HeartbeatCard } from './heartbeat.tsx'
import { Latency, latencyMinutes } from './latency.tsx'
import { Incidents, maxIncidents, maxWriters, Writers } from './related.tsx'
import { emptyReportForm, parseReport, readReportForm, ReportForm, type ReportState } from './report.tsx'
import { monitorPath, MonitorParams } from './ui.tsx'
import { toDays, Uptime } from './uptime.tsx'

const Query = Type.Object({ notice: Type.Optional(Type.String()) })

const notices = new Map([
  ['created', 'Monitor created.'],
  sentBefore,
  ['saved', 'Changes saved.'],
  ['hide', 'Monitor hidden. The public page no longer shows it.'],
  ['show', 'The monitor is no longer hidden.'],
  ['disable', 'Monitor disabled. The public page no longer shows it.'],
  ['enable', 'Monitor enabled.'],
  ['reported', 'Status reported.'],
  ['heartbeat-deleted', 'Heartbeat URL deleted.'],
  [
    'heartbeat-changed',
    'Nothing was changed now: this form was sent before, or the heartbeat URL was changed after you opened it. A URL is shown once: replace it if you did not copy it.',
  ],
])

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
    // A key without read:monitors gets this page if its report is invalid.
    const isReader = allows(permissions, 'read:monitors')
    const days = isReader
      ? await readSeries(app.db, tag, {
          interval: 'day',
          from: firstDay * 1440,
          to: (firstDay + shownDays) * 1440,
          limit: shownDays,
        })
      : []
    const from = minute + 1 - latencyMinutes
    const minutes = isReader
      ? await readSeries(app.db, tag, { interval: 'minute', from, to: minute + 1, limit: latencyMinutes })
      : []
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
        <IfAllowed access="read:monitors">
          <Uptime monitor={monitor} days={toDays(days, firstDay)} firstDay={firstDay} />
          <Latency minutes={minutes} from={from} />
        </IfAllowed>
        <div class="columns halves">
          <div class="stack">
            <IfAllowed access="write:monitors">
              <ReportForm {...{ monitor, request }} {...report} />
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
