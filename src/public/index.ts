import type { FastifyInstance } from 'fastify'
import badges from './badges.ts'
import calendar from './calendar.ts'
import feeds from './feeds.tsx'
import pages, { assets } from './pages.tsx'

/** Routes outside /api for readers without a key. Each route has the config publicOutput, and so CORS headers. */
export default async function publicRoutes(app: FastifyInstance) {
  app.register(assets)
  app.register(limitedRoutes)
}

async function limitedRoutes(app: FastifyInstance) {
  app.addHook('onRequest', app.limitRate)

  app.register(pages)
  app.register(feeds)
  app.register(calendar)
  app.register(badges)
}
