import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startPostgres } from '../postgres.ts'
import { start } from '../process.ts'
import { checkAftermath, startLoad, startWithLedger } from './load.ts'

const frozenMs = 10_000
const poolMax = 10

await t.test(
  'a database that is stopped for 10 s under load causes 503s, and loses no acknowledged write',
  async (t) => {
    const postgres = await startPostgres(['fsync=on'])
    t.teardown(postgres.stop)
    const { service, ledger } = await startWithLedger(t, postgres.url, poolMax)
    const load = startLoad(t, service, ledger)
    await load.untilServed()

    postgres.freeze()
    try {
      const late = start(t, 'server', [], { DATABASE_URL: postgres.url, PORT: '0' })
      const [{ code }] = await Promise.all([late.ended, delay(frozenMs)])
      t.equal(code, 1, 'a server that starts meanwhile exits')
      t.match(
        late.output.stderr,
        /^kener-api: [^\n]*DATABASE_URL[^\n]*\n$/,
        'with a line that contains the reason',
      )
    } finally {
      postgres.thaw()
    }
    await load.checkRecovery(t, performance.now())
    await checkAftermath(t, { load, service, ledger, url: postgres.url, poolMax })
  },
)
