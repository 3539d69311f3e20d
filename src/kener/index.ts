import type { FastifyInstance } from 'fastify'
import { recordError, toBody } from '../http/error-handler.ts'
import { addJsonParser } from '../http/validation.ts'
import { AnyObject, EmptyObject } from '../wire/envelope.ts'
import incidentRoutes from './incidents.ts'
import maintenanceRoutes from './maintenances.ts'
import monitorRoutes from './monitors.ts'

/**
 * Kener 4's own wire format, for clients that speak it. It is translated here, and nobody else knows of it: beneath are
 * the repositories and the rules of /api, and before it the same keys, permissions and limits.
 */
export default async function kener(app: FastifyInstance) {
  // Kener reads JSON whatever it is called.
  addJsonParser(app, '*')
  app.setErrorHandler((error, request, reply) => {
    const apiError = recordError(error, request)
    const body = toBody(apiError)
    if (apiError.status === 400) body.error.code = 'BAD_REQUEST'
    return reply.code(apiError.status).headers(apiError.headers).send(body)
  })
  app.addHook('onRoute', ({ schema }) => {
    // Kener passes over what it does not know, in a query as in a body.
    if (schema?.querystring === EmptyObject) schema.querystring = AnyObject
    if (schema?.body === EmptyObject) schema.body = AnyObject
  })

  // A filter that is there but empty filters nothing.
  app.addHook('preValidation', ({ query }, _reply, next) => {
    const given = query as Record<string, unknown>
    for (const name of Object.keys(given)) if (given[name] === '') given[name] = undefined
    next()
  })

  app.register(monitorRoutes, { prefix: '/monitors' })
  app.register(incidentRoutes, { prefix: '/incidents' })
  app.register(maintenanceRoutes, { prefix: '/maintenances' })
}
