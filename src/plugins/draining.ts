import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Resolves once no request is under way. */
    untilIdle: () => Promise<void>
  }
}

/** Before the end, each reply asks its client to come back on a new connection, which then meets another replica. */
export default fp<{ isDraining: () => boolean }>(
  (app, { isDraining }, done) => {
    let underWay = 0
    let idle: () => void = () => undefined

    function settle(): void {
      underWay--
      if (underWay === 0) idle()
    }

    app.addHook('onRequest', (_request, reply, next) => {
      underWay++
      // Not by onResponse: it never comes when the client goes before its reply.
      reply.raw.once('close', settle)
      next()
    })
    app.addHook('onSend', (_request, reply, _payload, next) => {
      if (isDraining()) reply.header('connection', 'close')
      next()
    })
    app.decorate('untilIdle', () => {
      if (underWay === 0) return Promise.resolve()
      return new Promise<void>((resolve) => {
        idle = resolve
      })
    })
    done()
  },
  { name: 'draining' },
)
