import { closeSync, openSync } from 'node:fs'
import { Writable } from 'node:stream'
import { sql } from 'kysely'
import t from 'tap'
import { main } from '../src/cli/main.ts'
import { createFirstAdminKey } from '../src/jobs.ts'
import { escapeText } from '../src/terminal.ts'
import { createDatabase, newKey, startReplica } from './helper.ts'
import { cli, cliProcess, npm, Output } from './process.ts'
import { recordKeys } from './sweep.ts'

const unreachable = 'postgres://127.0.0.1:1/x'
const create = ['keys', 'create', '--name', 'n', '--permissions', 'admin']

await t.test(
  'keys create prints only the key, keys list shows it without its secret, keys revoke revokes it',
  async (t) => {
    const env = { DATABASE_URL: await createDatabase(t) }
    const { call } = await startReplica(t, { url: env.DATABASE_URL })
    const me = (key: string) => call(key, 'GET /api/me')

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
    const { data } = (await me(key)).json
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
    t.match((await me(key)).json, { error: { code: 'KEY_REVOKED' } })
    t.equal((await cli(t, ['keys', 'revoke', id], env)).code, 0, 'revoking again succeeds')
  },
)

await t.test(
  'migrate applies the pending migrations, and then reports that the database is up to date',
  async (t) => {
    const env = { DATABASE_URL: await createDatabase(t, { empty: true }) }
    const first = await cli(t, ['migrate'], env)
    t.equal(first.code, 0)
    t.match(first.stdout, /^(applied \d{4}-\d{2}-\d{2}-[a-z-]+\n)+$/)
    t.equal(first.stderr, 'Applying the migrations of the database\n')
    t.same(await cli(t, ['migrate'], env), { code: 0, stdout: 'up to date\n', stderr: '' })
  },
)

await t.test('a usage error has exit code 2 and prints the usage, before a database is opened', async (t) => {
  const wrong: [args: string[], message: RegExp][] = [
    [[], /A command is required/],
    [['nonsense'], /nonsense/],
    [['--nonsense'], /--nonsense/],
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
    [[...create, '--name', 'n'], /--name is given more than once/],
    [['import', 'kener', '--url', 'http://a', '--dry-run', '--dry-run'], /--dry-run is given more than once/],
    [['keys', 'list', 'all'], /all/],
    [['keys', 'revoke'], /id/],
    [['keys', 'revoke', 'a', 'b'], /b/],
    [['migrate', 'down'], /down/],
  ]
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = await cli(t, args, { DATABASE_URL: unreachable })
    t.equal(code, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr.split('\n')[0], message)
    t.match(stderr, /Usage:/)
  }
})

await t.test('a failure has exit code 1 and prints one line', async (t) => {
  const env = { DATABASE_URL: await createDatabase(t) }
  const failures = [
    await cli(t, ['keys', 'revoke', 'unknown'], env),
    await cli(t, [...create, '--expires', '2020-01-01T00:00:00Z'], env),
    await cli(t, ['keys', 'list'], { DATABASE_URL: unreachable }),
    await cli(t, ['keys', 'list'], { DATABASE_URL: 'nonsense' }),
  ]
  for (const { code, stdout, stderr } of failures) {
    t.equal(code, 1, stderr)
    t.equal(stdout, '')
    t.match(stderr, /^kener-api: [^\n]+\n$/)
  }
})

await t.test('help has exit code 0, and describes all commands, a group, or one command', async (t) => {
  const helpOf = async (...args: string[]) => {
    const { code, stdout, stderr } = await cli(t, args, { DATABASE_URL: 'nonsense' })
    t.match({ code, stderr }, { code: 0, stderr: '' }, args.join(' '))
    t.match(stdout, /^Usage:/)
    return stdout
  }
  const all = await helpOf('--help')
  for (const name of ['keys create', 'keys list', 'keys revoke', 'migrate', 'import kener', '--version']) {
    t.match(all, name)
  }
  t.equal(await helpOf('-h'), all)
  t.equal(await helpOf('help'), all)

  const one = await helpOf('keys', 'create', '--help')
  t.match(one, /--rate-limit/)
  t.notMatch(one, /keys list/)
  t.equal(await helpOf('keys', 'create', '--name', 'n', '-h'), one, 'with other options')
  t.equal(await helpOf('help', 'keys', 'create'), one)

  const group = await helpOf('keys', '--help')
  t.match(group, /keys create[^]*keys list[^]*keys revoke/)
  t.notMatch(group, /migrate/)
})

