import type { FastifyInstance } from 'fastify'
import adviceRoutes from './advice.tsx'
import createRoutes from './create.tsx'
import detailsRoutes from './details.tsx'
import editRoutes from './edit.tsx'
import listRoutes from './list.tsx'
import revokeRoutes from './revoke.tsx'
import revokeSelectedRoutes from './revoke-selected.tsx'
import rotateRoutes from './rotate.tsx'
import { keysPath } from './ui.tsx'

/** Settings > API Keys. */
export default async function apiKeys(app: FastifyInstance) {
  app.get('/', (_request, reply) => reply.redirect(keysPath, 303))
  app.register(listRoutes, { prefix: '/api-keys' })
  app.register(adviceRoutes, { prefix: '/api-keys' })
  app.register(createRoutes, { prefix: '/api-keys' })
  app.register(detailsRoutes, { prefix: '/api-keys' })
  app.register(editRoutes, { prefix: '/api-keys' })
  app.register(rotateRoutes, { prefix: '/api-keys' })
  app.register(revokeRoutes, { prefix: '/api-keys' })
  app.register(revokeSelectedRoutes, { prefix: '/api-keys' })
}
