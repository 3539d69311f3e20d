import { STATUS_CODES } from 'node:http'
import staticFiles from '@fastify/static'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { databaseNow } from '../database/clock.ts'
import { incidentNotFound, maintenanceNotFound, pathNotFound } from '../errors.ts'
import { recordError, toBody } from '../http/error-handler.ts'
import { securePages } from '../http/page-security.ts'
import { publicOutput } from '../http/public-output.ts'
import { getPublicIncident, readIncidentMonth } from '../incidents/public-incidents.ts'
import { getPublicMaintenance } from '../maintenances/public-maintenances.ts'
import { readStatusPage } from '../status/page.ts'
import { assetsFolder } from './assets.ts'
import { renderPage, type Site } from './document.tsx'
import { formatMonth, IncidentDetails, Month } from './incidents.tsx'
import { MaintenanceDetails } from './maintenances.tsx'
import { Overview } from './status-page.tsx'
import { summarize } from './summary.ts'
import { Link } from './ui.tsx'

const maxMonthIncidents = 200
const maxEvents = 20

/** The status page: server-rendered, without cookies and forms, and the same for all readers. */
export default async function pages(app: FastifyInstance) {
  const { siteName, siteUrl, port } = app.config
  // Without SITE_URL, status.js shows the address that the reader uses: a text per Host would be computed for each.
  const baseUrl = siteUrl ?? `http://localhost:${port}`
  const site: Site = { siteName, sitePath: new URL(baseUrl).pathname.replace(/\/$/, '') }
  app.addHook('onRoute', (route) => {
    route.schema = { ...route.schema, hide: true }
  })
  securePages(app, { formAction: ["'none'"] })
  app.setErrorHandler(sendErrorPage)

  const sharePage = (compute: (key: string) => Promise<Buffer>) =>
    app.sharePublicOutput(compute, { type: htmlType })

  const sendOverview = sharePage(async () => {
    const page = await readStatusPage(app.db)
    const { sentence } = summarize(page)
    const title = `${siteName}: ${sentence.replace(/\.$/, '')}`
    const description = `${sentence} Uptime of the last 90 days, incidents and maintenances.`
    return renderPage(
      { ...site, now: page.now, title, description, section: 'status' },
      <Overview page={page} address={{ baseUrl, isKnown: siteUrl !== undefined }} />,
    )
  })
  app.get('/', { config: publicOutput }, function showOverview(request, reply) {
    return sendOverview(request, reply)
  })

  const sendMonth = sharePage(async (key) => {
    const now = await databaseNow(app.db)
    const start = new Date(`${key || now.toISOString().slice(0, 7)}-01T00:00:00Z`)
    const end = new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1))
    const month = await readIncidentMonth(app.db, { from: start, to: end }, maxMonthIncidents + 1)
    const title = `Incidents in ${formatMonth(start)} · ${siteName}`
    return renderPage(
      { ...site, now, title, description: title, section: 'incidents' },
      <Month start={start} month={month} limit={maxMonthIncidents} />,
    )
  })
  app.get('/incidents', { config: publicOutput }, function showMonth(request, reply) {
    const { month = '' } = request.query as { month?: string | string[] }
    if (typeof month !== 'string' || !/^(\d{4}-(0[1-9]|1[0-2]))?$/.test(month)) throw pathNotFound()
    return sendMonth(request, reply, month)
  })

  const sendIncident = sharePage(async (id) => {
    const now = await databaseNow(app.db)
    const incident = await getPublicIncident(app.db, Number(id))
    const title = `${incident.title} · ${siteName}`
    return renderPage(
      { ...site, now, title, description: incident.comments[0]?.comment ?? incident.title },
      <IncidentDetails incident={incident} />,
    )
  })
  app.get<IdParams>('/incidents/:id', { config: publicOutput }, function showIncident(request, reply) {
    return sendIncident(request, reply, parseId(request.params.id) ?? raise(incidentNotFound()))
  })

  const sendMaintenance = sharePage(async (id) => {
    const now = await databaseNow(app.db)
    const maintenance = await getPublicMaintenance(app.db, Number(id), maxEvents)
    const title = `${maintenance.title} · ${siteName}`
    return renderPage(
      { ...site, now, title, description: maintenance.description ?? maintenance.title },
      <MaintenanceDetails maintenance={maintenance} />,
    )
  })
  app.get<IdParams>('/maintenances/:id', { config: publicOutput }, function showMaintenance(request, reply) {
    return sendMaintenance(request, reply, parseId(request.params.id) ?? raise(maintenanceNotFound()))
  })

  /** Sends a page to a browser, and JSON to other clients. Pages of equal errors are identical. */
  function sendErrorPage(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const apiError = recordError(error, request)
    reply.code(apiError.status).headers({ ...apiError.headers, vary: 'accept', 'cache-control': 'no-store' })
    if (!/\btext\/html\b/.test(request.headers.accept ?? '')) return reply.send(toBody(apiError))
    const title = STATUS_CODES[apiError.status] ?? 'Error'
    return reply.type(htmlType).send(
      renderPage(
        { ...site, now: new Date(), title: `${title} · ${siteName}`, description: title },
        <section class="card empty">
          <h1>{title}</h1>
          <p>{apiError.message}.</p>
          <p>
            <Link to="/">Current status</Link>
          </p>
        </section>,
      ),
    )
  }
}

/** Files whose names contain a hash of their content. They are not counted as requests. */
export async function assets(app: FastifyInstance) {
  await app.register(staticFiles, {
    root: assetsFolder,
    prefix: '/assets/',
    index: false,
    preCompressed: true,
    // Registers a route per file, so that an unknown path reaches the not-found handler.
    wildcard: false,
    globIgnore: ['*.br', '*.gz'],
    decorateReply: false,
    cacheControl: false,
    setHeaders: (reply) => {
      reply.setHeader('cache-control', 'public, max-age=31536000, immutable')
      reply.setHeader('vary', 'accept-encoding')
    },
  })
}

const htmlType = 'text/html; charset=utf-8'

type IdParams = { Params: { id: string } }

/** Returns undefined for what cannot be an id. Equal ids have equal results, which are shared. */
function parseId(text: string): string | undefined {
  const id = /^\d+$/.test(text) ? Number(text) : 0
  return id > 0 && id < 2 ** 31 ? String(id) : undefined
}

function raise(error: Error): never {
  throw error
}
