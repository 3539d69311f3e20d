import type { FastifyInstance } from 'fastify'
import createRoutes from './create.tsx'
import deleteRoutes from './delete.tsx'
import detailsRoutes from './details.tsx'
import editRoutes from './edit.tsx'
import heartbeatRoutes from './heartbeat.tsx'
import listRoutes from './list.tsx'

/** Monitors and their heartbeat URLs. */
export default async function monitors(app: FastifyInstance) {
  app.register(listRoutes)
  app.register(createRoutes)
  app.register(detailsRoutes)
  app.register(editRoutes)
  app.register(heartbeatRoutes)
  app.register(deleteRoutes)
}
