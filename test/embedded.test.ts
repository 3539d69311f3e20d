import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import t from 'tap'
import { analyzeGrownTables } from '../src/database/analyze.ts'
import { watchFailures } from '../src/database/embedded.ts'
import { openDatabase } from '../src/database/open.ts'
import { createDatabase, waitUntil } from './helper.ts'
import { cli, listening, start, temporaryDirectory } from './process.ts'

const firstKey = /kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}/
const authorization = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })

await t.test('kener-api in an empty directory creates a database and a valid admin key', async (t) => {
  const DATA_DIR = join(temporaryDirectory(t), 'deep', 'data')
  const env = { DATA_DIR, PORT: '0' }

  const first = start(t, 'cli', [], env)
  const [key] = await first.shows(firstKey)
  const origin = await listening(first)
  const me = await fetch(`${origin}/api/me`, authorization(key))
  t.match(await me.json(), { success: true, data: { key_name: 'first-admin', permissions: ['admin'] } })
  t.equal(first.output.stdout.split(key).length, 2, 'the key is printed once')
  t.match(first.output.stdout.split(key)[1], /Server listening/, 'before the service accepts a request')
  t.match(
    first.output.stdout,
    /^\{[^\n]*"msg":"Creating the embedded database in [^\n]+"\}\n/,
    'the delay is explained',
  )
  t.notMatch(first.output.stdout, /"[^"\n]*kener_[0-9A-Za-z]{16}_/, 'the key is not logged')

  await t.test(
    'a second server fails on the same directory, and the CLI uses the API of the first server',
    async (t) => {
      const second = start(t, 'server', [], env)
      t.equal((await second.ended).code, 1)
      t.match(second.output.stderr, /^kener-api: [^\n]*in use by a running server[^\n]*API[^\n]*\n$/)
      t.match(await cli(t, ['keys', 'list'], env), { code: 1, stderr: /KENER_API_KEY/ })
      const list = await cli(t, ['keys', 'list'], { ...env, KENER_API_KEY: key })
      t.match(list, { code: 0, stdout: /"first-admin"/ })
      t.equal((await fetch(`${origin}/api/me`, authorization(key))).status, 200)
    },
  )
})

await t.test('a DATA_DIR that is not writable is an error of one line', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'file')
  writeFileSync(file, '')
  const readOnly = join(directory, 'read-only')
  mkdirSync(readOnly)
  chmodSync(readOnly, 0o500)
  // Root can write to a read-only directory, but not below a file.
  const directories = process.getuid?.() === 0 ? [file, join(file, 'data')] : [file, readOnly]
  if (existsSync('/proc')) directories.push('/proc/kener/data')
  for (const DATA_DIR of directories) {
    const { ended, output } = start(t, 'server', [], { DATA_DIR, PORT: '0' })
    t.equal((await ended).code, 1)
    t.match(output.stderr, /^kener-api: DATA_DIR [^\n]+ is not writable [^\n]+\n$/)
  }
})

type Replies = Awaited<ReturnType<Parameters<typeof watchFailures>[0]['execProtocolStream']>>

await t.test('a transaction of the embedded database leaves turns of the event loop to others', async (t) => {
  const execProtocolStream = () => Promise.resolve<Replies>([])
  const protocol = watchFailures({ waitReady: Promise.resolve(), execProtocolStream }, 'data')
  let turns = 0
  const countTurn = () => {
    turns++
    if (turns < 10) setImmediate(countTurn)
  }
  setImmediate(countTurn)
  for (let message = 0; message < 5; message++) await protocol.execProtocolStream(new Uint8Array())
  t.ok(turns >= 5, `${turns} turns`)
})

await t.test('a failure of the embedded database is reported, an error of a statement is not', async (t) => {
  const failures: string[] = []
  const execute = (reply: () => Promise<unknown>, timeoutMs?: number) =>
    watchFailures(
      { waitReady: Promise.resolve(), execProtocolStream: reply as () => Promise<Replies> },
      'data',
      ({ message }) => failures.push(message),
      timeoutMs,
    ).execProtocolStream(new Uint8Array())

  await execute(async () => [{ name: 'error', severity: 'ERROR', message: 'duplicate key' }])
  t.same(failures, [])
  await execute(async () => [{ name: 'error', severity: 'PANIC', message: 'No space left on device' }])
  t.match(failures.pop(), /^The embedded database in data has failed[^\n]*: No space left on device$/)
  await t.rejects(execute(() => Promise.reject(new Error('unreachable'))))
  t.match(failures.pop(), /: unreachable$/)
  void execute(() => new Promise(() => undefined), 1)
  await waitUntil(() => failures.length > 0)
  t.match(failures.pop(), /has not responded for/)
})

await t.test('tables are analyzed when they have doubled, because there is no autovacuum', async (t) => {
  const statements: string[] = []
  const { db, close } = await openDatabase(
    { databaseUrl: await createDatabase(t), databasePoolMax: 1, dataDir: '' },
    { onStatement: ({ query }) => statements.push(query.sql) },
  )
  t.teardown(close)
  const analyzed = async () => {
    statements.length = 0
    await analyzeGrownTables(db)
    return statements.filter((text) => text.startsWith('analyze'))
  }
  await analyzed()
  const fill = (from: number, to: number) =>
    sql`insert into traffic (minute, requests) select minute, 1 from generate_series(${from}::integer, ${to}::integer) as minute`.execute(
      db,
    )
  await fill(1, 2_000)
  t.same(await analyzed(), ['analyze "traffic"'])
  await fill(2_001, 2_200)
  t.same(await analyzed(), [])
})
