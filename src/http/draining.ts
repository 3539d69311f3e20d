import type { Socket } from 'node:net'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Resolves once no request is under way. */
    waitUntilIdle: () => Promise<void>
  }
}

/** Before the end, each reply asks its client to come back on a new connection, which then meets another replica. */
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

    app.addHook('onRequest', ({ socket }, reply, next) => {
      inFlight.set(socket, (inFlight.get(socket) ?? 0) + 1)
      // Not by onResponse: it never comes when the client goes before its reply.
      reply.raw.once('close', () => {
        requestDone(socket)
      })
      // Nor do replies close that still waited for their turn on the connection.
      if (!watched.has(socket)) {
        watched.add(socket)
        socket.once('close', () => {
          connectionClosed(socket)
        })
      }
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
    done()
  },
  { name: 'draining' },
)
