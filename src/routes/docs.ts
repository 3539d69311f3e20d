import Fastify, { type FastifyInstance } from 'fastify'
import { notFound } from '../errors.ts'

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

  let reference: Promise<FastifyInstance> | undefined
  for (const url of ['/docs', '/docs/*']) {
    app.get(url, { schema: { hide: true } }, async function showReference(request, reply) {
      reference ??= buildReference()
      const { statusCode, headers, rawPayload } = await (await reference).inject({ url: request.url })
      if (statusCode === 404) throw notFound('There is nothing at this path')
      return reply.code(statusCode).headers(headers).send(rawPayload)
    })
  }
}

/**
 * The page comes as a plugin that reads megabytes as it is loaded. It waits in an instance of its own for the first who
 * asks for it, so that the service starts sooner and a replica that nobody reads it from stays smaller.
 */
async function buildReference(): Promise<FastifyInstance> {
  const { default: plugin } = await import('@scalar/fastify-api-reference')
  const app = Fastify()
  await app.register(plugin, {
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
  return app
}
