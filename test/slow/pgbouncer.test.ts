import { spawn } from 'node:child_process'
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { requestTimeouts } from '../../src/database/open.ts'
import { describeError } from '../../src/operator-error.ts'
import { newKey, type Replica, startReplica, times, waitForTimeInMinute, waitUntil } from '../helper.ts'
import { freePort, startPostgres } from '../postgres.ts'
import { temporaryDirectory } from '../process.ts'

const program = '/usr/sbin/pgbouncer'
const isMissing = !existsSync(program)
if (isMissing && process.env.CI !== undefined) throw new Error('CI requires the package pgbouncer')
const skip = isMissing && 'The package pgbouncer is not installed'

/** Server connections of the pooler: fewer than the service's connections to it. */
const poolSize = 4

/** Starts PostgreSQL, and PgBouncer in transaction mode in front of it. */
async function startAll(t: Test) {
  const postgres = await startPostgres()
  t.teardown(postgres.stop)
  const onServer = await connect(t, postgres.url)
  await onServer.query(`create role kener login`)
  await onServer.query('create database kener owner kener')
  const direct = new URL(postgres.url)
  direct.pathname = '/kener'
  const adminUrl = direct.href
  direct.username = 'kener'

  const directory = temporaryDirectory(t)
  const port = await freePort()
  writeFileSync(join(directory, 'users'), '"kener" ""\n"postgres" ""\n')
  writeFileSync(
    join(directory, 'pgbouncer.ini'),
    `[databases]
kener = host=127.0.0.1 port=${direct.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${directory}/users
admin_users = postgres
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 200
`,
  )
  chmodSync(directory, 0o755)
  const asRoot = process.getuid?.() === 0
  const pgbouncer = spawn(program, ['-q', join(directory, 'pgbouncer.ini')], {
    stdio: 'ignore',
    // It does not run as root.
    ...(asRoot && { uid: 65534, gid: 65534 }),
  })
  const ended = new Promise((resolve) => pgbouncer.once('exit', resolve))
  t.teardown(async () => {
    pgbouncer.kill('SIGKILL')
    await ended
  })
  const pooled = new URL(direct)
  pooled.port = String(port)
  const consoleUrl = `postgres://postgres@127.0.0.1:${port}/pgbouncer`
  await waitUntil(() =>
    connect(t, consoleUrl).then(
      () => true,
      () => false,
    ),
  )
  return {
    postgres,
    adminUrl,
    config: { databaseUrl: pooled.href, databaseDirectUrl: direct.href },
    /** Closes the pooler's server connections, so that new ones have the current settings of the role. */
    reconnect: async () => {
      const client = await connect(t, consoleUrl)
      await client.query('reconnect')
    },
  }
}

async function connect(t: Test, connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  client.on('error', () => undefined)
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** Sends requests that read, and that write in transactions, also with an idempotency key and in batches. */
async function useApi(t: Test, replicas: Replica[], token: string): Promise<void> {
  const [first] = replicas
  if (!first) throw new Error('There is no replica')
  t.equal((await first.call(token, 'PUT /api/monitors/m', { name: 'M' })).statusCode, 201)
  const statuses = new Map<number, number>()
  await times(400, async (index) => {
    const { call } = replicas[index % replicas.length] ?? first
    const headers = { 'idempotency-key': `incident-${Math.floor(index / 2)}` }
    const incident = { title: 'T', monitors: [{ monitor_tag: 'm', impact: 'DOWN' }], comment: 'C' }
    const { statusCode } =
      index % 4 === 0
        ? await call(token, 'POST /api/incidents', incident, { headers })
        : index % 4 === 1
          ? await call(token, 'POST /api/monitors/m/data', { status: 'UP' })
          : await call(token, index % 4 === 2 ? 'GET /api/me' : 'GET /api/monitors/m/data')
    statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1)
  })
  t.same(Object.fromEntries(statuses), { 200: 300, 201: 100 }, 'every request succeeds')
  const { json } = await first.call(token, 'GET /api/audit?action=incident.created&limit=100')
  t.equal(json.data.length, 100, 'each change has its audit event')
}

await t.test('PgBouncer 1.18 in transaction mode', { skip }, async (t) => {
  const { postgres, adminUrl, config, reconnect } = await startAll(t)
  const admin = await connect(t, adminUrl)
  const start = (more = {}) =>
    startReplica(t, {
      url: config.databaseUrl,
      timeouts: requestTimeouts,
      config: { ...config, databasePreparedStatements: false, databasePoolMax: 10, ...more },
    })

  const message = await start().then(() => 'it started', describeError)
  t.match(
    message,
    /^kener-api: The pooler at DATABASE_URL [^\n]*alter role "kener" set lock_timeout = '100';/,
  )
  const [, statements = ''] = /in the pooler: (.*)\n$/.exec(message) ?? []
  await admin.query(statements)
  await reconnect()

  const replicas = [await start(), await start()]
  const [one, two] = replicas as [Replica, Replica]
  const { token } = await newKey(one)
  await useApi(t, replicas, token)

  const { rows } = await admin.query<{ count: number }>(
    `select count(*)::integer as count from pg_stat_activity where usename = 'kener'`,
  )
  t.ok(Number(rows[0]?.count) <= poolSize, 'two replicas share the few server connections')

  await waitForTimeInMinute()
  const limited = await newKey(one, { rateLimit: 50 })
  const replies = await times(100, (index) => (index % 2 ? one : two).call(limited.token, 'GET /api/me'))
  t.equal(replies.filter(({ statusCode }) => statusCode === 200).length, 50, 'limits are exact')

  const locker = await connect(t, adminUrl)
  await locker.query('begin; lock table incidents in access exclusive mode')
  const blocked = await one.call(token, 'PATCH /api/incidents/1', { title: 'U' })
  t.equal(blocked.statusCode, 503, 'the timeouts of the role apply')
  t.match(blocked.json.error.message, /lock/)
  t.equal((await one.call(token, 'GET /api/me')).statusCode, 200)
  await locker.query('commit')

  await postgres.kill()
  await waitUntil(async () => {
    const { statusCode, headers } = await one.call(token, 'GET /api/me')
    if (statusCode !== 200) t.match([statusCode, headers['retry-after']], [503, '1'])
    return statusCode === 503
  })
  await postgres.restart()
  await waitUntil(async () => (await one.call(token, 'GET /api/me')).statusCode === 200)
  await waitUntil(async () => (await two.call(null, 'GET /readyz')).statusCode === 200)
  for (const { log } of replicas)
    t.same(
      log.filter(({ level }) => level === 50),
      [],
      'no error in the log',
    )
})
