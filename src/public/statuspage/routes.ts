import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { TSchema } from 'typebox'
import { pathNotFound } from '../../errors.ts'
import { publicOutput } from '../../http/public-output.ts'
import { readHistory } from '../../status/history.ts'
import { listDescribedMonitors } from '../../status/repository.ts'
import { describe, NotModified } from '../../wire/envelope.ts'
import { compileSerializer } from '../../wire/validator.ts'
import { siteUrl } from '../../http/site-url.ts'
import { type Content, toContent } from './content.ts'
import {
  ComponentsDocument,
  IncidentsDocument,
  ScheduledMaintenancesDocument,
  StatusDocument,
  SummaryDocument,
} from './schemas.ts'

type Document = {
  path: string
  operationId: string
  summary: string
  schema: TSchema
  select: (content: Content) => object
}

const documents: Document[] = [
  {
    path: '/summary.json',
    operationId: 'readStatuspageSummary',
    summary: 'Get the status, components, open incidents, and ongoing and upcoming maintenances',
    schema: SummaryDocument,
    select: ({ page, status, components, unresolved, active, upcoming }) => ({
      page,
      status,
      components,
      incidents: unresolved,
      scheduled_maintenances: [...active, ...upcoming],
    }),
  },
  {
    path: '/status.json',
    operationId: 'readStatuspageStatus',
    summary: 'Get the overall status',
    schema: StatusDocument,
    select: ({ page, status }) => ({ page, status }),
  },
  {
    path: '/components.json',
    operationId: 'listStatuspageComponents',
    summary: 'List components',
    schema: ComponentsDocument,
    select: ({ page, components }) => ({ page, components }),
  },
  {
    path: '/incidents.json',
    operationId: 'listStatuspageIncidents',
    summary: 'List the newest incidents',
    schema: IncidentsDocument,
    select: ({ page, incidents }) => ({ page, incidents }),
  },
  {
    path: '/incidents/unresolved.json',
    operationId: 'listUnresolvedStatuspageIncidents',
    summary: 'List open incidents',
    schema: IncidentsDocument,
    select: ({ page, unresolved }) => ({ page, incidents: unresolved }),
  },
  {
    path: '/scheduled-maintenances.json',
    operationId: 'listStatuspageMaintenances',
    summary: 'List the newest maintenances',
    schema: ScheduledMaintenancesDocument,
    select: ({ page, scheduled }) => ({ page, scheduled_maintenances: scheduled }),
  },
  {
    path: '/scheduled-maintenances/upcoming.json',
    operationId: 'listUpcomingStatuspageMaintenances',
    summary: 'List upcoming maintenances',
    schema: ScheduledMaintenancesDocument,
    select: ({ page, upcoming }) => ({ page, scheduled_maintenances: upcoming }),
  },
  {
    path: '/scheduled-maintenances/active.json',
    operationId: 'listActiveStatuspageMaintenances',
    summary: 'List ongoing maintenances',
    schema: ScheduledMaintenancesDocument,
    select: ({ page, active }) => ({ page, scheduled_maintenances: active }),
  },
]

/** The public status in the JSON format of Atlassian Statuspage. Without PUBLIC_PAGE, each path is 404. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  for (const { path, operationId, summary, schema, select } of documents) {
    if (!app.config.publicPage) {
      // Declared, because without a key other unknown paths under /api are 401.
      app.get(
        path,
        { config: { permission: 'public' }, schema: { hide: true, operationId, summary } },
        () => {
          throw pathNotFound()
        },
      )
      continue
    }
    const serialize = compileSerializer(schema)
    const send = app.sharePublicOutput(async (base) => {
      return Buffer.from(serialize(select(await readContent(base))))
    })
    app.get(
      path,
      {
        config: publicOutput,
        schema: {
          operationId,
          summary: `${summary}, in the format of Statuspage`,
          response: { 200: describe(schema, 'The document'), 304: NotModified },
        },
      },
      async function readDocument(request, reply) {
        return await send(request, reply, siteUrl(request))
      },
    )
  }

  async function readContent(base: string): Promise<Content> {
    const monitors = await listDescribedMonitors(app.db)
    return toContent({ siteName: app.config.siteName, base, monitors, ...(await readHistory(app.db)) })
  }
}

export default routes
