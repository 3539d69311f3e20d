import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { connectToKener } from '../../src/kener/import/client.ts'
import { sourceComment, sourceIncident, sourceMonitor, startFakeKener } from '../fake-kener.ts'
import { createDatabase, startReplica, waitUntil } from '../helper.ts'
import { command, contentOf, fill, importInProcess } from '../kener-import.ts'
import { cli, cliProcess, listening, start, temporaryDirectory } from '../process.ts'

await t.test(
  'an import that is killed at any point continues where it stopped, and imports nothing twice',
  async (t) => {
    const kener = await startFakeKener(t)
    kener.content.monitors = Array.from({ length: 5 }, (_, index) =>
      sourceMonitor(index + 1, `monitor-${index + 1}`),
    )
    for (let id = 1; id <= 24; id++) {
      const monitors = [{ monitor_tag: `monitor-${(id % 5) + 1}`, impact: 'DOWN' }]
      kener.content.incidents.push(sourceIncident(id, { monitors }))
      kener.content.comments.set(id, [sourceComment(id * 10, id), sourceComment(id * 10 + 1, id)])
    }
    const url = await createDatabase(t)
    const { db } = await startReplica(t, { url })
    const env = { DATABASE_URL: url, KENER_SOURCE_API_KEY: kener.key }
    for (const reached of [
      '/incidents',
      '/incidents/1/',
      '/incidents/9/',
      '/incidents/16/',
      '/incidents/24/',
    ]) {
      let isReached = false
      kener.hooks.intercept = ({ url = '' }) => (isReached ||= url.includes(reached))
      const killed = start(t, 'cli', command(kener), env)
      await waitUntil(() => isReached)
      killed.child.kill('SIGKILL')
      t.equal((await killed.ended).signal, 'SIGKILL')
    }
    delete kener.hooks.intercept
    const last = await cli(t, command(kener), env)
    t.equal(last.code, 0)
    t.match(last.stderr, /incidents: [48] new, (16|20) unchanged\n/)

    const other = await startReplica(t)
    await importInProcess(other.db, kener)
    t.same(await contentOf(db), await contentOf(other.db), 'the same as after a single import')
    t.match(await contentOf(db), { incidents: { length: 24 }, comments: { length: 48 } })
  },
)

await t.test('an import can write to the embedded database, unless a server is using it', async (t) => {
  const kener = await startFakeKener(t, { base: '/status' })
  fill(kener)
  const env = { DATA_DIR: join(temporaryDirectory(t), 'data'), KENER_SOURCE_API_KEY: kener.key, PORT: '0' }
  const imported = await cliProcess(t, command({ url: `${kener.url}/` }), env)
  t.equal(imported.code, 0, imported.stderr)
  t.match(imported.stderr, /monitors: 2 new\nincidents: 1 new\ncomments: 2 new\n/)
  await listening(start(t, 'server', [], env))
  const rejected = await cliProcess(t, command(kener), env)
  t.equal(rejected.code, 1)
  t.match(
    rejected.stderr,
    /^kener-api: [^\n]*in use by a running server[^\n]*stop it first[^\n]*DATABASE_URL[^\n]*\n$/,
  )
})

await t.test('the memory and the output that a hostile source causes are bounded', async (t) => {
  const kener = await startFakeKener(t)
  const monitors = Array.from({ length: 30_000 }, (_, index) => ({ monitor_tag: `gone-${index}` }))
  kener.content.incidents = [
    sourceIncident(1, { monitors }),
    sourceIncident(2),
    sourceIncident(3, { monitors }),
  ]
  // Parsed at once, these items take 2.5 GB.
  const emptyItems = gzipSync(`{"monitors":[${'{},'.repeat(22_000_000)}{}]}`)
  const bomb = gzipSync(Buffer.alloc(1024 * 1024 * 1024, ' '))
  kener.hooks.intercept = ({ url = '' }, response) => {
    const body = url.endsWith('/monitors') ? emptyItems : url.includes('/2/') ? bomb : undefined
    if (body) response.writeHead(200, { 'content-encoding': 'gzip' }).end(body)
    return body !== undefined
  }
  const { code, stderr } = await cliProcess(t, command(kener), {
    DATABASE_URL: await createDatabase(t),
    KENER_SOURCE_API_KEY: kener.key,
    NODE_OPTIONS: '--max-old-space-size=200',
  })
  t.equal(code, 1, stderr.slice(-2_000))
  const lines = stderr.split('\n')
  t.ok(lines.length < 350, `${lines.length} lines`)
  for (const line of [
    'monitor {}: skipped: /id is required',
    'monitor: skipped 21900001 of a list of 22000001, because only 100000 are read',
    `incident 2 "Incident 2": skipped, because its comments cannot be read: ${kener.url} responded with more than 8 MiB: is it a Kener 4?`,
    'and 99900 more: skipped: /id is required',
    'and 59900 more: monitor … does not exist locally and is left out',
    'monitors: 22000001 skipped',
    'incidents: 2 new, 1 skipped',
  ]) {
    t.ok(lines.includes(line), line)
  }
})

await t.test('a list of 200,000 incidents is split', async (t) => {
  const kener = await startFakeKener(t)
  const incidents = Array.from({ length: 200_000 }, (_, index) =>
    JSON.stringify({ id: index + 1, start_date_time: 1_767_225_600 + index }),
  )
  kener.hooks.intercept = ({ url = '' }, response) => {
    const query = new URL(url, kener.url).searchParams
    const [from, to] = ['start_ts', 'end_ts'].map((name) => Number(query.get(name) ?? 0) - 1_767_225_600)
    const listed = incidents.slice(
      query.has('start_ts') ? from : 0,
      query.has('end_ts') ? Number(to) + 1 : undefined,
    )
    response.end(`{"incidents":[${listed.join()}]}`)
    return true
  }
  let [total, lists] = [0, 0]
  for await (const { list } of connectToKener(kener.url, kener.key).incidents()) {
    total += list.items.length + list.omitted
    lists++
  }
  t.equal(total, 200_000)
  t.ok(lists < 600, `${lists} lists`)
})
