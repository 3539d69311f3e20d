import type { FastifyInstance } from 'fastify'
import commentRoutes from './comments.tsx'
import createRoutes from './create.tsx'
import deleteRoutes from './delete.tsx'
import detailsRoutes from './details.tsx'
import editRoutes from './edit.tsx'
import listRoutes from './list.tsx'

/** Incidents and their comments. */
export default async function incidents(app: FastifyInstance) {
  app.register(listRoutes)
  app.register(createRoutes)
  app.register(detailsRoutes)
  app.register(editRoutes)
  app.register(commentRoutes)
  app.register(deleteRoutes)
}
