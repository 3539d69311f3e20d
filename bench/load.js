/**
 * One run of autocannon, in a process of its own: its orders come as a message, and its findings go back as one.
 * Latencies are taken down here, in microseconds, since autocannon's own are whole milliseconds.
 */
import { createHistogram } from 'node:perf_hooks'
import autocannon from 'autocannon'

process.once('message', async (orders) => {
  const { requests, timelineMs, ...options } = orders
  const latency = createHistogram()
  const timeline = []
  const statuses = {}
  const began = performance.now()

  const run = autocannon({
    ...options,
    // Each connection asks in an order of its own, or all would ask for the same at once.
    ...(requests && { setupClient: (client) => client.setRequests(shuffled(requests)) }),
  })
  run.on('response', (_client, status, _bytes, ms) => {
    statuses[status] = (statuses[status] ?? 0) + 1
    const microseconds = Math.max(1, Math.round(ms * 1000))
    latency.record(microseconds)
    if (timelineMs) {
      const slot = Math.floor((performance.now() - began) / timelineMs)
      timeline[slot] ??= createHistogram()
      timeline[slot].record(microseconds)
    }
  })
  process.send('started')
  const { requests: rate, errors, timeouts, duration } = await run
  process.send({
    requestsPerSecond: rate.total / duration,
    total: rate.total,
    p50Ms: latency.percentile(50) / 1000,
    p99Ms: latency.percentile(99) / 1000,
    statuses,
    errors: errors + timeouts,
    timelineP99Ms: Array.from(timeline, (slot) => (slot ? slot.percentile(99) / 1000 : null)),
  })
  process.disconnect()
})

function shuffled(list) {
  const copy = [...list]
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1))
    ;[copy[last], copy[other]] = [copy[other], copy[last]]
  }
  return copy.slice(0, 400)
}
