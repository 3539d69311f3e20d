import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** False in a scope with asynchronous hooks that send responses: they are sent at once. */
    joinsResponses: boolean
  }
}

/**
 * Sends the responses of one turn of the event loop one directly after the other. A client or a proxy on the same machine
 * sleeps until it can read. Waking it takes longer than sending, and it stays awake for the next responses of a burst.
 *
 * Fastify does not know that a response which waits here is sent. If the client disconnects meanwhile, Fastify resumes an
 * asynchronous hook that returned the reply, and runs the next hook or the handler: hence `joinsResponses`.
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

    app.decorate('joinsResponses', true)
    app.addHook('onSend', ({ server }, _reply, _payload, next) => {
      if (!server.joinsResponses) {
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
