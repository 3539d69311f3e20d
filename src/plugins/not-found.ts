import type { FastifyInstance, FastifyRequest, HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import createRouter, { type HTTPMethod } from 'find-my-way'
import { methodNotAllowed, notFound } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** A not-found handler. Set it in a scope to have the scope's hooks run before it. */
    answerNotFound: (request: FastifyRequest) => never
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
    app.decorate('answerNotFound', (request) => {
      const allowed = app.supportedMethods.filter((method: HTTPMethods) =>
        paths.find(method as HTTPMethod, request.url),
      )
      if (allowed.length > 0) throw methodNotAllowed(request.method, allowed)
      throw notFound('There is nothing at this path')
    })
    app.setNotFoundHandler(app.answerNotFound)
    done()
  },
  { name: 'not-found' },
)
