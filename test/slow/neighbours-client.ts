import { setTimeout as delay } from 'node:timers/promises'
import { Agent, request } from 'node:http'

/** Load client of neighbours.test.ts, in a process of its own: uses good keys at a steady rate, and checks readiness. */

export type NeighbourTask = { origin: string; tokens: string[]; durationMs: number; intervalMs: number }

export type NeighbourReport = { p99Ms: number; statuses: Record<number, number>; notReady: number }

const agent = new Agent({ keepAlive: true })

process.once('message', (task: NeighbourTask) => {
  void measure(task).then((report) => {
    process.send?.(report)
    process.disconnect()
    agent.destroy()
  })
})

/**
 * Sends requests at fixed times, whether or not earlier ones have been answered, so that a stalled server is measured
 * as slow for each of them.
 */
async function measure({ origin, tokens, durationMs, intervalMs }: NeighbourTask): Promise<NeighbourReport> {
  const timesMs: number[] = []
  const statuses: Record<number, number> = {}
  let notReady = 0
  const requests: Promise<void>[] = []
  const began = performance.now()
  for (let index = 0; index * intervalMs < durationMs; index++) {
    await delay(began + index * intervalMs - performance.now())
    // A report now and then; with the default quota, each key has 100 requests per minute.
    const isReport = index % 10 === 9
    const path = isReport ? '/api/monitors/m150/data' : '/api/me'
    const sentAt = performance.now()
    requests.push(
      send(origin + path, tokens[index % tokens.length], isReport).then((status) => {
        timesMs.push(performance.now() - sentAt)
        statuses[status] = (statuses[status] ?? 0) + 1
      }),
    )
    if (index % 10 === 0) {
      requests.push(
        send(`${origin}/readyz`).then((status) => {
          if (status !== 200) notReady++
        }),
      )
    }
  }
  await Promise.all(requests)
  timesMs.sort((a, b) => a - b)
  return { p99Ms: Math.round(timesMs[Math.floor(timesMs.length * 0.99)] ?? 0), statuses, notReady }
}

/** Returns 0 if there is no response. */
function send(url: string, token?: string, isReport = false): Promise<number> {
  const body = isReport ? JSON.stringify({ status: 'UP', latency_ms: 5 }) : undefined
  const headers = {
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
    ...(body !== undefined && { 'content-type': 'application/json', 'content-length': body.length }),
    'x-forwarded-for': '192.0.2.1',
  }
  return new Promise((resolve) => {
    request(url, { agent, headers, method: body === undefined ? 'GET' : 'POST' }, (reply) => {
      reply.resume().once('end', () => {
        resolve(reply.statusCode ?? 0)
      })
    })
      .once('error', () => {
        resolve(0)
      })
      .end(body)
  })
}
