import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { batch } from '../database/batch.ts'
import { listPublicIncidents } from '../database/incidents.ts'
import { listPublicMaintenances } from '../database/maintenances.ts'
import { listPublicMonitors } from '../database/monitors.ts'
import { Success } from '../schemas/envelope.ts'
import { fromWorst } from '../schemas/monitors.ts'
import { StatusPage } from '../schemas/status.ts'
import { formatTime } from '../schemas/time.ts'
import { toPublicWire } from './incidents.ts'
import { toPublicWire as toPublicMaintenance } from './maintenances.ts'

const maintenancesMax = 100

const routes: FastifyPluginAsyncTypebox = async (app) => {
  // Everyone sees the same page, so those who ask at the same time share a reading of it.
  const readPage = batch(async (asks: null[]) => {
    const [monitors, incidents, maintenances] = await Promise.all([
      listPublicMonitors(app.db),
      listPublicIncidents(app.db),
      listPublicMaintenances(app.db, maintenancesMax),
    ])
    // Of all monitors together: the worst that one of them is.
    const status = fromWorst.find((candidate) => monitors.some((monitor) => monitor.status === candidate))
    const page = {
      status: status ?? 'NO_DATA',
      monitors,
      incidents: incidents.map(({ newest_comment: newest, ...incident }) => ({
        ...toPublicWire(incident),
        newest_comment: newest && { ...newest, timestamp: formatTime(new Date(newest.timestamp * 1000)) },
      })),
      maintenances: maintenances.map(toPublicMaintenance),
    }
    return asks.map(() => page)
  })

  app.get(
    '/',
    { config: { permission: 'public' }, schema: { response: { 200: Success(StatusPage) } } },
    async function readStatus() {
      return { success: true as const, data: await readPage(null) }
    },
  )
}

export default routes
