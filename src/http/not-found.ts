import type { FastifyInstance, FastifyRequest, HTTPMethods, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import createRouter, { type HTTPMethod } from 'find-my-way'
import { type ApiError, methodNotAllowed, notFound } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** A not-found handler. Set it in a scope to have the scope's hooks run before it. */
    handleNotFound: (request: FastifyRequest) => never
    /** onRequest hook: the same, before the body is looked at. @throws ApiError 404, 405 */
    rejectUnknownRoute: onRequestHookHandler
  }
}

export const routerOptions = { maxParamLength: 500 }

/**
 * An unknown path gets 404, a known path with another method 405 and what is allowed there. Fastify's router does not
 * tell the two apart, so a second one of the same kind remembers the paths.
 */
export default fp(
  (app: FastifyInstance, _options, done) => {
    const paths = createRouter(routerOptions)

    app.addHook('onRoute', ({ url, method }) => {
      for (const name of [method].flat() as HTTPMethod[]) {
        if (!paths.hasRoute(name, url)) paths.on(name, url, () => undefined)
      }
    })
    app.decorate('handleNotFound', (request) => {
      throw toRoutingError(request)
    })
    app.decorate('rejectUnknownRoute', (request, _reply, next) => {
      next(request.is404 ? toRoutingError(request) : undefined)
    })
    app.setNotFoundHandler(app.handleNotFound)
    done()

    function toRoutingError({ method, url }: FastifyRequest): ApiError {
      const allowed = app.supportedMethods.filter((method: HTTPMethods) =>
        paths.find(method as HTTPMethod, url),
      )
      return allowed.length > 0
        ? methodNotAllowed(method, allowed)
        : notFound('There is nothing at this path')
    }
  },
  { name: 'not-found' },
)
