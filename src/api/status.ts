import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { batch } from '../database/batch.ts'
import { statusesBySeverity } from '../enums.ts'
import { listPublicIncidents } from '../incidents/repository.ts'
import { listPublicMaintenances } from '../maintenances/repository.ts'
import { listPublicMonitors } from '../status/repository.ts'
import { Envelope } from '../wire/envelope.ts'
import { formatTime } from '../wire/time.ts'
import { serializePublicIncident } from './incidents.ts'
import { serializePublicMaintenance } from './maintenances.ts'
import { StatusPage } from './schemas/status.ts'

const maxMaintenances = 100

const routes: FastifyPluginAsyncTypebox = async (app) => {
  // Everyone sees the same page, so those who ask at the same time share a reading of it.
  const readPage = batch(async (items: null[]) => {
    const [monitors, incidents, maintenances] = await Promise.all([
      listPublicMonitors(app.db),
      listPublicIncidents(app.db),
      listPublicMaintenances(app.db, maxMaintenances),
    ])
    // Of all monitors together: the worst that one of them is.
    const status = statusesBySeverity.find((candidate) =>
      monitors.some((monitor) => monitor.status === candidate),
    )
    const page = {
      status: status ?? 'NO_DATA',
      monitors,
      incidents: incidents.map(({ newest_comment: newest, ...incident }) => ({
        ...serializePublicIncident(incident),
        newest_comment: newest && { ...newest, timestamp: formatTime(new Date(newest.timestamp * 1000)) },
      })),
      maintenances: maintenances.map(serializePublicMaintenance),
    }
    return items.map(() => page)
  })

  app.get(
    '/',
    { config: { permission: 'public' }, schema: { response: { 200: Envelope(StatusPage) } } },
    async function readStatus() {
      return { success: true as const, data: await readPage(null) }
    },
  )
}

export default routes
