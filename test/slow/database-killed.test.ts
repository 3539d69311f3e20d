import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startPostgres } from '../postgres.ts'
import { checkAftermath, startLoad, startWithLedger } from './load.ts'
import { scaled } from './scale.ts'

const rounds = 1 + scaled(2)
const poolMax = 10

await t.test(
  'a database that is killed under load causes 503s, and loses no acknowledged write',
  async (t) => {
    const postgres = await startPostgres(['fsync=on'])
    t.teardown(postgres.stop)
    const { service, ledger } = await startWithLedger(t, postgres.url, poolMax)
    const load = startLoad(t, service, ledger)
    for (let round = 0; round < rounds; round++) {
      await load.untilServed()
      // At a random time.
      await delay(500 + Math.random() * 500)
      await postgres.kill()
      await load.untilRejected()
      await postgres.restart()
      await load.checkRecovery(t, performance.now())
    }
    await checkAftermath(t, { load, service, ledger, url: postgres.url, poolMax })
  },
)
