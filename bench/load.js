/**
 * Runs autocannon, in a separate process: receives its options as a message, and sends its results as one, until the
 * parent process disconnects. Records latencies in microseconds, because autocannon rounds them to milliseconds.
 */
import { createHistogram } from 'node:perf_hooks'
import autocannon from 'autocannon'

process.on('message', async (message) => {
  const { requests, timelineMs, ...options } = message
  const latency = createHistogram()
  const timeline = []
  const statuses = {}
  const began = performance.now()

  const run = autocannon({
    ...options,
    // Shuffled per connection, so that connections do not send the same request at the same time.
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
})

function shuffled(list) {
  const copy = [...list]
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1))
    ;[copy[last], copy[other]] = [copy[other], copy[last]]
  }
  // autocannon builds them when it starts, which takes 0.3 s for 400 per connection.
  return copy.slice(0, 100)
}
