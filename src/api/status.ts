import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { publicOutput } from '../http/public-output.ts'
import { readPublicStatus } from '../status/repository.ts'
import { describe, Envelope, NotModified } from '../wire/envelope.ts'
import { formatTime } from '../wire/time.ts'
import { compileSerializer } from '../wire/validator.ts'
import { serializePublicIncident } from './incidents.ts'
import { serializePublicMaintenance } from './maintenances.ts'
import { StatusPage } from './schemas/status.ts'

const { monitors: Monitors, incidents: Incidents, maintenances: Maintenances } = StatusPage.properties
const serializeMonitor = compileSerializer(Monitors.items)
const serializeIncidents = compileSerializer(Incidents)
const serializeMaintenances = compileSerializer(Maintenances)

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const sendStatus = app.sharePublicOutput(async () => toJson(await readPublicStatus(app.db)))

  app.get(
    '/',
    {
      config: publicOutput,
      schema: {
        operationId: 'readStatus',
        summary: 'Get the public status',
        response: {
          200: describe(Envelope(StatusPage), 'The public status'),
          304: NotModified,
        },
      },
    },
    async function readStatus(request, reply) {
      return await sendStatus(request, reply)
    },
  )
}

export default routes

/** Monitors per turn of the event loop, which 10,000 of them would block for 50 ms. */
const monitorsPerTurn = 500

async function toJson(page: Awaited<ReturnType<typeof readPublicStatus>>): Promise<Buffer> {
  const parts = [Buffer.from(`{"success":true,"data":{"status":"${page.status}","monitors":[`)]
  for (let first = 0; first < page.monitors.length; first += monitorsPerTurn) {
    const monitors = page.monitors.slice(first, first + monitorsPerTurn).map(serializeMonitor)
    parts.push(Buffer.from((first > 0 ? ',' : '') + monitors.join(',')))
    await nextTurn()
  }
  const incidents = page.incidents.map(({ newest_comment: newest, ...incident }) => ({
    ...serializePublicIncident(incident),
    newest_comment: newest && { ...newest, timestamp: formatTime(new Date(newest.timestamp * 1000)) },
  }))
  const maintenances = page.maintenances.map(serializePublicMaintenance)
  const rest = `],"incidents":${serializeIncidents(incidents)},"maintenances":${serializeMaintenances(maintenances)}}}`
  return Buffer.concat([...parts, Buffer.from(rest)])
}
