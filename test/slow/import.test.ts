import { join } from 'node:path'
import t from 'tap'
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
