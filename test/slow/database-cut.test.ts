import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createDatabase } from '../helper.ts'
import { checkAftermath, startLoad, startWithLedger } from './load.ts'
import { startProxy } from './cutting-proxy.ts'
import { scaled } from './scale.ts'

const poolMax = 10
const cutsWanted = scaled(200)
const rounds = 1 + scaled(2)

/** Timeout of a query, and of a transaction without a next statement. */
const patienceMs = 2_500

async function startAll(t: Test) {
  const url = await createDatabase(t)
  const proxy = await startProxy(t, url)
  const { service, ledger } = await startWithLedger(t, proxy.url, poolMax)
  return { url, proxy, service, ledger }
}

await t.test(
  'connections that are closed within responses cause 503s, and lose no acknowledged write',
  async (t) => {
    const { url, proxy, service, ledger } = await startAll(t)
    const seed = Number(process.env.FAULT_SEED ?? randomInt(2 ** 31))
    t.comment(`FAULT_SEED=${seed}`)
    const random = mulberry32(seed)
    // From the first byte of the handshake to thousands of responses, uniform on a logarithmic scale.
    proxy.cutAfter(() => Math.floor(10 ** (random() * 5)))
    const load = startLoad(t, service, ledger)
    while (proxy.cuts() < cutsWanted) await delay(10)
    proxy.cutAfter(() => Infinity)
    await load.checkRecovery(t, performance.now())
    t.comment(`cuts: ${proxy.cuts()}`)
    await checkAftermath(t, { load, service, ledger, url, poolMax })
  },
)

await t.test(
  'connections that stop responding under load are closed, and so are their transactions',
  async (t) => {
    const { url, proxy, service, ledger } = await startAll(t)
    const load = startLoad(t, service, ledger)
    for (let round = 0; round < rounds; round++) {
      await load.untilServed()
      await delay(500 + Math.random() * 500)
      proxy.silence()
      await load.checkRecovery(t, performance.now() + patienceMs)
    }
    await checkAftermath(t, { load, service, ledger, url, poolMax })
  },
)

/** A random number generator with a seed, which Math.random does not have. Source: Tommy Ettinger's mulberry32. */
function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
