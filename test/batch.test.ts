import t from 'tap'
import { batch } from '../src/database/batch.ts'

await t.test('concurrent items share a run, and items that arrive during it share the next', async (t) => {
  const { submit, runs, waitForRuns, open } = gated((n) => n * 2)
  const first = [1, 2, 3].map(submit)
  await waitForRuns(1)
  const second = [4, 5].map(submit)
  open()
  t.same(await Promise.all([...first, ...second]), [2, 4, 6, 8, 10])
  t.same(runs, [
    [1, 2, 3],
    [4, 5],
  ])
})

await t.test('items of successive turns of the event loop share a run', async (t) => {
  // Stops the clock, because three turns may take longer than the maximum wait on a busy machine.
  t.intercept(performance, 'now', { value: () => 0 })
  const { submit, runs, waitForRuns, open } = gated()
  open()
  function submitInTurn(n: number): void {
    if (n < 3) setImmediate(submitInTurn, n + 1)
    void submit(n)
  }
  submitInTurn(1)
  await waitForRuns(1)
  t.same(runs, [[1, 2, 3]])
})

await t.test('an item never joins a run that has started', async (t) => {
  let value = 'old'
  const { submit, waitForRuns, open } = gated(() => value)
  const before = submit(1)
  await waitForRuns(1)
  value = 'new'
  const after = submit(2)
  open()
  t.same(await Promise.all([before, after]), ['old', 'new'])
})

await t.test('a run has at most the maximum number of items, in their order', async (t) => {
  const sizes: number[] = []
  const submit = batch(async (items: number[]) => {
    sizes.push(items.length)
    return items
  }, 10)
  const numbers = Array.from({ length: 25 }, (_, index) => index)
  t.same(await Promise.all(numbers.map(submit)), numbers)
  t.same(sizes, [10, 10, 5])
})

await t.test('a failed run fails the queued items, but not later ones', async (t) => {
  let broken = true
  const submit = batch(async (items: number[]) => {
    await new Promise(setImmediate)
    if (broken) throw new Error('away')
    return items
  }, 2)
  const outcomes = await Promise.allSettled([1, 2, 3, 4, 5].map(submit))
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  broken = false
  t.equal(await submit(6), 6)
})

/** A batch whose runs call `read` when they start, and return after `open` was called. */
function gated<Result>(read: (item: number) => Result = (item) => item as Result) {
  const runs: number[][] = []
  let open: () => void = () => undefined
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const submit = batch(async (items: number[]) => {
    runs.push(items)
    const results = items.map(read)
    await gate
    return results
  })
  async function waitForRuns(count: number): Promise<void> {
    while (runs.length < count) await new Promise(setImmediate)
  }
  return { submit, runs, waitForRuns, open }
}
