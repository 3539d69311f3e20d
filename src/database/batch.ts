import { channel } from 'node:diagnostics_channel'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Longest wait for more items before a run, as long as each turn of the event loop adds some. */
const maxWaitMs = 2

/** Publishes the size of each batch, for the metrics. Costs nothing without a subscriber. */
export const batchRuns = channel('kener-api:batch')

/**
 * Batches calls: concurrent calls share a run, and while a run is in flight, the next batch grows. Under load, the
 * number of statements depends on the speed of the database and not on the number of requests. Without load, calls do
 * not wait.
 *
 * No call joins a run that has started, so that what a run reads is never older than the call.
 *
 * @param run returns the results, or promises of them, in the order of the items. If it fails, the queued items fail too,
 *   because their run would fail in the same way, later.
 */
export function batch<Item, Result>(
  run: (items: Item[]) => Promise<(Result | Promise<Result>)[]>,
  maxBatchSize = 1_000,
): (item: Item) => Promise<Result> {
  type Waiting = {
    item: Item
    resolve: (result: Result | Promise<Result>) => void
    reject: (error: unknown) => void
  }
  let queue: Waiting[] = []
  let running = false

  async function drain() {
    while (queue.length > 0) {
      await waitForMore(() => queue.length, maxBatchSize)
      const current = queue.slice(0, maxBatchSize)
      queue = queue.slice(maxBatchSize)
      if (batchRuns.hasSubscribers) batchRuns.publish(current.length)
      try {
        const results = await run(current.map(({ item }) => item))
        current.forEach(({ resolve }, index) => {
          resolve(results[index] as Result)
        })
      } catch (error) {
        for (const { reject } of [...current, ...queue]) reject(error)
        queue = []
      }
    }
    running = false
  }

  return (item) =>
    new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject })
      if (running) return
      running = true
      void drain()
    })
}

/**
 * Waits until a turn of the event loop adds no call, or for maxWaitMs. Callers often call again when a run ends: without
 * this wait, batches are half as large.
 * @param count returns the number of calls
 */
export async function waitForMore(count: () => number, max = Infinity): Promise<void> {
  const deadline = performance.now() + maxWaitMs
  let previous: number
  do {
    previous = count()
    await nextTurn()
  } while (count() > previous && count() < max && performance.now() < deadline)
}
