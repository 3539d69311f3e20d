import fp from 'fastify-plugin'

/**
 * Sends the responses of one turn of the event loop one directly after the other. A client or a proxy on the same machine
 * sleeps until it can read. Waking it takes longer than sending, and it stays awake for the next responses of a burst.
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

    app.addHook('onSend', (_request, _reply, _payload, next) => {
      if (waiting.length === 0) setImmediate(sendAll)
      waiting.push(next)
    })
    done()
  },
  { name: 'response-bursts' },
)
