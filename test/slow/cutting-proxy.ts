import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export type Proxy = Awaited<ReturnType<typeof startProxy>>

/** Starts a proxy to the database at `target` that can close or block its connections. */
export async function startProxy(t: Test, target: string) {
  const { hostname, port } = new URL(target)
  const pairs = new Set<{ client: Socket; upstream: Socket; bytesLeft: number }>()
  let drawBytes = () => Infinity
  let cuts = 0

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: Number(port), host: hostname, noDelay: true })
    const pair = { client, upstream, bytesLeft: drawBytes() }
    pairs.add(pair)

    function end() {
      if (!pairs.delete(pair)) return
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end)
    client.on('data', (bytes) => upstream.write(bytes))
    upstream.on('data', (bytes) => {
      if (bytes.length <= pair.bytesLeft) {
        pair.bytesLeft -= bytes.length
        client.write(bytes)
        return
      }
      cuts++
      pairs.delete(pair)
      // Alternates between closing the connection after all bytes are sent, and resetting it.
      client.write(bytes.subarray(0, pair.bytesLeft), () => {
        if (cuts % 2 === 0) client.destroy()
        else client.resetAndDestroy()
      })
      upstream.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const { client, upstream } of pairs) for (const socket of [client, upstream]) socket.destroy()
  })
  const url = new URL(target)
  url.port = String((server.address() as { port: number }).port)
  return {
    url: url.href,
    cuts: () => cuts,
    /** Closes each connection after the server has sent this number of bytes on it. */
    cutAfter: (bytes: () => number) => {
      drawBytes = bytes
      for (const pair of pairs) pair.bytesLeft = bytes()
    },
    /**
     * Drops everything on the open connections without closing them, as a firewall that no longer knows them. New
     * connections work.
     */
    silence: () => {
      for (const pair of pairs) {
        pairs.delete(pair)
        for (const socket of [pair.client, pair.upstream]) {
          socket
            .removeAllListeners()
            .on('error', () => undefined)
            .resume()
        }
        t.teardown(() => {
          pair.client.destroy()
          pair.upstream.destroy()
        })
      }
    },
  }
}
