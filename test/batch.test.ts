import t from 'tap'
import { batch } from '../src/database/batch.ts'

await t.test('asks of one turn share a run, and what comes meanwhile shares the next', async (t) => {
  const runs: number[][] = []
  const ask = batch(async (asks: number[]) => {
    runs.push(asks)
    await new Promise(setImmediate)
    return asks.map((n) => n * 2)
  })
  const first = [1, 2, 3].map(ask)
  await new Promise(setImmediate)
  const second = [4, 5].map(ask)
  t.same(await Promise.all([...first, ...second]), [2, 4, 6, 8, 10])
  t.same(runs, [
    [1, 2, 3],
    [4, 5],
  ])
})

await t.test('an ask never joins a run that has started', async (t) => {
  let value = 'old'
  let open: () => void = () => undefined
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const ask = batch(async (asks: string[]) => {
    const read = value
    await gate
    return asks.map(() => read)
  })
  const before = ask('')
  await new Promise(setImmediate)
  value = 'new'
  const after = ask('')
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
