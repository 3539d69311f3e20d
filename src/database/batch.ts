import { channel } from 'node:diagnostics_channel'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** How long a run waits for more asks, at most, as long as each turn of the event loop brings some. */
const maxWaitMs = 2

/** Told of the size of each run, by whoever subscribes; nobody does as a rule, and then it costs nothing. */
export const batchRuns = channel('kener-api:batch')

/**
 * Gathers single asks into statements for many: those that come in at the same time share a run, and while one run
 * is under way the next one grows. So under load the number of statements follows the database's pace, not the
 * number of requests, and an idle service answers without delay.
 *
 * No ask joins a run that has started: what a run reads is never older than the ask.
 *
 * @param run answers all asks, in their order. When it fails, so do the asks that wait behind it: they would meet
 *   the same end, later.
 */
export function batch<Item, Result>(
  run: (items: Item[]) => Promise<Result[]>,
  maxBatchSize = 1_000,
): (item: Item) => Promise<Result> {
  type Waiting = { item: Item; resolve: (result: Result) => void; reject: (error: unknown) => void }
  let queue: Waiting[] = []
  let running = false

  /** The answers of one run free their callers to ask again, at once: a run that waited for none would be half as big. */
  async function waitForMore() {
    const deadline = performance.now() + maxWaitMs
    let previousLength: number
    do {
      previousLength = queue.length
      await nextTurn()
    } while (queue.length > previousLength && queue.length < maxBatchSize && performance.now() < deadline)
  }

  async function drain() {
    while (queue.length > 0) {
      await waitForMore()
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