await t.test('--version prints the version and has exit code 0', async (t) => {
  t.match(await cli(t, ['--version'], {}), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
})

await t.test('the exit code of the process is that of the command', async (t) => {
  const env = { DATABASE_URL: unreachable }
  const commands: [args: string[], code: number][] = [
    [['--help'], 0],
    [['keys', 'list'], 1],
    [['keys'], 2],
  ]
  for (const [args, code] of commands) {
    t.same(await cliProcess(t, args, env), { ...(await cli(t, args, env)), code })
  }
})

await t.test('through npm, stdout contains only the key, so that KENER_API_KEY=$(...) works', async (t) => {
  const args = ['run', '-s', 'cli', '--', ...create]
  const { ended, output } = npm(t, args, { DATABASE_URL: await createDatabase(t) })
  t.equal((await ended).code, 0)
  t.match(output.stdout, /^kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\n$/)
})

await t.test('a key that cannot be printed is revoked', async (t) => {
  const env = { DATABASE_URL: await createDatabase(t) }
  const nullDevice = openSync('/dev/null', 'r+')
  const discarded = openSync('/dev/null', 'w')
  t.teardown(() => {
    closeSync(nullDevice)
    closeSync(discarded)
  })
  const failures: [stdout: Output, reason: string][] = [
    [new Output({ fails: 'ENOSPC' }), 'Cannot write to stdout: ENOSPC: it fails'],
    [new Output({ fails: 'EPIPE' }), 'Cannot write to stdout: EPIPE: it fails'],
    // As Node.js starts if stdout is closed.
    [new Output({ fd: nullDevice }), 'Cannot write to stdout: it is closed'],
  ]
  for (const [stdout, reason] of failures) {
    t.match(await cli(t, create, env, stdout), {
      code: 1,
      stderr: `kener-api: The key could not be printed, so it was revoked: ${reason}\n`,
    })
    t.equal(stdout.text, '')
  }
  t.match((await cli(t, ['keys', 'list'], env)).stdout, /^(\S+ {2}revoked {2}"n" {2}[^\n]*\n){3}$/)
  t.equal((await cli(t, create, env, new Output({ fd: discarded }))).code, 0, '> /dev/null is intended')
})

await t.test(
  'a first key that cannot be printed is deleted, so that the next start creates one',
  async (t) => {
    const { app, db, log } = await startReplica(t)
    const createFirst = (stdout: Output) =>
      createFirstAdminKey({ db }, { lifetimeMaxDays: 30, log: app.log, origin: 'http://127.0.0.1' }, stdout)
    await createFirst(new Output({ fails: 'ENOSPC' }))
    t.ok(log.some(({ msg }) => String(msg).startsWith('the first key could not be printed')))
    const [first, second] = [new Output(), new Output()]
    await createFirst(first)
    t.match(first.text, /export KENER_API_KEY=kener_/)
    recordKeys(first.text)
    await createFirst(second)
    t.equal(second.text, '', 'only once')
    const { rows } = await sql`
      select extract(day from expires_at - created_at)::integer as days from api_keys`.execute(db)
    t.match(rows, [{ days: /29|30/ }], 'KEY_LIFETIME_MAX_DAYS applies to it')
  },
)

await t.test('output that cannot be written is one line and exit code 1', async (t) => {
  const env = { DATABASE_URL: await createDatabase(t) }
  for (const args of [['--help'], ['--version'], ['migrate']]) {
    t.match(await cli(t, args, env, new Output({ fails: 'ENOSPC' })), {
      code: 1,
      stderr: 'kener-api: Cannot write to stdout: ENOSPC: it fails\n',
    })
  }
  const closed = await cli(t, ['--help'], env, new Output({ fails: 'EPIPE' }))
  t.match(closed, { code: 1, stderr: '' }, 'a reader that has what it wants, such as head, is not an error')

  const throws = new Writable({
    write: () => {
      throw new Error('ENOSPC')
    },
  })
  for (const stderr of [new Output({ fails: 'EPIPE' }), throws]) {
    t.equal(await main(['nonsense'], { stdout: new Output(), stderr, env }), 2, 'the exit code is unaffected')
    t.equal(await main(create, { stdout: new Output(), stderr, env }), 0)
  }
})

await t.test('no output contains control characters, whatever an argument or a name contains', async (t) => {
  const env = { DATABASE_URL: await createDatabase(t) }
  const { db } = await startReplica(t, { url: env.DATABASE_URL })
  const hostile = '\u001b[2J\u009b31m\u009d0;title\u0007\u202e\u2066\u200e\u061c\u2028\u0085\r\n\t"'
  const { id } = await newKey({ db }, { name: hostile })
  const long = hostile.repeat(100)
  const runs: [args: string[], more?: Record<string, string>][] = [
    [['keys', 'list']],
    [['keys', 'revoke', id]],
    [['keys', 'revoke', long]],
    [['keys', 'revoke', id, long]],
    [[long]],
    [['keys', long]],
    [['keys', 'list', long]],
    [['keys', 'list', `--${long}`]],
    [[...create, '--rate-limit', long]],
    [[...create, '--expires', long]],
    [['import', 'kener', '--url', long]],
    [['import', 'kener', '--url', 'http://127.0.0.1:1', '--dry-run']],
    [['keys', 'list'], { PORT: long }],
    [['keys', 'list'], { DATABASE_URL: long }],
  ]
  for (const [index, [args, more]] of runs.entries()) {
    const { stdout, stderr } = await cli(t, args, { ...env, ...more })
    const output = stdout + stderr
    t.notOk(/(?!\n)[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(output), `run ${index}`)
    t.ok(/^[^\n]{1,400}\n(\nUsage:\n|$)/.test(output), `run ${index} prints one line, and the usage`)
  }
  const [line = ''] = (await cli(t, ['keys', 'list'], env)).stdout.split('\n')
  t.equal(JSON.parse(line.split('  ')[2] ?? ''), hostile, 'a name is still complete')
})

await t.test('a lone surrogate is escaped, too', (t) => {
  t.equal(escapeText('a\ud800\n\u{1f30d}'), 'a\\ud800\n\u{1f30d}')
  t.end()
})
