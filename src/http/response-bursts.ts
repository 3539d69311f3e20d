import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyRequest {
    /** True if all hooks before the handler have passed. */
    reachedHandler: boolean
  }
}

/**
 * Sends the responses of one turn of the event loop one directly after the other. A client or a proxy on the same machine
 * sleeps until it can read. Waking it takes longer than sending, and it stays awake for the next responses of a burst.
 *
 * Only those of handlers wait. Fastify takes a response that waits here for one that is not sent: if the client disconnects
 * meanwhile, it resumes an asynchronous hook that has answered, and runs the handler, although the hook rejected the
 * request.
 *
 * Registered before all other onSend hooks, so that they still run directly before the response is sent.
 */
export default fp(
  (app, _options, done) => {
    let waiting: (() => void)[] = []

    function sendAll(): void {
      const current = waiting
      waiting = []
      // Fastify answers an error of a later hook, such as an invalid header, with 500: it does not reach this loop.
      for (const send of current) send()
    }

    app.decorateRequest('reachedHandler', false)
    app.addHook('onRoute', (route) => {
      const { handler } = route
      // Not a hook, because other plugins add hooks that run after it.
      route.handler = function (request, reply) {
        request.reachedHandler = true
        return handler.call(this, request, reply)
      }
    })
    app.addHook('onSend', ({ reachedHandler }, _reply, _payload, next) => {
      if (!reachedHandler) {
        next()
        return
      }
      if (waiting.length === 0) setImmediate(sendAll)
      waiting.push(next)
    })
    done()
  },
  { name: 'response-bursts' },
)
