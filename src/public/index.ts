import type { FastifyInstance } from 'fastify'

/** What readers without a key see, outside /api. Each route has the config publicOutput, and so CORS headers. */
export default async function publicRoutes(app: FastifyInstance) {
  app.addHook('onRequest', app.limitRate)
}
