import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { requestTimeouts } from '../../src/database/open.ts'
import { formatToken, generateTokenParts } from '../../src/keys/token.ts'
import { newKey, type Reply, startReplica, waitUntil } from '../helper.ts'
import { startPostgres } from '../postgres.ts'
import { temporaryDirectory } from '../process.ts'

/**
 * Causes the errors of the table in src/database/failures.ts. The log of the server, which is the test's own, proves that
 * each occurred. The tests check the responses, whether the connections are kept or closed, and that the service recovers
 * without a restart. Not here, because others cause them: 53300 and 3D000 (database-full, database), 26000 and 0A000
 * (database, migrations), 08P01 (pgbouncer).
 */

const logSettings = [
  'logging_collector=on',
  'log_directory=log',
  'log_filename=server',
  'log_line_prefix=%e ',
]

/** Starts a server, and a replica of the service whose role is not a superuser. */
async function startAll(t: Test, { settings = [] as string[], poolMax = 5 } = {}) {
  const postgres = await startPostgres([...logSettings, ...settings])
  t.teardown(postgres.stop)
  const onServer = await connect(t, postgres.url)
  await onServer.query('create role kener login')
  await onServer.query('create database kener owner kener')
  const { rows } = await onServer.query<{ data_directory: string }>('show data_directory')
  const dataDirectory = String(rows[0]?.data_directory)
  await onServer.end()

  const url = new URL(postgres.url)
  url.pathname = '/kener'
  const adminUrl = url.href
  url.username = 'kener'
  const config = { databasePoolMax: poolMax }
  const replica = await startReplica(t, { url: url.href, timeouts: requestTimeouts, config })
  const { token } = await newKey(replica)
  await replica.call(token, 'POST /api/incidents', { title: 'Outage' })

  const read = () => replica.call(token, 'GET /api/incidents/1')
  const write = () => replica.call(token, 'PATCH /api/incidents/1', { title: `At ${performance.now()}` })
  const isReady = async () => (await replica.call(null, 'GET /readyz')).statusCode === 200
  return {
    postgres,
    replica,
    read,
    write,
    dataDirectory,
    /** Connects as a superuser. */
    connect: () => connect(t, adminUrl),
    comment: (id: number, comment: string) =>
      replica.call(token, `POST /api/incidents/${id}/comments`, { comment }),
    /** Sends SIGTERM for a smart shutdown, or SIGINT for a fast one. */
    shutDown: (signal: NodeJS.Signals) => {
      process.kill(Number.parseInt(readFileSync(join(dataDirectory, 'postmaster.pid'), 'utf8')), signal)
    },
    /** True if the server has logged an error with this code, which may be after the client has received it. */
    hasReported: (code: string, text = '') =>
      new RegExp(`^${code} (LOG|ERROR|FATAL): .*${text}`, 'm').test(
        readFileSync(join(dataDirectory, 'log/server'), 'utf8'),
      ),
    /** Checks that requests of all kinds succeed, after those that find the connections closed. */
    checkRecovery: async (t: Test) => {
      await waitUntil(async () => (await isReady()) && isOk(t, await read()) && isOk(t, await write()))
      t.same([(await read()).statusCode, (await write()).statusCode], [200, 200], 'the service recovers')
      t.notOk(
        replica.log.some(({ level }) => level === 50),
        'no error in the log',
      )
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

/** Process ids of the service's connections. */
async function connections(client: pg.Client): Promise<number[]> {
  const { rows } = await client.query<{ pid: number }>(
    `select pid from pg_stat_activity where application_name = 'kener-api' order by pid`,
  )
  return rows.map(({ pid }) => pid)
}

async function terminateConnections(client: pg.Client): Promise<void> {
  await client.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'kener-api'`,
  )
}

/** Fails the test if the response is neither a success nor a regular 503. */
function isOk(t: Test, reply: Reply): boolean {
  if (reply.statusCode === 200 || reply.statusCode === 201) return true
  isUnavailable(t, reply)
  return false
}

function isUnavailable(t: Test, { statusCode, headers, json }: Reply): void {
  t.equal(statusCode, 503)
  t.equal(json.error.code, 'SERVICE_UNAVAILABLE')
  t.equal(headers['retry-after'], '1')
}

/** Repeats a request until it is rejected. */
async function untilRejected(t: Test, ask: () => Promise<Reply>): Promise<void> {
  await waitUntil(async () => !isOk(t, await ask()))
}

/** Repeats a request that is rejected until the server has reported the error. */
async function untilReported(t: Test, ask: () => Promise<Reply>, isReported: () => boolean): Promise<void> {
  await untilRejected(t, ask)
  await waitUntil(async () => {
    isUnavailable(t, await ask())
    return isReported()
  })
}

await t.test('25006: a primary that becomes a hot standby, and is promoted later', async (t) => {
  const { postgres, dataDirectory, read, hasReported, replica, ...setup } = await startAll(t)
  await postgres.kill()
  writeFileSync(join(dataDirectory, 'standby.signal'), '')
  await postgres.restart()
  await untilRejected(t, read)
  for (let tries = 0; tries < 3; tries++) isUnavailable(t, await read())
  isUnavailable(t, await setup.write())
  // The primary may have created it.
  isUnavailable(t, await replica.call(formatToken(generateTokenParts()), 'GET /api/me'))
  isUnavailable(t, await replica.call(null, 'GET /readyz'))
  await waitUntil(() => hasReported('25006') || hasReported('0A000'))
  const admin = await setup.connect()
  await waitUntil(async () => (await connections(admin)).length === 0)
  await admin.query('select pg_promote()')
  await setup.checkRecovery(t)
})

await t.test('57P03: a server that starts, and one that shuts down, accept no connections', async (t) => {
  const directory = temporaryDirectory(t)
  chmodSync(directory, 0o755)
  const restored = join(directory, 'restored')
  // The server is starting up as long as the archive does not respond.
  const settings = [`restore_command=until [ -e ${restored} ]; do sleep 0.1; done; false`]
  const { postgres, dataDirectory, read, hasReported, ...setup } = await startAll(t, { settings })
  await postgres.kill()
  writeFileSync(join(dataDirectory, 'recovery.signal'), '')
  const restarted = postgres.restart()
  await untilReported(t, read, () => hasReported('57P03'))
  writeFileSync(restored, '')
  await restarted
  await setup.checkRecovery(t)

  const held = await setup.connect()
  setup.shutDown('SIGTERM')
  t.equal((await read()).statusCode, 200, 'open connections are served')
  await terminateConnections(held)
  await untilReported(t, read, () => hasReported('57P03', 'shutting down'))
  isUnavailable(t, await setup.write())
  await waitUntil(() => hasReported('57P01'))
  await held.end()
  await postgres.restart()
  await setup.checkRecovery(t)
})

await t.test('57P01, 57P02: a fast shutdown, and the crash of another connection', async (t) => {
  const { postgres, read, hasReported, ...setup } = await startAll(t)
  setup.shutDown('SIGINT')
  await untilRejected(t, read)
  await waitUntil(() => hasReported('57P01'))
  await postgres.restart()
  await setup.checkRecovery(t)

  const other = await setup.connect()
  const { rows } = await other.query<{ pid: number }>('select pg_backend_pid() as pid')
  const before = await connections(other)
  process.kill(Number(rows[0]?.pid), 'SIGKILL')
  // Clients receive 57P02, as a warning, which is not logged.
  await waitUntil(() => hasReported('00000', 'terminated by signal 9'))
  await setup.checkRecovery(t)
  const after = await connections(await setup.connect())
  t.notOk(
    before.some((pid) => after.includes(pid)),
    'all connections were closed',
  )
})

await t.test('28000: a role that may no longer log in', async (t) => {
  const { read, hasReported, ...setup } = await startAll(t)
  const admin = await setup.connect()
  await admin.query('alter role kener nologin')
  await terminateConnections(admin)
  await untilReported(t, read, () => hasReported('28000'))
  await admin.query('alter role kener login')
  await setup.checkRecovery(t)
})

await t.test('57P05, 25P03: the server ends an idle session, and an idle transaction', async (t) => {
  const { replica, write, hasReported, ...setup } = await startAll(t, { poolMax: 2 })
  await sql`set idle_session_timeout = 1`.execute(replica.db)
  await waitUntil(() => hasReported('57P05'))
  await setup.checkRecovery(t)

  await waitUntil(async () => {
    await sql`set idle_in_transaction_session_timeout = 1`.execute(replica.db)
    isOk(t, await write())
    return hasReported('25P03')
  })
  await setup.checkRecovery(t)
})

/** Mounts a small file system until the test ends. Returns undefined if this user or machine cannot. */
function mountSmallDisk(t: Test): string | undefined {
  const directory = temporaryDirectory(t)
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', directory])
  if (status !== 0) return undefined
  t.teardown(() => spawnSync('umount', ['--lazy', directory]))
  return directory
}

await t.test('53100: a full disk', async (t) => {
  const disk = mountSmallDisk(t)
  if (disk === undefined) {
    t.notOk(process.env.CI, 'CI can mount a file system')
    t.comment('Skipped, because this user cannot mount a file system')
    return
  }
  const { comment, dataDirectory, hasReported, read, ...setup } = await startAll(t)
  const { uid, gid } = statSync(dataDirectory)
  chownSync(disk, uid, gid)
  const admin = await setup.connect()
  await admin.query(`create tablespace small location '${disk}'`)
  await admin.query('alter table incident_comments set tablespace small')
  t.equal((await comment(1, 'It begins')).statusCode, 201)
  const filling = join(disk, 'filling')
  const { bavail, bsize } = statfsSync(disk)
  writeFileSync(filling, Buffer.alloc(bavail * bsize))
  const before = await connections(admin)
  await untilRejected(t, () => comment(1, 'text '.repeat(300)))
  isUnavailable(t, await comment(1, 'text '.repeat(300)))
  t.equal((await read()).statusCode, 200, 'reads succeed')
  await waitUntil(() => hasReported('53100'))
  const after = await connections(admin)
  t.ok(
    before.every((pid) => after.includes(pid)),
    'the connections are kept',
  )
  rmSync(filling)
  t.equal((await comment(1, 'text '.repeat(300))).statusCode, 201, 'the service recovers')
  await setup.checkRecovery(t)
})

/** Creates a trigger that runs in the service's transaction that updates an incident. */
async function onUpdate(admin: pg.Client, statements: string): Promise<void> {
  await admin.query(`
    create function fault() returns trigger language plpgsql security definer as $$
    begin
      ${statements}
      return null;
    end $$;
    create trigger fault after update on incidents for each row execute function fault()`)
}

await t.test('57014, 55P03: statement timeout and lock timeout', async (t) => {
  const { read, write, hasReported, ...setup } = await startAll(t, { poolMax: 2 })
  const admin = await setup.connect()
  await onUpdate(admin, 'perform pg_sleep(60);')
  t.equal((await read()).statusCode, 200)
  const before = await connections(admin)
  isUnavailable(t, await write())
  await waitUntil(() => hasReported('57014'))
  await admin.query('drop trigger fault on incidents')
  await admin.query('begin; lock table incidents in exclusive mode')
  const rejected = await write()
  isUnavailable(t, rejected)
  t.match(rejected.json.error.message, /lock/)
  await waitUntil(() => hasReported('55P03'))
  t.equal((await read()).statusCode, 200, 'requests without the lock are served')
  await admin.query('commit')
  await setup.checkRecovery(t)
  t.same(await connections(admin), before, 'the connections are kept')
})

await t.test('40001: a serialization failure is run again', async (t) => {
  const { replica, write, hasReported, ...setup } = await startAll(t, { poolMax: 2 })
  const admin = await setup.connect()
  const other = await setup.connect()
  // The service sets another default, with which this error does not occur.
  await sql`set default_transaction_isolation = 'repeatable read'`.execute(replica.db)
  await waitUntil(async () => {
    await other.query(`begin; update incidents set title = 'Other'`)
    const writing = write()
    await waitUntil(async () => isWaiting(admin))
    await other.query('commit')
    t.equal((await writing).statusCode, 200)
    // Otherwise the wait for the lock ended before the commit.
    return hasReported('40001')
  })
  await setup.checkRecovery(t)
  const { rows } = await sql<{ isolation: string }>`
    select current_setting('default_transaction_isolation') as isolation`.execute(replica.db)
  t.equal(rows[0]?.isolation, 'repeatable read', 'the connection is kept')
})

await t.test('40P01: a transaction that is the victim of a deadlock is run again', async (t) => {
  const { write, hasReported, ...setup } = await startAll(t, {
    poolMax: 2,
    settings: ['deadlock_timeout=10ms'],
  })
  const admin = await setup.connect()
  const other = await setup.connect()
  await admin.query('create table locked (x integer); insert into locked values (1); create sequence runs')
  await onUpdate(
    admin,
    `if nextval('runs') = 1 then
      while not exists (select from pg_locks where not granted) loop
        perform pg_sleep(0.01);
      end loop;
      update locked set x = x;
    end if;`,
  )
  t.equal((await setup.read()).statusCode, 200)
  const before = await connections(admin)
  // So that the service's transaction is the one that detects the deadlock.
  await other.query(`set deadlock_timeout = '10min'; begin; update locked set x = x`)
  const writing = write()
  await waitUntil(async () => {
    const { rowCount } = await admin.query(`select from pg_stat_activity where wait_event = 'PgSleep'`)
    return rowCount === 1
  })
  await other.query(`update incidents set title = 'Other'`)
  await waitUntil(() => hasReported('40P01'))
  await other.query('commit')
  t.equal((await writing).statusCode, 200)
  await setup.checkRecovery(t)
  t.same(await connections(admin), before, 'the connections are kept')
})

async function isWaiting(client: pg.Client): Promise<boolean> {
  const { rowCount } = await client.query(`select from pg_stat_activity where wait_event_type = 'Lock'`)
  return rowCount === 1
}
