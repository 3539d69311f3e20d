import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export type Proxy = Awaited<ReturnType<typeof startProxy>>

/** A way to the database at `target` that breaks when it is told to; its `url` leads there. */
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
      // By turns as a process ends its connections, once all is sent, and as a machine that knows of none.
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
    /** Each connection is cut once the server has sent so many bytes on it. */
    cutAfter: (bytes: () => number) => {
      drawBytes = bytes
      for (const pair of pairs) pair.bytesLeft = bytes()
    },
    /**
     * What is sent on the present connections vanishes, and neither side hears that the other has gone: a firewall that
     * has forgotten them. New ones work.
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
