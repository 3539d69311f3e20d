import { gzipSync } from 'node:zlib'
import t from 'tap'
import { connectToKener, type KenerClient } from '../../src/kener/import/client.ts'
import { sourceComment, sourceIncident, sourceMonitor, startFakeKener } from '../fake-kener.ts'
import { createDatabase, startReplica, waitUntil } from '../helper.ts'
import { command, contentOf, fill, importInProcess } from '../kener-import.ts'
import { cli, cliProcess, embeddedDatabase, listening, start } from '../process.ts'
import { scaled } from './scale.ts'

async function listIncidents(client: KenerClient) {
  const lists = []
  for await (const list of client.incidents()) lists.push(list)
  return lists
}

await t.test('incidents beyond the 1000 that Kener lists are imported', async (t) => {
  const kener = await startFakeKener(t)
  const client = connectToKener(kener.url, kener.key)
  const list = async (starts: number[]) => {
    kener.content.incidents = starts.map((start, index) =>
      sourceIncident(index + 1, { start_date_time: start }),
    )
    kener.requests.length = 0
    const lists = await listIncidents(client)
    return {
      ids: lists.flatMap(({ list }) => list.items.map(({ id }) => id)).sort((a, b) => a - b),
      truncatedAt: lists.flatMap(({ truncated }) => (truncated ? [truncated.from, truncated.to] : [])),
      requests: kener.requests.length,
    }
  }
  const every = (count: number, start: (index: number) => number) =>
    Array.from({ length: count }, (_, i) => start(i))
  const minute = 1_767_225_600
  const shapes: [name: string, starts: number[]][] = [
    ['none', []],
    ['999', every(999, (i) => minute + i * 60)],
    ['1000', every(1000, (i) => minute + i * 60)],
    ['one a minute', every(3500, (i) => minute + i * 60)],
    ['stored in the order of neither', every(3500, (i) => minute + ((i * 7919) % 3500) * 60)],
    ['newest first', every(3500, (i) => minute - i * 60)],
    ['999 in each of four minutes', every(3996, (i) => minute + (i % 4) * 60)],
    ['one years after the others', every(1500, (i) => (i === 0 ? 4_000_000_000 : minute + i))],
    ['in milliseconds, or at the beginning of time', every(1500, (i) => (i < 700 ? 0 : minute * 1000 + i))],
    ['above 2^53', every(1500, (i) => (i < 900 ? minute + i : 2 ** 53 + i * 2))],
    ['infinite', every(1500, (i) => (i < 900 ? minute + i : 1e308))],
  ]
  for (const [name, starts] of shapes) {
    const { ids, truncatedAt, requests } = await list(starts)
    t.same(
      ids,
      every(starts.length, (i) => i + 1),
      name,
    )
    t.same(truncatedAt, [], name)
    t.ok(requests <= 70, `${name}: ${requests} requests`)
  }

  for (const shared of [minute, 1, 0]) {
    const { ids, truncatedAt } = await list([
      ...every(700, (i) => minute + 60 + i),
      ...every(1400, () => shared),
    ])
    t.same(
      ids,
      every(1700, (i) => (i < 700 ? i : i + 400) + 1),
      'only the newest of those with the same start',
    )
    t.same(truncatedAt, [Math.max(shared, 1), Math.max(shared, 1)])
  }
  const { ids, truncatedAt } = await list(every(1500, () => 2 ** 53))
  t.same(
    ids,
    every(1000, (i) => i + 501),
    'invalid starts count as one',
  )
  t.same(truncatedAt, [253_402_300_800, 253_402_300_800])
  kener.content.incidents = every(2000, (i) => i).map((i) => sourceIncident(i + 1))
  kener.hooks.intercept = (_request, response) => {
    response.end(JSON.stringify({ incidents: kener.content.incidents.slice(0, 1000) }))
    return true
  }
  await t.rejects(listIncidents(client), { message: /ignores start_ts and end_ts/ })
})

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
  const env = { DATA_DIR: await embeddedDatabase(t), KENER_SOURCE_API_KEY: kener.key, PORT: '0' }
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
  // Parsed at once, these items take 700 MB.
  const count = 6_000_000
  const emptyItems = gzipSync(`{"monitors":[${'{},'.repeat(count - 1)}{}]}`)
  const bomb = gzipSync(Buffer.alloc(256 * 1024 * 1024, ' '))
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
    `monitor: skipped ${count - 100_000} of a list of ${count}, because only 100000 are read`,
    `incident 2 "Incident 2": skipped, because its comments cannot be read: ${kener.url} responded with more than 8 MiB: is it a Kener 4?`,
    'and 99900 more: skipped: /id is required',
    'and 59900 more: monitor … does not exist locally and is left out',
    `monitors: ${count} skipped`,
    'incidents: 2 new, 1 skipped',
  ]) {
    t.ok(lines.includes(line), line)
  }
})

await t.test('a very long list of incidents is split', async (t) => {
  const count = scaled(200_000)
  const kener = await startFakeKener(t)
  const incidents = Array.from({ length: count }, (_, index) =>
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
  t.equal(total, count)
  t.ok(lists < (count * 3) / 1000, `${lists} lists`)
})
