import { channel } from 'node:diagnostics_channel'
import { setImmediate as turn } from 'node:timers/promises'

/** How long a run waits for more asks, at most, as long as each turn of the event loop brings some. */
const gatherMs = 2

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
export function batch<Ask, Answer>(
  run: (asks: Ask[]) => Promise<Answer[]>,
  sizeMax = 1_000,
): (ask: Ask) => Promise<Answer> {
  type Waiting = { ask: Ask; resolve: (answer: Answer) => void; reject: (error: unknown) => void }
  let queue: Waiting[] = []
  let running = false

  /** The answers of one run free their callers to ask again, at once: a run that waited for none would be half as big. */
  async function gather() {
    const until = performance.now() + gatherMs
    let seen: number
    do {
      seen = queue.length
      await turn()
    } while (queue.length > seen && queue.length < sizeMax && performance.now() < until)
  }

  async function drain() {
    while (queue.length > 0) {
      await gather()
      const taken = queue.slice(0, sizeMax)
      queue = queue.slice(sizeMax)
      if (batchRuns.hasSubscribers) batchRuns.publish(taken.length)
      try {
        const answers = await run(taken.map(({ ask }) => ask))
        taken.forEach(({ resolve }, place) => {
          resolve(answers[place] as Answer)
        })
      } catch (error) {
        for (const { reject } of [...taken, ...queue]) reject(error)
        queue = []
      }
    }
    running = false
  }

  return (ask) =>
    new Promise((resolve, reject) => {
      queue.push({ ask, resolve, reject })
      if (running) return
      running = true
      void drain()
    })
}
