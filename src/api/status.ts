import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { batch } from '../database/batch.ts'
import { readPublicStatus } from '../status/repository.ts'
import { describe, Envelope } from '../wire/envelope.ts'
import { formatTime } from '../wire/time.ts'
import { serializePublicIncident } from './incidents.ts'
import { serializePublicMaintenance } from './maintenances.ts'
import { StatusPage } from './schemas/status.ts'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  // Concurrent requests share one read, because every client gets the same page.
  const readPage = batch(async (requests: null[]) => {
    const page = serializePage(await readPublicStatus(app.db))
    return requests.map(() => page)
  })

  app.get(
    '/',
    {
      config: { permission: 'public' },
      schema: {
        operationId: 'readStatus',
        summary: 'Get the public status',
        response: { 200: describe(Envelope(StatusPage), 'The public status') },
      },
    },
    async function readStatus() {
      return { success: true as const, data: await readPage(null) }
    },
  )
}

export default routes

function serializePage({
  status,
  monitors,
  incidents,
  maintenances,
}: Awaited<ReturnType<typeof readPublicStatus>>) {
  return {
    status,
    monitors,
    incidents: incidents.map(({ newest_comment: newest, ...incident }) => ({
      ...serializePublicIncident(incident),
      newest_comment: newest && { ...newest, timestamp: formatTime(new Date(newest.timestamp * 1000)) },
    })),
    maintenances: maintenances.map(serializePublicMaintenance),
  }
}
