import { join } from 'node:path'
import t from 'tap'
import { waitForTimeInMinute } from '../helper.ts'
import { cliProcess, embeddedDatabase, listening, start, temporaryDirectory } from '../process.ts'

const firstKey = /kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}/
const authorization = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })

await t.test('on the embedded database, limits are exact and a kill loses nothing', async (t) => {
  const env = { DATA_DIR: join(temporaryDirectory(t), 'deep', 'data'), PORT: '0' }
  const first = start(t, 'server', [], env)
  const [key] = await first.shows(firstKey)
  const origin = await listening(first)

  await t.test('a limit is exact, as on a server', async (t) => {
    const created = await fetch(`${origin}/api/keys`, {
      method: 'POST',
      headers: { ...authorization(key).headers, 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'few', permissions: ['read:monitors'], rate_limit: 5 }),
    })
    const { data } = (await created.json()) as { data: { key: string } }
    await waitForTimeInMinute()
    const replies = await Promise.all(
      Array.from({ length: 30 }, () => fetch(`${origin}/api/me`, authorization(data.key))),
    )
    const passed = new Map<string | null, number>()
    for (const { status, headers } of replies) {
      const window = headers.get('x-ratelimit-reset')
      if (status === 200) passed.set(window, (passed.get(window) ?? 0) + 1)
      else t.equal(status, 429)
    }
    t.same(new Set(passed.values()), new Set([5]))
  })

  first.child.kill('SIGKILL')
  await first.ended
  const restarted = start(t, 'server', [], env)
  const again = await listening(restarted)
  t.equal((await fetch(`${again}/api/me`, authorization(key))).status, 200, 'the key is valid after a kill')
  t.notMatch(restarted.output.stdout, firstKey, 'no second key is created')
  t.notMatch(restarted.output.stdout, /Creating|Applying/, 'the database is not created again')
  restarted.child.kill('SIGTERM')
  t.same(await restarted.ended, { code: 0, signal: null })

  const list = await cliProcess(t, ['keys', 'list'], env)
  t.equal(list.code, 0)
  t.match(list.stdout, /active {2}"first-admin"/)
})

await t.test('no first admin key is created if the CLI has created a key before', async (t) => {
  const env = { DATA_DIR: await embeddedDatabase(t), PORT: '0' }
  const created = await cliProcess(t, ['keys', 'create', '--name', 'mine', '--permissions', 'admin'], env)
  t.equal(created.code, 0)
  const server = start(t, 'server', [], env)
  const origin = await listening(server)
  t.equal((await fetch(`${origin}/api/me`, authorization(created.stdout.trim()))).status, 200)
  t.notMatch(server.output.stdout, firstKey)
})
