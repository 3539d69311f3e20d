import t from 'tap'
import { createDatabase } from './helper.ts'
import { cli, listening, npm, start } from './process.ts'

await t.test(
  'keys create prints the key alone, keys list shows it without, keys revoke ends it',
  async (t) => {
    const env = { DATABASE_URL: await createDatabase(t), PORT: '0' }
    const server = start(t, 'server', [], env)
    const origin = await listening(server)
    const me = async (key: string) =>
      fetch(`${origin}/api/me`, { headers: { authorization: `Bearer ${key}` } })

    const args = [
      '--name',
      'from the CLI',
      '--permissions',
      'read:monitors, write:incidents',
      '--expires',
      '30d',
      '--rate-limit',
      '7',
    ]
    const created = await cli(t, ['keys', 'create', ...args], env)
    t.equal(created.code, 0)
    t.match(created.stdout, /^kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\n$/)
    const key = created.stdout.trim()
    t.notOk(created.stderr.includes(key))
    const reply = await me(key)
    const { data } = (await reply.json()) as { data: { expires_at: string } }
    t.match(data, {
      key_name: 'from the CLI',
      permissions: ['read:monitors', 'write:incidents'],
      rate_limit: 7,
    })
    t.ok(Math.abs(Date.parse(data.expires_at) - Date.now() - 30 * 86_400_000) < 60_000)

    const list = await cli(t, ['keys', 'list'], env)
    t.equal(list.code, 0)
    const id = key.slice(6, 22)
    t.match(list.stdout, new RegExp(`^${id} {2}active {2}"from the CLI" {2}read:monitors,write:incidents`))
    t.notOk(list.stdout.includes(key.slice(23)))

    const revoked = await cli(t, ['keys', 'revoke', id], env)
    t.equal(revoked.code, 0)
    t.match(await (await me(key)).json(), { error: { code: 'KEY_REVOKED' } })
    t.equal((await cli(t, ['keys', 'revoke', id], env)).code, 0, 'again is no failure')
  },
)

await t.test('migrate brings an empty database up to date', async (t) => {
  const env = { DATABASE_URL: await createDatabase(t, { empty: true }) }
  const first = await cli(t, ['migrate'], env)
  t.equal(first.code, 0)
  t.match(first.stdout, /^(applied \d{4}-\d{2}-\d{2}-[a-z-]+\n)+$/)
  const second = await cli(t, ['migrate'], env)
  t.match(second, { code: 0, stdout: 'up to date\n' })
})

await t.test('wrong use is exit code 2, with the usage and before any database is opened', async (t) => {
  const create = ['keys', 'create', '--name', 'n', '--permissions', 'admin']
  const wrong: [args: string[], message: RegExp][] = [
    [[], /Which command/],
    [['nonsense'], /nonsense/],
    [['keys'], /keys create/],
    [['keys', 'delete'], /keys delete/],
    [['keys', 'create'], /--name/],
    [['keys', 'create', '--name', 'n'], /--permissions/],
    [['keys', 'create', '--name', '', '--permissions', 'admin'], /--name must/],
    [
      ['keys', 'create', '--name', 'n', '--permissions', 'everything'],
      /--permissions.* must be one of read:monitors/,
    ],
    [[...create, '--expires', 'soon'], /--expires must be a time/],
    [[...create, '--expires', '0d'], /--expires must be a time/],
    [[...create, '--rate-limit', 'many'], /--rate-limit must be/],
    ...['0', '', '0x10', '1e3', '1.5'].map((limit): [string[], RegExp] => [
      [...create, '--rate-limit', limit],
      /--rate-limit must be/,
    ]),
    [[...create, '--colour', 'red'], /--colour/],
    [[...create, 'extra'], /extra/],
    [['keys', 'list', 'all'], /all/],
    [['keys', 'revoke'], /id/],
    [['keys', 'revoke', 'a', 'b'], /b/],
    [['migrate', 'down'], /down/],
  ]
  const replies = await Promise.all(
    wrong.map(([args]) => cli(t, args, { DATABASE_URL: 'postgres://127.0.0.1:1/x' })),
  )
  replies.forEach(({ code, stdout, stderr }, index) => {
    const [args = [], message = /./] = wrong[index] ?? []
    t.equal(code, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr.split('\n')[0], message)
    t.match(stderr, /Usage:/)
  })
})

await t.test('a failure is exit code 1, in one line', async (t) => {
  const env = { DATABASE_URL: await createDatabase(t) }
  const failures = [
    await cli(t, ['keys', 'revoke', 'nobody'], env),
    await cli(
      t,
      ['keys', 'create', '--name', 'n', '--permissions', 'admin', '--expires', '2020-01-01T00:00:00Z'],
      env,
    ),
    await cli(t, ['keys', 'list'], { DATABASE_URL: 'postgres://127.0.0.1:1/x' }),
    await cli(t, ['keys', 'list'], { DATABASE_URL: 'nonsense' }),
  ]
  for (const { code, stdout, stderr } of failures) {
    t.equal(code, 1, stderr)
    t.equal(stdout, '')
    t.match(stderr, /^kener-api: [^\n]+\n$/)
  }
})

await t.test('help is no failure', async (t) => {
  t.match(await cli(t, ['--help'], {}), { code: 0, stdout: /^Usage:/, stderr: '' })
})

await t.test('through npm, stdout holds the key alone, for KENER_API_KEY=$(...)', async (t) => {
  const args = ['run', '-s', 'cli', '--', 'keys', 'create', '--name', 'n', '--permissions', 'admin']
  const { ended, output } = npm(t, args, { DATABASE_URL: await createDatabase(t) })
  t.equal((await ended).code, 0)
  t.match(output.stdout, /^kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\n$/)
})

await t.test('a key that nobody could read is revoked', async (t) => {
  const env = { DATABASE_URL: await createDatabase(t) }
  const { child, ended, output } = start(
    t,
    'cli',
    ['keys', 'create', '--name', 'n', '--permissions', 'admin'],
    env,
  )
  child.stdout.destroy()
  t.equal((await ended).code, 1)
  t.match(output.stderr, /^kener-api: The key could not be printed, so it was revoked/)
  t.match((await cli(t, ['keys', 'list'], env)).stdout, /revoked {2}"n"/)
})
