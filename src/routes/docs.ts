import reference from '@scalar/fastify-api-reference'
import type { FastifyInstance } from 'fastify'

/** All that the page needs comes from here; the browser holds it to that. */
const policy =
  "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; " +
  "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; " +
  "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

/** The description of the API, for programs at /openapi.json and for people at /docs. */
export default async function routes(app: FastifyInstance) {
  app.addHook('onRequest', app.limitRate)
  app.addHook('onSend', (_request, reply, _payload, next) => {
    reply.header('content-security-policy', policy)
    next()
  })

  app.get('/openapi.json', { schema: { hide: true } }, function readDescription() {
    return app.swagger()
  })

  await app.register(reference, {
    routePrefix: '/docs',
    configuration: {
      url: '/openapi.json',
      title: 'kener-api',
      theme: 'default',
      withDefaultFonts: false,
      telemetry: false,
      hideClientButton: true,
      // What would leave this service.
      agent: { disabled: true },
      mcp: { disabled: true },
      showDeveloperTools: 'never',
      authentication: { preferredSecurityScheme: 'key' },
    },
  })
}
