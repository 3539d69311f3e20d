import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'

/** Longest time without progress while a request is received or a response is sent. */
export const idleTimeoutMs = 30_000

/** Bound of what is kept in memory for clients that read slowly. */
const defaultMaxBytes = 134_217_728

/** Smaller responses are not tracked: rate limits bound them. */
const minTrackedBytes = 65_536

type Payload = string | Buffer

/**
 * Bounds the memory of responses whose clients do not read them. A connection without progress is reset after
 * `idleTimeoutMs`. If the large responses of all connections exceed `maxBytes`, the oldest are reset, because clients
 * that read have received theirs long before. Streams need no bound: they continue when the client has read.
 */
export default fp<{ maxBytes?: number }>(
  (app, { maxBytes = defaultMaxBytes }, done) => {
    const pending = new Map<ServerResponse, { socket: Socket; payload: Payload }>()
    /** Number of responses that share a buffer. It is kept in memory once. */
    const shares = new Map<Buffer, number>()
    const watched = new WeakSet<Socket>()
    let bytes = 0

    function add(response: ServerResponse, socket: Socket, payload: Payload): void {
      pending.set(response, { socket, payload })
      if (changeShares(payload, 1) === 1) bytes += payload.length
      response.once('close', () => {
        remove(response)
      })
      // Pipelined responses that are still queued do not emit `close` if the connection is lost.
      if (watched.has(socket)) return
      watched.add(socket)
      socket.once('close', () => {
        for (const [response, { socket: its }] of pending) if (its === socket) remove(response)
      })
    }

    function remove(response: ServerResponse): void {
      const payload = pending.get(response)?.payload
      if (payload === undefined) return
      pending.delete(response)
      if (changeShares(payload, -1) === 0) bytes -= payload.length
    }

    /** Returns how many responses keep the payload in memory now. */
    function changeShares(payload: Payload, change: 1 | -1): number {
      if (typeof payload === 'string') return change === 1 ? 1 : 0
      const count = (shares.get(payload) ?? 0) + change
      if (count > 0) shares.set(payload, count)
      else shares.delete(payload)
      return count
    }

    function resetOldest(): void {
      for (const [response, { socket }] of pending) {
        if (bytes <= maxBytes) return
        app.log.warn({ unsentBytes: bytes }, 'reset a connection whose client does not read')
        remove(response)
        socket.resetAndDestroy()
      }
    }

    app.addHook('onSend', ({ socket }, { raw }, payload, next) => {
      const isWhole = typeof payload === 'string' || Buffer.isBuffer(payload)
      if (isWhole && payload.length >= minTrackedBytes && !socket.destroyed) {
        add(raw, socket, payload)
        resetOldest()
      }
      next()
    })
    // Node also calls it for connections that were idle for keepAliveTimeout.
    app.server.on('timeout', (socket: Socket) => {
      if (socket.writableLength > 0) socket.resetAndDestroy()
      else socket.destroy()
    })
    done()
  },
  { name: 'unsent' },
)
