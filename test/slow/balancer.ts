import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'
import { isReady } from './replicas.ts'

const checkEveryMs = 1_000

/**
 * Starts a TCP load balancer: each connection goes to the next target that was ready at the last poll. It never
 * retries. `targets` may change meanwhile.
 */
export async function startBalancer(t: Test, targets: Set<string>): Promise<string> {
  const ready = new Set(targets)
  const sockets = new Set<Socket>()
  let next = 0

  const checks = setInterval(() => {
    for (const origin of ready) if (!targets.has(origin)) ready.delete(origin)
    for (const origin of targets) {
      void isReady(origin).then((is) => (is ? ready.add(origin) : ready.delete(origin)))
    }
  }, checkEveryMs)

  const server = createServer((client) => {
    const origins = [...ready]
    const origin = origins[next++ % origins.length]
    if (origin === undefined) {
      client.destroy()
      return
    }
    const upstream = connect(Number(new URL(origin).port), '127.0.0.1')
    client.pipe(upstream).pipe(client)
    const pair = [client, upstream]
    for (const socket of pair) {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {
        for (const each of pair) each.destroy()
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    clearInterval(checks)
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${String((server.address() as { port: number }).port)}`
}
