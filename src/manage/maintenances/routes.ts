import type { FastifyInstance } from 'fastify'
import createRoutes from './create.tsx'
import deleteRoutes from './delete.tsx'
import detailsRoutes from './details.tsx'
import editRoutes from './edit.tsx'
import listRoutes from './list.tsx'

/** Maintenances and their events. */
export default async function maintenances(app: FastifyInstance) {
  app.register(listRoutes)
  app.register(createRoutes)
  app.register(detailsRoutes)
  app.register(editRoutes)
  app.register(deleteRoutes)
}
