import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { Writable } from 'node:stream'
import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { migrations } from '../migrations/index.ts'
import { commands } from '../src/cli/commands.ts'
import { connectToServer } from '../src/cli/http-backend.ts'
import { main } from '../src/cli/main.ts'
import { lockDirectory, storeOrigin } from '../src/database/data-directory.ts'
import { createFirstAdminKey } from '../src/jobs.ts'
import { escapeText } from '../src/terminal.ts'
import { createDatabase, newKey, startReplica } from './helper.ts'
import { cli, cliProcess, npm, Output, temporaryDirectory } from './process.ts'
import { recordKeys } from './sweep.ts'

const unreachable = 'postgres://127.0.0.1:1/x'
const create = ['keys', 'create', '--name', 'n', '--permissions', 'admin']
const oneKey = /^kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\n$/
const idOf = (key: string) => key.slice(6, 22)

/** Starts a server on a free port, and returns its origin. */
async function listen(t: Test, handle: RequestListener): Promise<string> {
  const server = createServer(handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

await t.test('the keys commands', async (t) => {
  const url = await createDatabase(t)
  const replica = await startReplica(t, { url, config: { keyLifetimeMaxDays: 100 } })
  const origin = await replica.app.listen({ port: 0, host: '127.0.0.1' })
  const { token } = await newKey(replica)

  for (const over of ['the database', 'HTTP'] as const) {
    await t.test(
      `through ${over}, the keys commands do what the API does, and print only keys`,
      async (t) => {
        const env = over === 'HTTP' ? { KENER_API_KEY: token } : { DATABASE_URL: url }
        const run = async (...args: string[]) => {
          const outcome = await cli(t, [...args, ...(over === 'HTTP' ? ['--url', `${origin}/`] : [])], env)
          t.equal(outcome.code, 0, outcome.stderr)
          return outcome
        }
        const readKey = async (id: string) => (await replica.call(token, `GET /api/keys/${id}`)).json.data

        const created = await run(
          ...['keys', 'create', '--name', 'from the CLI', '--permissions', 'read:monitors, write:incidents'],
          ...['--expires', '30d', '--rate-limit', '7', '--monitors', 'website, payments-*'],
          ...['--allowed-ips', '127.0.0.1,2001:db8::/32', '--description', 'one\ntwo'],
        )
        t.match(created.stdout, oneKey)
        const key = created.stdout.trim()
        const id = idOf(key)
        t.notOk(created.stderr.includes(key))
        const object = await readKey(id)
        t.match(object, {
          name: 'from the CLI',
          description: 'one\ntwo',
          permissions: ['read:monitors', 'write:incidents'],
          rate_limit: 7,
          monitors: ['website', 'payments-*'],
          allowed_ips: ['127.0.0.1', '2001:db8::/32'],
          created_by: over === 'HTTP' ? { key_id: idOf(token), key_name: 'test' } : null,
        })
        t.ok(Math.abs(Date.parse(object.expires_at) - Date.now() - 30 * 86_400_000) < 60_000)

        const list = (await run('keys', 'list')).stdout
        t.equal(
          list.split('\n')[0],
          `${id}  active  "from the CLI"  read:monitors,write:incidents  expires ${object.expires_at}  never used` +
            '  monitors website,payments-*  from 127.0.0.1,2001:db8::/32',
        )
        t.notOk(list.includes(key.slice(23)))
        t.same(JSON.parse((await run('keys', 'show', id, '--json')).stdout), object)
        const shown = (await run('keys', 'show', id)).stdout.trimEnd().split('\n')
        t.same(
          shown.map((line) => line.replace(/:.*/, '')),
          Object.keys(object),
          'one line for each field',
        )
        t.ok(shown.includes('description: "one\\ntwo"'))

        const rotated = await run('keys', 'rotate', id, '--overlap', '1h', '--expires', '90d')
        t.match(rotated.stdout, oneKey)
        const successor = await readKey(idOf(rotated.stdout))
        t.match(successor, { rotated_from: id, monitors: ['website', 'payments-*'] })
        t.ok(Math.abs(Date.parse(successor.expires_at) - Date.now() - 90 * 86_400_000) < 60_000)
        const old = await readKey(id)
        t.match(old, { status: 'active', rotated_to: successor.id })
        t.ok(Math.abs(Date.parse(old.expires_at) - Date.now() - 3_600_000) < 60_000)

        await run('keys', 'revoke', id)
        t.match((await replica.call(key, 'GET /api/me')).json, { error: { code: 'KEY_REVOKED' } })
        await run('keys', 'revoke', id)
        const revoked = await run('keys', 'list', '--status', 'revoked', '--json')
        t.same(
          JSON.parse(revoked.stdout),
          (await replica.call(token, 'GET /api/keys?status=revoked')).json.data,
        )
        t.same(await run('keys', 'list', '--status', 'expired'), {
          code: 0,
          stdout: '',
          stderr: 'No key is expired.\n',
        })
      },
    )
  }

  await t.test('over HTTP, errors are one line, which never shows a key', async (t) => {
    const [weak, gone] = await Promise.all([
      newKey(replica, { permissions: ['read:monitors'] }),
      newKey(replica),
    ])
    await replica.call(token, `POST /api/keys/${gone.id}/revoke`)
    const busy = JSON.stringify({ success: false, error: { message: 'Too many: try again in 7 s' } })
    const other = await listen(t, (request, response) => {
      if (request.url?.startsWith('/moved'))
        response.writeHead(308, { location: 'https://elsewhere.example/' })
      if (request.url?.startsWith('/busy')) response.writeHead(429)
      response.end(request.url?.startsWith('/busy') ? busy : '<html>')
    })
    const silent = await listen(t, () => undefined)
    // The local port of a connection: it is in use, and does not accept connections.
    const socket = connect(Number(new URL(silent).port), '127.0.0.1')
    await once(socket, 'connect')
    t.teardown(() => socket.destroy())
    const refused = `http://127.0.0.1:${socket.localPort}`

    const list = ['keys', 'list']
    const failures: [args: string[], key: string, message: RegExp, url?: string][] = [
      [list, weak.token, /rejected the key in KENER_API_KEY: .*lacks the permission admin/],
      [list, gone.token, /rejected the key in KENER_API_KEY: .*revoked/],
      [list, token, /: Too many: try again in 7 s\n/, `${other}/busy`],
      [list, '', /KENER_API_KEY/],
      [list, token.slice(0, -1), /KENER_API_KEY is not a key/],
      [list, `${token}\n`, /KENER_API_KEY is not a key/],
      [['keys', 'show', 'aB3dE5fG7hJ9kL1m'], token, /no key with this id/],
      [['keys', 'show', '.'], token, /no key with this id/],
      [['keys', 'rotate', gone.id], token, /is revoked/],
      [[...create, '--expires', '101d'], token, /--expires must not be later than .* at most 100 days/],
      [list, token, /cannot be reached \(ECONNREFUSED\)\n/, refused],
      [create, token, /\(ECONNREFUSED\)\. If .* keys list shows it/, refused],
      [list, token, /did not respond as this service does \(status 200\)/, other],
      [list, token, /a redirect to "https:\/\/elsewhere\.example\/"/, `${other}/moved`],
    ]
    for (const [args, KENER_API_KEY, message, url = origin] of failures) {
      const { code, stdout, stderr } = await cli(t, [...args, '--url', url], { KENER_API_KEY })
      t.match({ code, stdout }, { code: 1, stdout: '' }, String(message))
      t.match(stderr, /^kener-api: [^\n]+\n$/)
      t.match(stderr, message)
      t.notMatch(stderr, /kener_/)
    }

    await t.rejects(connectToServer(silent, token, 1).show(gone.id), /did not respond in time/)
  })

  await t.test('a list over HTTP has all pages', async (t) => {
    await sql`
    insert into api_keys (id, secret_hash, name, permissions)
    select to_char(n, 'FM0000000000000000'), '', 'n', '{admin}' from generate_series(1, 101) n`.execute(
      replica.db,
    )
    const { stdout } = await cli(t, ['keys', 'list', '--url', origin], { KENER_API_KEY: token })
    t.equal(stdout.match(/^0{13}\d{3} /gm)?.length, 101)
  })

  await t.test(
    'while a server holds the embedded database, its API is used, and no earlier one',
    async (t) => {
      const DATA_DIR = temporaryDirectory(t)
      const list = (KENER_API_KEY: string) => cli(t, ['keys', 'list'], { DATA_DIR, KENER_API_KEY })

      const unlock = await lockDirectory(DATA_DIR)
      t.match(await list(token), { code: 1, stderr: /process that accepts no requests/ })
      storeOrigin(DATA_DIR, origin.replace('127.0.0.1', '0.0.0.0'))
      t.match(await list(token), { code: 0, stdout: idOf(token) })
      const { code, stderr } = await list('')
      t.equal(code, 1)
      t.match(stderr, origin)
      t.match(stderr, /set KENER_API_KEY/)
      t.match(await cli(t, ['migrate'], { DATA_DIR }), { code: 1, stderr: /in use by a running server/ })

      unlock()
      const unlockAgain = await lockDirectory(DATA_DIR)
      t.match(await list(token), { code: 1, stderr: /process that accepts no requests/ })
      unlockAgain()
    },
  )

  await t.test(
    'a successor that cannot be printed is revoked, also if the calling key rotates itself',
    async (t) => {
      const [other, own] = [await newKey(replica), await newKey(replica)]
      const fails = () => new Output({ fails: 'ENOSPC' })
      const rotations: [args: string[], env: Record<string, string>, id: string, state: RegExp][] = [
        [['--overlap', '2h'], { DATABASE_URL: url }, other.id, /remains valid for 2h/],
        [['--url', origin], { KENER_API_KEY: own.token }, own.id, /has expired/],
      ]
      for (const [args, env, old, state] of rotations) {
        const { code, stderr } = await cli(t, ['keys', 'rotate', old, ...args], env, fails())
        t.equal(code, 1)
        t.match(stderr, /^kener-api: The key could not be printed, so it was revoked: [^\n]*\n$/)
        t.match(stderr, state)
        t.match(stderr, /create a new key/)
      }
      const { rows } = await sql`
    select revoked_at is not null as revoked from api_keys where rotated_from in (${other.id}, ${own.id})`.execute(
        replica.db,
      )
      t.same(rows, [{ revoked: true }, { revoked: true }])

      const nullDevice = openSync('/dev/null', 'r+')
      t.teardown(() => {
        closeSync(nullDevice)
      })
      const { token: last, id: lastId } = await newKey(replica)
      const closed = new Output({ fd: nullDevice })
      t.match(await cli(t, ['keys', 'rotate', lastId], { DATABASE_URL: url }, closed), { code: 1 })
      t.equal(
        (await replica.call(last, 'GET /api/me')).statusCode,
        200,
        'a closed stdout is recognized before',
      )
    },
  )
})

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

await t.test(
  'migrate --check reports whether this release can run on the schema, and writes nothing',
  async (t) => {
    const DATABASE_URL = await createDatabase(t, { empty: true })
    const check = () => cli(t, ['migrate', '--check'], { DATABASE_URL })
    const client = new pg.Client({ connectionString: DATABASE_URL })
    await client.connect()
    t.teardown(() => client.end())

    const names = Object.keys(migrations)
    const missing = { code: 3, stdout: names.map((name) => `missing ${name}\n`).join(''), stderr: '' }
    t.same([await check(), await check()], [missing, missing])
    await cli(t, ['migrate'], { DATABASE_URL })
    t.same(await check(), { code: 0, stdout: 'up to date\n', stderr: '' })
    await client.query(`insert into kener_api_migrations (name) values ('2999-01-01-later')`)
    t.same(await check(), { code: 0, stdout: 'newer 2999-01-01-later\n', stderr: '' })
    await client.query(`
    alter table kener_api_migrations add column requires text;
    insert into kener_api_migrations values ('2999-01-02-removes', now(), '2999-01-01-later')`)
    const stdout = 'newer 2999-01-01-later\nincompatible 2999-01-02-removes\n'
    t.same(await check(), { code: 4, stdout, stderr: '' })
    t.match(await cli(t, ['migrate'], { DATABASE_URL }), { code: 1, stderr: /2999-01-02-removes/ })
    await client.query(
      `update kener_api_migrations set requires = '${String(names[0])}' where requires is not null`,
    )
    t.match(await check(), { code: 0 })
    t.match(await cli(t, ['migrate', '--check'], {}), { code: 1, stderr: /DATABASE_URL/ })
  },
)

await t.test('a usage error has exit code 2 and prints the usage, before a database is opened', async (t) => {
  const wrong: [args: string[], message: RegExp][] = [
    [['nonsense'], /nonsense/],
    [['server'], /Did you mean serve\?/],
    [['list'], /Did you mean keys list\?/],
    [['--port', '3001'], /--port.* PORT=3001/],
    [['serve', '--port=3001'], /--port.* PORT=3001/],
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
    [[...create, '--expires', '2027-01-01'], /--expires must be a time/],
    [[...create, '--monitors', 'website'], /--monitors must be null for a key with the permission admin/],
    [[...create, '--monitors', ''], /--monitors, item 1, must be/],
    [[...create, '--monitors', 'a,B'], /--monitors, item 2, must be/],
    [[...create, '--allowed-ips', '10.0.0.0/33'], /--allowed-ips, item 1, must be/],
    [[...create, '--description', 'x'.repeat(1_001)], /--description must have at most/],
    [['keys', 'list', 'all'], /all/],
    [['keys', 'list', '--status', 'gone'], /--status must be one of active, expired, revoked/],
    [['keys', 'list', '--json', '--json'], /--json is given more than once/],
    [['keys', 'list', '--url', 'localhost:3000'], /--url must be/],
    [['keys', 'show'], /id/],
    [['keys', 'rotate'], /id/],
    ...['-1', '1', '1s', '8d', '999999h'].map((overlap): [string[], RegExp] => [
      ['keys', 'rotate', 'a', `--overlap=${overlap}`],
      /--overlap must be a duration/,
    ]),
    [['keys', 'rotate', 'a', '--expires', 'soon'], /--expires must be a time/],
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
    await cli(t, ['keys', 'show', 'unknown'], env),
    await cli(t, [...create, '--expires', '2020-01-01T00:00:00Z'], env),
    await cli(t, [...create, '--expires', '2d'], { ...env, KEY_LIFETIME_MAX_DAYS: '1' }),
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
  for (const { name } of commands) {
    t.match(all, name)
    t.match(await helpOf(...name.split(' '), '--help'), name)
  }
  t.match(all, '--version')
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
  const runs: [args: string[], code: number][] = [
    [['--help'], 0],
    [['keys', 'list'], 1],
    [['keys'], 2],
  ]
  for (const [args, code] of runs) {
    t.same(await cliProcess(t, args, env), { ...(await cli(t, args, env)), code })
  }
})

await t.test('through npm, stdout contains only the key, so that KENER_API_KEY=$(...) works', async (t) => {
  const args = ['run', '-s', 'cli', '--', ...create]
  const { ended, output } = npm(t, args, { DATABASE_URL: await createDatabase(t) })
  t.equal((await ended).code, 0)
  t.match(output.stdout, oneKey)
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
    const limits = { lifetimeMaxDays: 30, auditRetentionDays: 400 }
    const createFirst = async (stdout: Output) => {
      const key = await createFirstAdminKey({ db }, { ...limits, log: app.log })
      await key?.print('http://127.0.0.1', stdout)
    }
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
