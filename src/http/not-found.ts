import type { FastifyInstance, FastifyRequest, HTTPMethods, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import createRouter, { type HTTPMethod } from 'find-my-way'
import { type ApiError, methodNotAllowed, pathNotFound } from '../errors.ts'
import { maxParamLength } from './error-handler.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Status of requests for the path with another method. Default: 405. */
    otherMethods?: 404
  }
  interface FastifyInstance {
    /** A not-found handler. Set it in a scope so that the scope's hooks run before it. */
    handleNotFound: (request: FastifyRequest) => never
    /** onRequest hook: rejects unknown routes before their body is parsed. @throws ApiError 404, 405 */
    rejectUnknownRoute: onRequestHookHandler
  }
}

/** A trailing slash is ignored, because clients of Kener may send one: it redirects to the path without it. */
export const routerOptions = { maxParamLength, ignoreTrailingSlash: true }

/**
 * Rejects an unknown path with 404, and a known path with a wrong method with 405 and the allowed methods. Fastify's
 * router does not distinguish them, so a second router of the same kind knows the paths.
 */
export default fp(
  (app: FastifyInstance, _options, done) => {
    const paths = createRouter(routerOptions)

    app.addHook('onRoute', ({ url, method, config }) => {
      if (config?.otherMethods === 404) return
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
      return allowed.length > 0 ? methodNotAllowed(method, allowed) : pathNotFound()
    }
  },
  { name: 'not-found' },
)
