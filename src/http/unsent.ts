import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import fp from 'fastify-plugin'
import { clientAddress, clientNetwork } from './client-address.ts'

/** Longest time without progress while a request is received or a response is sent. */
export const idleTimeoutMs = 30_000

/** Bound of what is kept in memory for clients that read slowly. */
const defaultMaxBytes = 134_217_728

/** Bound for one client: its key or, on public routes, its address. */
const defaultMaxClientBytes = defaultMaxBytes / 4

/** Smaller responses are not tracked: rate limits bound them. */
const minTrackedBytes = 65_536

type Payload = string | Buffer

type Pending = { socket: Socket; payload: Payload; client: string }

/**
 * Bounds the memory of responses whose clients do not read them. A connection without progress is reset after
 * `idleTimeoutMs`. If the large responses of one client exceed `maxClientBytes`, its oldest are reset, and if those of all
 * exceed `maxBytes`, the oldest of all, because clients that read have received theirs long before. Streams need no
 * bound: they continue when the client has read, and end with its connection.
 */
export default fp<{ maxBytes?: number; maxClientBytes?: number }>(
  (app, { maxBytes = defaultMaxBytes, maxClientBytes = defaultMaxClientBytes }, done) => {
    /** In the order of the responses. */
    const pending = new Map<ServerResponse, Pending>()
    const total = createMeter()
    const clients = new Map<string, Meter>()
    const watched = new WeakSet<Socket>()
    const destroyWith = createStreamCloser()

    function add(response: ServerResponse, { socket, payload, client }: Pending): Meter {
      const meter = clients.get(client) ?? createMeter()
      clients.set(client, meter)
      pending.set(response, { socket, payload, client })
      meter.add(payload)
      total.add(payload)
      response.once('close', () => {
        remove(response)
      })
      // Pipelined responses that are still queued do not emit `close` if the connection is lost.
      if (!watched.has(socket)) {
        watched.add(socket)
        socket.once('close', () => {
          for (const [response, { socket: its }] of pending) if (its === socket) remove(response)
        })
      }
      return meter
    }

    function remove(response: ServerResponse): void {
      const removed = pending.get(response)
      if (!removed) return
      pending.delete(response)
      total.remove(removed.payload)
      const meter = clients.get(removed.client)
      meter?.remove(removed.payload)
      if (meter?.bytes() === 0) clients.delete(removed.client)
    }

    /** Resets the oldest connections, only of `client` if it is given, until the meter is within its bound. */
    function resetOldest(meter: Meter, maxMeterBytes: number, client?: string): void {
      if (meter.bytes() <= maxMeterBytes) return
      for (const [response, { socket, client: its }] of pending) {
        if (client !== undefined && its !== client) continue
        app.log.warn({ unsentBytes: meter.bytes() }, 'reset a connection whose client does not read')
        remove(response)
        socket.resetAndDestroy()
        if (meter.bytes() <= maxMeterBytes) return
      }
    }

    app.addHook('onSend', (request, { raw }, payload, next) => {
      const { socket } = request
      if (payload instanceof Readable) destroyWith(socket, payload)
      const isWhole = typeof payload === 'string' || Buffer.isBuffer(payload)
      if (isWhole && payload.length >= minTrackedBytes && !socket.destroyed) {
        const client = request.principal?.id ?? clientNetwork(clientAddress(request))
        resetOldest(add(raw, { socket, payload, client }), maxClientBytes, client)
        resetOldest(total, maxBytes)
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

/** Fastify does so only for a response that is not queued behind a pipelined one. */
function createStreamCloser() {
  const streams = new WeakMap<Socket, Set<Readable>>()

  return (socket: Socket, stream: Readable): void => {
    if (socket.closed) {
      stream.destroy()
      return
    }
    let open = streams.get(socket)
    if (!open) {
      const added = (open = new Set())
      streams.set(socket, added)
      socket.once('close', () => {
        for (const each of added) each.destroy()
      })
    }
    open.add(stream)
    stream.once('close', () => open.delete(stream))
  }
}

type Meter = ReturnType<typeof createMeter>

/** Counts the bytes of payloads. Responses that share a buffer keep it in memory once. */
function createMeter() {
  const shares = new Map<Buffer, number>()
  let bytes = 0

  /** Returns how many responses keep the payload in memory now. */
  function changeShares(payload: Payload, change: 1 | -1): number {
    if (typeof payload === 'string') return change === 1 ? 1 : 0
    const count = (shares.get(payload) ?? 0) + change
    if (count > 0) shares.set(payload, count)
    else shares.delete(payload)
    return count
  }

  return {
    bytes: () => bytes,
    add: (payload: Payload) => {
      if (changeShares(payload, 1) === 1) bytes += payload.length
    },
    remove: (payload: Payload) => {
      if (changeShares(payload, -1) === 0) bytes -= payload.length
    },
  }
}
