import fp from 'fastify-plugin'

/** Before the end, each reply asks its client to come back on a new connection, which then meets another replica. */
export default fp<{ isDraining: () => boolean }>(
  (app, { isDraining }, done) => {
    app.addHook('onSend', (_request, reply, _payload, next) => {
      if (isDraining()) reply.header('connection', 'close')
      next()
    })
    done()
  },
  { name: 'draining' },
)
