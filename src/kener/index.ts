import type { FastifyInstance } from 'fastify'
import { recordError, toBody } from '../http/error-handler.ts'
import { addJsonParser } from '../http/validation.ts'
import { AnyObject, EmptyObject } from '../wire/envelope.ts'
import incidentCommentRoutes from './incident-comments.ts'
import incidentRoutes from './incidents.ts'
import maintenanceEventRoutes from './maintenance-events.ts'
import maintenanceRoutes from './maintenances.ts'
import monitorDataRoutes from './monitor-data.ts'
import monitorRoutes from './monitors.ts'
import pageRoutes from './pages.ts'

/**
 * /api/v4: the wire format of Kener 4, for its clients. Keys, permissions, rate limits and the domain are those of /api;
 * only the format is converted here.
 */
export default async function kener(app: FastifyInstance) {
  // Kener parses bodies as JSON, whatever their Content-Type.
  app.removeAllContentTypeParsers()
  addJsonParser(app, '*')
  app.setErrorHandler((error, request, reply) => {
    const apiError = recordError(error, request)
    const body = toBody(apiError)
    if (apiError.status === 400) body.error.code = 'BAD_REQUEST'
    return reply.code(apiError.status).headers(apiError.headers).send(body)
  })
  app.addHook('onRoute', ({ schema }) => {
    // Kener ignores unknown fields of queries and bodies.
    if (schema?.querystring === EmptyObject) schema.querystring = AnyObject
    if (schema?.body === EmptyObject) schema.body = AnyObject
  })

  // Kener ignores empty filters.
  app.addHook('preValidation', ({ query }, _reply, next) => {
    const filters = query as Record<string, unknown>
    for (const name of Object.keys(filters)) if (filters[name] === '') filters[name] = undefined
    next()
  })

  app.register(monitorRoutes, { prefix: '/monitors' })
  app.register(monitorDataRoutes, { prefix: '/monitors' })
  app.register(incidentRoutes, { prefix: '/incidents' })
  app.register(incidentCommentRoutes, { prefix: '/incidents' })
  app.register(maintenanceRoutes, { prefix: '/maintenances' })
  app.register(maintenanceEventRoutes, { prefix: '/maintenances' })
  app.register(pageRoutes)
}
