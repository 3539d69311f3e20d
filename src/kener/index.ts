import type { FastifyInstance } from 'fastify'
import { noteFailure, toBody } from '../plugins/error-handler.ts'
import { parseJson } from '../plugins/request-shape.ts'
import { Anything, Nothing } from '../schemas/envelope.ts'
import incidentRoutes from './incidents.ts'
import maintenanceRoutes from './maintenances.ts'
import monitorRoutes from './monitors.ts'

/**
 * Kener 4's own wire format, for clients that speak it. It is translated here, and nobody else knows of it: beneath are
 * the repositories and the rules of /api, and before it the same keys, permissions and limits.
 */
export default async function kener(app: FastifyInstance) {
  // Kener reads JSON whatever it is called.
  parseJson(app, '*')
  app.setErrorHandler((error, request, reply) => {
    const failure = noteFailure(error, request)
    const body = toBody(failure)
    if (failure.status === 400) body.error.code = 'BAD_REQUEST'
    return reply.code(failure.status).headers(failure.headers).send(body)
  })
  app.addHook('onRoute', ({ schema }) => {
    // Kener passes over what it does not know, in a query as in a body.
    if (schema?.querystring === Nothing) schema.querystring = Anything
    if (schema?.body === Nothing) schema.body = Anything
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
