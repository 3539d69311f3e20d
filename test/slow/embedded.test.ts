import { randomInt } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { embeddedDatabase, listening, start, temporaryDirectory } from '../process.ts'
import { scaled } from './scale.ts'
import { checkByApi, createLedger, createMonitor, send, type Service, startLoad, wide } from './load.ts'

const kills = scaled(20)
const firstKey = /kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}/

async function startEmbedded(t: Test, DATA_DIR: string, key?: string): Promise<Service> {
  const server = start(t, 'server', [], { DATA_DIR, PORT: '0', ...wide })
  const origin = await listening(server)
  return { server, origin, key: key ?? (await server.shows(firstKey))[0] }
}

await t.test(`${kills} kills during writes lose no acknowledged write`, async (t) => {
  const directory = await embeddedDatabase(t)
  const ledger = createLedger()
  let service = await startEmbedded(t, directory)
  await createMonitor(service, ledger)
  for (let kill = 1; kill <= kills; kill++) {
    const load = startLoad(t, service, ledger, { clients: 10, cutsAllowed: true })
    await load.untilServed()
    // At a random time.
    await delay(randomInt(400))
    service.server.child.kill('SIGKILL')
    await service.server.ended
    await load.stop()
    t.same(load.irregular, [], 'only expected responses until the kill')
    service = await startEmbedded(t, directory, service.key)
    await checkByApi(t, service, ledger)
  }

  const load = startLoad(t, service, ledger)
  await load.untilServed()
  const second = start(t, 'server', [], { DATA_DIR: directory, PORT: '0' })
  t.equal((await second.ended).code, 1, 'a second server on the directory exits')
  t.match(second.output.stderr, /^kener-api: [^\n]*in use by a running server[^\n]*\n$/, 'with one line')
  await load.untilServed()
  await load.stop()
  load.check(t)
  service.server.child.kill('SIGTERM')
  t.same(await service.server.ended, { code: 0, signal: null })
  service = await startEmbedded(t, directory, service.key)
  await checkByApi(t, service, ledger)
})

await t.test('a first start that is killed at any time does not damage the directory', async (t) => {
  const DATA_DIR = join(temporaryDirectory(t), 'data')
  // The first and the last file to be created. The second start begins again.
  for (const milestone of ['PG_VERSION', 'base/5']) {
    const killed = start(t, 'server', [], { DATA_DIR, PORT: '0' })
    const isReached = () =>
      existsSync(DATA_DIR) &&
      readdirSync(DATA_DIR).some((name) => existsSync(join(DATA_DIR, name, milestone)))
    while (!isReached()) await delay(1)
    killed.child.kill('SIGKILL')
    await killed.ended
    t.notMatch(killed.output.stdout, /listening/, `killed at ${milestone}, before it could serve`)
  }
  const { origin, key } = await startEmbedded(t, DATA_DIR)
  t.equal((await send({ origin, key }, 'GET', '/me')).status, 200, 'the next start succeeds')
})
