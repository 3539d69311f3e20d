import type { Socket } from 'node:net'
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
    const underWay = new Map<Socket, number>()
    const watched = new WeakSet<Socket>()
    let idle: () => void = () => undefined

    function settle(socket: Socket): void {
      const left = (underWay.get(socket) ?? 1) - 1
      if (left > 0) underWay.set(socket, left)
      else settleAll(socket)
    }

    function settleAll(socket: Socket): void {
      underWay.delete(socket)
      if (underWay.size === 0) idle()
    }

    app.addHook('onRequest', ({ socket }, reply, next) => {
      underWay.set(socket, (underWay.get(socket) ?? 0) + 1)
      // Not by onResponse: it never comes when the client goes before its reply.
      reply.raw.once('close', () => {
        settle(socket)
      })
      // Nor do replies close that still waited for their turn on the connection.
      if (!watched.has(socket)) {
        watched.add(socket)
        socket.once('close', () => {
          settleAll(socket)
        })
      }
      next()
    })
    app.addHook('onSend', (_request, reply, _payload, next) => {
      if (isDraining()) reply.header('connection', 'close')
      next()
    })
    app.decorate('untilIdle', () => {
      if (underWay.size === 0) return Promise.resolve()
      return new Promise<void>((resolve) => {
        idle = resolve
      })
    })
    done()
  },
  { name: 'draining' },
)
