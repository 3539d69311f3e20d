import fp from 'fastify-plugin'

/**
 * Every reply names its request, and every request is one line in the log. The line holds the route's pattern, not
 * the URL: people put keys into URLs.
 */
export default fp(
  (app, _options, done) => {
    app.addHook('onRequest', (request, reply, next) => {
      reply.header('x-request-id', request.id)
      next()
    })
    app.addHook('onResponse', (request, reply, next) => {
      request.log.info(
        {
          method: request.method,
          route: request.routeOptions.url ?? null,
          keyId: request.principal?.id ?? null,
          status: reply.statusCode,
          durationMs: Math.round(reply.elapsedTime * 1000) / 1000,
        },
        'request completed',
      )
      next()
    })
    done()
  },
  { name: 'request-log' },
)
