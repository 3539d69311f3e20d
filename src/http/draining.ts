import type { Socket } from 'node:net'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Resolves when no request is in flight. A response is in flight until all of it is sent. */
    waitUntilIdle: () => Promise<void>
    /** Stops listening, completes the requests in flight, and closes the app. */
    closeWhenIdle: () => Promise<void>
  }
}

/**
 * Tracks requests in flight. While the service drains, each response closes its connection, so that the client's next
 * request goes to another replica.
 */
export default fp<{ isDraining: () => boolean }>(
  (app, { isDraining }, done) => {
    const inFlight = new Map<Socket, number>()
    const watched = new WeakSet<Socket>()
    let onIdle: () => void = () => undefined

    function requestDone(socket: Socket): void {
      const remaining = (inFlight.get(socket) ?? 1) - 1
      if (remaining > 0) inFlight.set(socket, remaining)
      else connectionClosed(socket)
    }

    function connectionClosed(socket: Socket): void {
      inFlight.delete(socket)
      if (inFlight.size === 0) onIdle()
    }

    app.addHook('onRequest', ({ socket }, _reply, next) => {
      inFlight.set(socket, (inFlight.get(socket) ?? 0) + 1)
      // onResponse is not called for the requests of a connection that is lost.
      if (!watched.has(socket)) {
        watched.add(socket)
        socket.once('close', () => {
          connectionClosed(socket)
        })
      }
      next()
    })
    app.addHook('onResponse', ({ socket }, _reply, next) => {
      requestDone(socket)
      next()
    })
    app.addHook('onSend', (_request, reply, _payload, next) => {
      if (isDraining()) reply.header('connection', 'close')
      next()
    })
    app.decorate('waitUntilIdle', () => {
      if (inFlight.size === 0) return Promise.resolve()
      return new Promise<void>((resolve) => {
        onIdle = resolve
      })
    })
    app.decorate('closeWhenIdle', async () => {
      // Node closes idle connections together with the server, and idle ones include those whose response has ended but
      // is not sent yet.
      app.server.closeIdleConnections = () => undefined
      const closed = app.close()
      await app.waitUntilIdle()
      app.server.closeAllConnections()
      await closed
    })
    done()
  },
  { name: 'draining' },
)
