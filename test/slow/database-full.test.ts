import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../postgres.ts'
import { start } from '../process.ts'
import { checkAftermath, startLoad, startWithLedger } from './load.ts'

const poolMax = 5

/** Starts a PostgreSQL server with few connections, and a database that is owned by an unprivileged role. */
async function startAll(t: Test) {
  const postgres = await startPostgres(['fsync=on', 'max_connections=20'])
  t.teardown(postgres.stop)
  const admin = new pg.Client({ connectionString: postgres.url })
  await admin.connect()
  t.teardown(() => admin.end())
  await admin.query('create role kener login')
  await admin.query('create database kener owner kener')
  const url = new URL(postgres.url)
  url.username = 'kener'
  url.pathname = '/kener'
  const { service, ledger } = await startWithLedger(t, url.href, poolMax)
  const adminUrl = new URL(postgres.url)
  adminUrl.pathname = '/kener'
  return { admin, url: url.href, adminUrl: adminUrl.href, service, ledger }
}

/** Checks that a server that starts now exits, with a line that contains the reason. */
async function checkStart(t: Test, DATABASE_URL: string, why: RegExp): Promise<void> {
  const { ended, output } = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
  t.equal((await ended).code, 1, 'a server that starts meanwhile exits')
  t.match(output.stderr, /^kener-api: [^\n]*DATABASE_URL[^\n]*\n$/, 'with one line')
  t.match(output.stderr, why, 'that contains the reason')
}

await t.test('a database without a free connection causes 503s until there is one', async (t) => {
  const { admin, url, adminUrl, service, ledger } = await startAll(t)
  const load = startLoad(t, service, ledger)
  await load.untilServed()

  const taken: pg.Client[] = []
  t.teardown(() => Promise.all(taken.map((client) => client.end())))
  async function takeOne(): Promise<boolean> {
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => undefined)
    const isTaken = await client.connect().then(
      () => true,
      (error: unknown) => {
        if ((error as { code?: string }).code !== '53300') throw error
        return false
      },
    )
    if (isTaken) taken.push(client)
    return isTaken
  }
  const cutService = `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'kener-api'`
  // The service reconnects after each lost connection, sometimes before the other client.
  for (let left = 1; left > 0;) {
    while (await takeOne());
    left = (await admin.query(cutService)).rowCount ?? 0
  }
  await load.untilRejected()
  await checkStart(t, url, /too many (clients|connections)|connection slots/)
  await Promise.all(taken.splice(0).map((client) => client.end()))
  await load.checkRecovery(t, performance.now())

  await checkAftermath(t, { load, service, ledger, url: adminUrl, poolMax })
})

await t.test('a role without a free connection causes 503s until its limit is removed', async (t) => {
  const { admin, url, adminUrl, service, ledger } = await startAll(t)
  const load = startLoad(t, service, ledger)
  await load.untilServed()

  await admin.query('alter role kener connection limit 0')
  await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'kener'`)
  await load.untilRejected()
  await checkStart(t, url, /too many connections for role/)
  await admin.query('alter role kener connection limit -1')
  await load.checkRecovery(t, performance.now())

  await checkAftermath(t, { load, service, ledger, url: adminUrl, poolMax })
})
