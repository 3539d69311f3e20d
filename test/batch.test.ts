import t from 'tap'
import { batch } from '../src/database/batch.ts'

await t.test('asks of one moment share a run, and what comes meanwhile shares the next', async (t) => {
  const { ask, runs, untilRuns, open } = gated((n) => n * 2)
  const first = [1, 2, 3].map(ask)
  await untilRuns(1)
  const second = [4, 5].map(ask)
  open()
  t.same(await Promise.all([...first, ...second]), [2, 4, 6, 8, 10])
  t.same(runs, [
    [1, 2, 3],
    [4, 5],
  ])
})

await t.test('asks that come turn after turn are gathered', async (t) => {
  // However long a busy machine takes for three turns.
  t.intercept(performance, 'now', { value: () => 0 })
  const { ask, runs, untilRuns, open } = gated()
  open()
  function askInTurn(n: number): void {
    if (n < 3) setImmediate(askInTurn, n + 1)
    void ask(n)
  }
  askInTurn(1)
  await untilRuns(1)
  t.same(runs, [[1, 2, 3]])
})

await t.test('an ask never joins a run that has started', async (t) => {
  let value = 'old'
  const { ask, untilRuns, open } = gated(() => value)
  const before = ask(1)
  await untilRuns(1)
  value = 'new'
  const after = ask(2)
  open()
  t.same(await Promise.all([before, after]), ['old', 'new'])
})

await t.test('a run is no larger than its maximum, and keeps the order', async (t) => {
  const sizes: number[] = []
  const ask = batch(async (asks: number[]) => {
    sizes.push(asks.length)
    return asks
  }, 10)
  const numbers = Array.from({ length: 25 }, (_, index) => index)
  t.same(await Promise.all(numbers.map(ask)), numbers)
  t.same(sizes, [10, 10, 5])
})

await t.test('a failed run fails those who wait behind it, and none who come later', async (t) => {
  let broken = true
  const ask = batch(async (asks: number[]) => {
    await new Promise(setImmediate)
    if (broken) throw new Error('away')
    return asks
  }, 2)
  const outcomes = await Promise.allSettled([1, 2, 3, 4, 5].map(ask))
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  broken = false
  t.equal(await ask(6), 6)
})

/** A batch whose runs read when they start, and answer once `open` was called. */
function gated<Answer>(read: (ask: number) => Answer = (ask) => ask as Answer) {
  const runs: number[][] = []
  let open: () => void = () => undefined
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const ask = batch(async (asks: number[]) => {
    runs.push(asks)
    const answers = asks.map(read)
    await gate
    return answers
  })
  async function untilRuns(count: number): Promise<void> {
    while (runs.length < count) await new Promise(setImmediate)
  }
  return { ask, runs, untilRuns, open }
}
