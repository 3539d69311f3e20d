import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import {
  type DatabaseConnection,
  type Driver,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  sql,
} from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { ConnectFailure, closesConnection, isUnavailable } from '../src/database/failures.ts'
import { openDatabase, shareConnections } from '../src/database/open.ts'
import { pipelineTransaction } from '../src/database/pipeline.ts'
import { prepared } from '../src/database/prepared.ts'
import type { Tables } from '../src/database/schema.ts'
import { createLimits } from '../src/http/concurrency.ts'
import { createTurns } from '../src/reports/turns.ts'
import { describeError } from '../src/operator-error.ts'
import { createDatabase, newKey, type Replica, startReplica, times, waitUntil } from './helper.ts'
import { conditionTimeoutMs } from './timeouts.ts'

/** Runs statements about a database on another one, so that they work if it accepts no connections. */
async function onServer(...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: process.env.TEST_DATABASE_URL ?? '' })
  await client.connect()
  for (const statement of statements) await client.query(statement)
  await client.end()
}

function nameOf(url: string): string {
  return new URL(url).pathname.slice(1)
}

function terminate(name: string): string {
  return `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`
}

const otherDefaults = {
  datestyle: 'German',
  intervalstyle: 'iso_8601',
  timezone: 'Asia/Kathmandu',
  bytea_output: 'escape',
  extra_float_digits: '-15',
  standard_conforming_strings: 'off',
  array_nulls: 'off',
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  jit: 'on',
  jit_above_cost: '0',
  statement_timeout: '1s',
  lock_timeout: '1ms',
  idle_in_transaction_session_timeout: '1ms',
}

/** Sends requests of all kinds. Returns the responses without what differs between two databases. */
async function useApi(replica: Replica): Promise<unknown[]> {
  const { token } = await newKey(replica)
  const call = (...[route, body]: [Parameters<Replica['call']>[1], unknown?]) =>
    replica.call(token, route, body)
  const [from, to] = ['2026-01-01T22:30:00Z', '2026-01-03T00:10:00Z']
  const replies = [
    await call('POST /api/monitors', { tag: 'one', name: "o'ne \\ 1" }),
    await call('PUT /api/monitors/one/data', { from, to, status: 'DEGRADED', latency_ms: 7 }),
    await call('POST /api/monitors/one/data', {
      points: [
        { status: 'UP', timestamp: '2026-01-01T00:00:30Z', latency_ms: 1 },
        { status: 'DOWN', timestamp: '2026-01-01T00:01:00Z' },
        { status: 'DOWN', timestamp: '2026-01-01T00:02:00Z', latency_ms: 5 },
      ],
    }),
    await call(`GET /api/monitors/one/data?from=2025-12-31T00:00:00Z&to=${to}&limit=20`),
    await call('GET /api/monitors/one/data?interval=hour'),
    await call('GET /api/monitors/one/data?interval=day'),
    await call('GET /api/monitors'),
    await call('POST /api/incidents', {
      title: 'Outage',
      started_at: '2026-02-01T10:00:00+02:00',
      monitors: [{ monitor_tag: 'one', impact: 'DOWN' }],
      comment: 'It begins',
    }),
    await call('GET /api/incidents?open=true&limit=1'),
    await call('POST /api/maintenances', {
      title: 'Upgrade',
      starts_at: '2999-01-01T22:00:00Z',
      duration_seconds: 3_600,
      monitors: [{ monitor_tag: 'one', impact: 'MAINTENANCE' }],
    }),
    await call('GET /api/status'),
    await call('POST /api/keys', {
      name: 'made',
      permissions: ['read:monitors'],
      expires_at: '2999-12-31T23:59:59Z',
    }),
    await call('GET /api/keys?limit=1'),
    await call('GET /api/me'),
    await call('GET /api/v4/monitors/one/data?start_ts=1767225600&end_ts=1767225840'),
    ...(await times(20, () => call('GET /api/me'))),
    ...(await times(20, () => call('POST /api/monitors/one/data', { status: 'UP' }))),
  ]
  return replies.map(({ statusCode, body }) => [statusCode, withoutDifferences(body)])
}

function withoutDifferences(body: string): string {
  const now = new Date().toISOString().slice(0, 10)
  return body
    .replaceAll(/kener_\w+/g, 'TOKEN')
    .replaceAll(/"(key_)?id":"\w+"/g, 'ID')
    .replaceAll(
      new RegExp(`"(?:${now}|${new Date(Date.now() - 60_000).toISOString().slice(0, 10)})T[\\d:]{8}Z"`, 'g'),
      'NOW',
    )
    .replaceAll(/"timestamp":\d+/g, 'TIMESTAMP')
}

await t.test('defaults of the database and the role never change a response', async (t) => {
  const usual = await createDatabase(t)
  const unusual = await createDatabase(t)
  await onServer(
    ...Object.entries(otherDefaults).map(
      ([name, value]) => `alter database ${nameOf(unusual)} set ${name} = '${value}'`,
    ),
  )
  const expected = await useApi(await startReplica(t, { url: usual }))
  const found = await useApi(await startReplica(t, { url: unusual }))
  t.same(found, expected)
})

await t.test('a database with another encoding is rejected in one line', async (t) => {
  const url = await createDatabase(t, { empty: true })
  const name = `${nameOf(url)}_latin`
  await onServer(`create database ${name} encoding 'LATIN1' locale 'C' template template0`)
  t.teardown(() => onServer(`drop database ${name}`))
  const databaseUrl = url.replace(nameOf(url), name)
  const error = await openDatabase({ databaseUrl, databasePoolMax: 1, dataDir: '' }).then(
    () => 'no error',
    describeError,
  )
  t.match(error, /^kener-api: [^\n]*DATABASE_URL[^\n]*LATIN1[^\n]*UTF8[^\n]*\n$/)
})

async function startWithKey(t: Test, config = {}) {
  const url = await createDatabase(t)
  const replica = await startReplica(t, { url, config })
  const { token } = await newKey(replica)
  return { url, name: nameOf(url), replica, token, ask: () => replica.call(token, 'GET /api/me') }
}

await t.test(
  'a database that becomes read only is unavailable, and recovers without a restart',
  async (t) => {
    const { name, replica, token, ask } = await startWithKey(t)
    const list = () => replica.call(token, 'GET /api/monitors')
    const isReady = async () => (await replica.call(null, 'GET /readyz')).statusCode === 200
    t.equal((await ask()).statusCode, 200)
    t.ok(await isReady())
    await onServer(`alter database ${name} set default_transaction_read_only = on`, terminate(name))
    await waitUntil(async () => (await ask()).json.error?.code === 'SERVICE_UNAVAILABLE')
    for (let tries = 0; tries < 3; tries++) {
      const reply = await ask()
      t.equal(reply.statusCode, 503)
      t.equal(reply.headers['retry-after'], '1')
      t.notOk(await isReady(), 'a read-only database is not ready')
    }
    await onServer(`alter database ${name} reset default_transaction_read_only`)
    await waitUntil(isReady)
    t.same([(await ask()).statusCode, (await list()).statusCode], [200, 200], 'its connections were closed')
  },
)

await t.test('errors while connecting are 503', async (t) => {
  const { name, replica, ask } = await startWithKey(t)
  const faults = [
    { fault: 'select', repair: 'select' },
    {
      fault: `alter database ${name} rename to ${name}_away`,
      repair: `alter database ${name}_away rename to ${name}`,
    },
  ]
  for (const { fault, repair } of faults) {
    t.equal((await ask()).statusCode, 200)
    await onServer(`alter database ${name} allow_connections false`, terminate(name))
    await waitUntil(async () => (await ask()).statusCode === 503)
    await onServer(fault)
    t.same([(await ask()).statusCode, (await ask()).statusCode], [503, 503], fault)
    t.equal((await replica.call(null, 'GET /readyz')).statusCode, 503)
    await onServer(repair, `alter database ${name} allow_connections true`)
    await waitUntil(async () => (await ask()).statusCode === 200)
  }
})

await t.test('SQLSTATEs are classified: 503 or 500, and whether the connection is kept', (t) => {
  const withCode = (code: string, more = {}) => Object.assign(new Error(code), { code, ...more })
  for (const code of ['40001', '40P01', '55P03', '57014', '53100', '53200', '53300', '58030']) {
    t.same([isUnavailable(withCode(code)), closesConnection(withCode(code))], [true, false], code)
  }
  const closing = ['08006', '25006', '25P03', '28000', '28P01', '3D000', '55000', '57P01', '57P03', '57P05']
  for (const code of [...closing, 'ECONNRESET', '26000', '42P05']) {
    t.same([isUnavailable(withCode(code)), closesConnection(withCode(code))], [true, true], code)
  }
  for (const code of ['23505', '22P02', '42P01', '42601', '25P02', '0A000', 'ENOENT']) {
    t.same([isUnavailable(withCode(code)), closesConnection(withCode(code))], [false, false], code)
  }
  t.ok(closesConnection(withCode('0A000', { routine: 'RevalidateCachedQuery' })), 'an outdated plan')
  t.ok(
    closesConnection(withCode('0A000', { routine: 'get_relation_info' })),
    'an unlogged table of a standby',
  )
  t.ok(isUnavailable(new ConnectFailure(withCode('ENOENT'))), 'a missing socket')
  t.end()
})

await t.test('the error of an idle connection contains neither statements nor secrets', async (t) => {
  const databaseUrl = await createDatabase(t)
  const errors: Error[] = []
  const { db, close } = await openDatabase(
    { databaseUrl, databasePoolMax: 1, dataDir: '' },
    { onConnectionError: (error) => errors.push(error) },
  )
  t.teardown(close)
  await sql`select`.execute(db)
  const name = new URL(databaseUrl).pathname.slice(1)
  await onServer(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`)
  await waitUntil(() => errors.length > 0)
  for (const error of errors) t.notOk('client' in error)
})

await t.test('a slow statement is 503, and no connection is closed', async (t) => {
  const timeouts = { connectMs: 60_000, statementMs: 500 }
  const url = await createDatabase(t)
  const replica = await startReplica(t, { url, timeouts })
  const pids = async () => {
    const { rows } = await sql<{ pid: number }>`
      select pid from pg_stat_activity where datname = current_database() order by pid`.execute(replica.db)
    return rows.map(({ pid }) => pid)
  }
  await times(3, () => sql`select pg_sleep(0.1)`.execute(replica.db))
  const before = await pids()
  const error: unknown = await sql`select pg_sleep(60)`.execute(replica.db).catch((caught: unknown) => caught)
  t.match(error, { code: '57014' }, 'the timeout of the server is the shorter one')
  t.ok(isUnavailable(error))
  t.same(await pids(), before)
})

await t.test('a change that waits too long for a locked row is 503, and the message says so', async (t) => {
  const replica = await startReplica(t, { timeouts: { connectMs: 60_000, statementMs: 500 } })
  const { token } = await newKey(replica)
  await replica.call(token, 'PUT /api/monitors/m', { name: 'M' })
  const locker = await replica.db.startTransaction().execute()
  await sql`select from monitors for update`.execute(locker)
  await waitUntil(async () => {
    const { statusCode, json } = await replica.call(token, 'PATCH /api/monitors/m', { name: 'N' })
    return (
      statusCode === 503 &&
      json.error.message === 'Another change holds a lock that this request needs: try again'
    )
  })
  t.ok(replica.log.some(({ cause }) => cause === 'canceling statement due to lock timeout'))
  await locker.rollback().execute()
})

await t.test('a pooler that loses prepared statements makes the service not ready', async (t) => {
  const { replica } = await startWithKey(t)
  const readiness = async () => (await replica.call(null, 'GET /readyz')).statusCode
  t.equal(await readiness(), 200)
  await sql`deallocate all`.execute(replica.app.admissionDb)
  t.equal(await readiness(), 503)
  // It recovers with another connection.
  await waitUntil(async () => (await readiness()) === 200)
})

await t.test('the statements that a connection has prepared do not depend on requests', async (t) => {
  // One connection for admission, and one for the rest.
  const replica = await startReplica(t, { config: { databasePoolMax: 2 } })
  const { token } = await newKey(replica)
  const fields = {
    name: 'One',
    description: 'text',
    category_name: 'c',
    external_url: 'https://example.com',
    enabled: true,
    hidden: false,
    default_status: 'UP',
    stale_after_seconds: 60,
    degraded_counts_as_down: true,
  }
  const filters = ['status=UP', 'category_name=c', 'enabled=true', 'hidden=false']
  async function use(seed: number): Promise<void> {
    const entries = Object.entries(fields)
    const rotated = [...entries.slice(seed), ...entries.slice(0, seed)]
    const body = Object.fromEntries(seed % 2 ? rotated : rotated.reverse())
    const some = Object.fromEntries(rotated.slice(0, 1 + seed))
    await replica.call(token, 'PUT /api/monitors/one', { name: 'One', ...body })
    await replica.call(token, 'PATCH /api/monitors/one', some)
    await replica.call(token, `GET /api/monitors?${filters.slice(seed % 4).join('&')}`)
    await replica.call(token, 'POST /api/monitors/one/data', { status: 'UP' })
    await replica.call(token, `GET /api/keys?limit=${seed + 1}&status=active`)
  }
  const count = async (db: Replica['db']) => {
    const { rows } = await sql<{ count: number }>`
      select count(*)::integer as count from pg_prepared_statements`.execute(db)
    return rows[0]?.count ?? 0
  }
  await use(0)
  for (const filter of filters) await replica.call(token, `GET /api/monitors?${filter}`)
  const [main, admission] = [await count(replica.db), await count(replica.app.admissionDb)]
  for (let seed = 1; seed < 8; seed++) await use(seed)
  t.same([await count(replica.db), await count(replica.app.admissionDb)], [main, admission])
  t.ok(main > 3 && admission > 0, 'frequent statements are prepared')
  const texts = new Set(replica.statements.filter((text) => /^(insert into|update) "monitors"/.test(text)))
  t.ok(texts.size <= 10, 'columns are in a fixed order: one text for each set of fields')
})

await t.test('a key whose statements wait uses half of the connections, and none of admission', async (t) => {
  const { url, replica, token: busy } = await startWithKey(t)
  const other = await newKey(replica)
  const locker = new pg.Client({ connectionString: url })
  await locker.connect()
  await locker.query('begin; lock table incidents in access exclusive mode')
  let answered = 0
  const waiting = times(30, async () => {
    const reply = await replica.call(busy, 'GET /api/incidents')
    answered++
    return reply
  })
  for (let round = 0; round < 10; round++) {
    t.equal((await replica.call(other.token, 'GET /api/me')).statusCode, 200)
    t.equal((await replica.call(busy, 'GET /api/me')).statusCode, 200)
    t.equal((await replica.call(null, 'GET /readyz')).statusCode, 200)
    t.equal((await replica.call(other.token, 'GET /api/keys')).statusCode, 200)
    const { rows } = await sql`
      select from pg_stat_activity where datname = current_database() and query like '%from incidents%'
        and wait_event_type = 'Lock'`.execute(replica.app.admissionDb)
    t.ok(rows.length <= 2, 'two of its requests are in flight')
  }
  t.equal(answered, 0)
  await locker.query('commit')
  await locker.end()
  t.ok((await waiting).every(({ statusCode }) => statusCode === 200))
})

for (const table of ['api_keys', 'rate_counters']) {
  await t.test(`requests wait while a migration locks ${table}`, async (t) => {
    const { url, replica, token: known } = await startWithKey(t)
    const { token: firstSeen } = await newKey(replica)
    await replica.call(known, 'GET /api/me')
    const locker = new pg.Client({ connectionString: url })
    await locker.connect()
    await locker.query(`begin; lock table ${table} in access exclusive mode`)
    replica.statements.length = 0
    const waiting = [
      replica.call(known, 'GET /api/me'),
      replica.call(firstSeen, 'GET /api/me'),
      replica.call(null, 'GET /readyz'),
    ]
    const attempts = () => replica.statements.filter((text) => /from rate_counters[^]*skip locked/.test(text))
    await waitUntil(() => attempts().length > 1)
    await locker.query('commit')
    await locker.end()
    t.same(
      (await Promise.all(waiting)).map(({ statusCode }) => statusCode),
      [200, 200, 200],
    )
  })
}

await t.test(
  'a key has a bounded number of waiting requests, and each waits for a bounded time',
  async (t) => {
    const gone = new Set<string>()
    const events: string[] = []
    const acquire = (limits: ReturnType<typeof createLimits>, key: string, name: string) => {
      let end: (error?: unknown) => void = () => undefined
      limits.acquire(key, {
        start: (endTurn) => {
          events.push(`${name} started`)
          end = endTurn
        },
        reject: ({ message }) => events.push(`${name}: ${message}`),
        isGone: () => gone.has(name),
      })
      return (error?: unknown) => {
        end(error)
      }
    }
    const tooMany = 'Too many requests of this API key are in flight: try again'

    const few = createLimits(1, { maxWaiting: 2, maxWaitMs: conditionTimeoutMs })
    const ends = ['first', 'second', 'third', 'fourth'].map((name) => acquire(few, 'a', name))
    acquire(few, 'b', 'other key')
    t.same(events.splice(0), ['first started', `fourth: ${tooMany}`, 'other key started'])
    gone.add('second')
    acquire(few, 'a', 'fifth')
    acquire(few, 'a', 'sixth')
    const aborted = 'second: The connection was closed before the request was complete'
    t.same(events.splice(0), [aborted, `sixth: ${tooMany}`], 'a client that has disconnected does not count')
    ends[0]?.()
    t.same(events.splice(0), ['third started'])
    ends[2]?.(new ConnectFailure(new Error('refused')))
    t.same(events.splice(0), ['fifth: refused'], 'waiting requests fail with the database')

    const brief = createLimits(1, { maxWaiting: 2, maxWaitMs: 1 })
    const end = acquire(brief, 'a', 'first')
    acquire(brief, 'a', 'second')
    await waitUntil(() => events.length === 2)
    t.same(events.splice(0), ['first started', `second: ${tooMany}`])
    end()
    t.same(events, [], 'a request that was rejected does not start')
  },
)

await t.test('statements of one kind do not wait for the connections of another', async (t) => {
  const max = 10
  const { replica, token } = await startWithKey(t, { databasePoolMax: max })
  await replica.call(token, 'PUT /api/monitors/m', { name: 'M' })
  const heartbeat = await replica.call(token, 'POST /api/monitors/m/heartbeat')
  const { pathname } = new URL(heartbeat.json.data.url)
  const separate: Parameters<Replica['call']>[] = [
    [token, 'GET /api/me'],
    [null, 'GET /readyz'],
    [token, 'POST /api/monitors/m/data', { status: 'UP' }],
    [null, `POST ${pathname}`],
    [token, 'GET /api/monitors'],
    [token, 'GET /api/incidents'],
  ]

  const others = await times(shareConnections(max).main, () => replica.db.startTransaction().execute())
  for (const call of separate) t.equal((await replica.call(...call)).statusCode, 200, call[1])
  const waiting = ['GET /api/monitors?status=UP', 'GET /api/incidents?open=true', 'GET /api/status'] as const
  let answered = 0
  const replies = waiting.map(async (route) => {
    const { statusCode } = await replica.call(token, route)
    answered++
    return statusCode
  })
  for (const call of separate) t.equal((await replica.call(...call)).statusCode, 200, call[1])
  t.equal(answered, 0, 'filtered lists wait for a connection')
  for (const other of others) await other.rollback().execute()
  t.same(await Promise.all(replies), [200, 200, 200])

  const { listDb } = replica.app
  const lists = await times(shareConnections(max).list, () => listDb.startTransaction().execute())
  const list = replica.call(token, 'GET /api/monitors')
  const created = await replica.call(token, 'POST /api/incidents', {
    title: 'I',
    started_at: '2026-01-01T00:00:00Z',
  })
  t.equal(created.statusCode, 201, 'a change does not wait for a whole list')
  for (const other of lists) await other.rollback().execute()
  t.equal((await list).statusCode, 200)
})

await t.test(
  'admission has a third of the connections, jobs, batches and lists have one, and the total is kept',
  (t) => {
    t.same(
      [1, 2, 3, 5, 6, 9, 10, 100].map((max) => shareConnections(max).admission),
      [0, 1, 1, 1, 2, 3, 3, 3],
    )
    for (const total of [1, 2, 3, 10]) {
      const { main, admission, jobs, batch, list } = shareConnections(total)
      t.equal(main + admission + jobs + batch + list, total)
      t.ok(main >= 1)
    }
    t.same(
      [1, 2, 3, 10].map((max) => shareConnections(max).jobs),
      [0, 0, 1, 1],
    )
    t.same(
      [1, 6, 7, 10].map((max) => shareConnections(max).batch),
      [0, 0, 1, 1],
    )
    t.same(
      [1, 7, 9, 10].map((max) => shareConnections(max).list),
      [0, 0, 0, 1],
    )
    t.end()
  },
)

await t.test('with a single connection, which admission shares, all requests are served', async (t) => {
  const { replica, token } = await startWithKey(t, { databasePoolMax: 1 })
  const replies = await times(20, (index) =>
    replica.call(token, index % 2 ? 'GET /api/me' : 'GET /api/incidents'),
  )
  t.ok(replies.every(({ statusCode }) => statusCode === 200))
  t.equal((await replica.call(null, 'GET /readyz')).statusCode, 200)
})

/** A database that records statements, and answers each when its answer is called. */
function fakeDatabase() {
  const sent: string[] = []
  const answers: ((error?: Error) => void)[] = []
  const connection: DatabaseConnection = {
    executeQuery: ({ sql: text }) => {
      sent.push(text)
      return new Promise((resolve, reject) => {
        answers.push((error) => {
          if (error) reject(error)
          else resolve({ rows: [] })
        })
      })
    },
    streamQuery: () => {
      throw new Error('not used')
    },
  }
  const driver: Driver = Object.assign(new DummyDriver(), {
    acquireConnection: () => Promise.resolve(connection),
  })
  const db = new Kysely<Tables>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => driver,
      createIntrospector: (any) => new PostgresIntrospector(any),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  })
  /** Returns what was sent since the last call, after all pending promises have settled. */
  const takeSent = async () => {
    await nextTurn()
    return sent.splice(0)
  }
  return { db, takeSent, answers }
}

await t.test('a pipelined transaction waits for results once, and before its commit for none', async (t) => {
  const { db, takeSent, answers } = fakeDatabase()
  const transact = () =>
    pipelineTransaction(db, async (trx) => {
      await Promise.all([sql`lock`.execute(trx), prepared(sql`read`).execute(trx)])
      return { result: 'done', pending: sql`write`.execute(trx) }
    })
  const answerAll = (...errors: (Error | undefined)[]) => {
    answers.splice(0).forEach((answer, index) => {
      answer(errors[index])
    })
  }

  const done = transact()
  t.same(await takeSent(), ['begin', 'lock', 'read'])
  answerAll()
  t.same(await takeSent(), ['write', 'commit'])
  answerAll()
  t.equal(await done, 'done')

  const refused = new Error('refused')
  const unstarted = transact()
  await takeSent()
  answerAll(refused)
  t.same(await takeSent(), ['rollback'], 'without a transaction, nothing is written')
  answerAll()
  await t.rejects(unstarted, refused)

  const unwritten = transact()
  await takeSent()
  answerAll()
  await takeSent()
  answerAll(refused)
  t.same(await takeSent(), ['rollback'])
  answerAll()
  await t.rejects(unwritten, refused)
})

await t.test('writes about one monitor run in order, and shared ones together', async (t) => {
  const inTurn = createTurns()
  const events: string[] = []
  const ends = new Map<string, () => void>()
  const run = (name: string, isShared: boolean, isCancelled = () => false) =>
    inTurn('tag', {
      isShared,
      isCancelled,
      work: async () => {
        events.push(name)
        await new Promise<void>((resolve) => ends.set(name, resolve))
      },
    })
  const end = async (name: string) => {
    ends.get(name)?.()
    await delay(0)
  }
  const all = [
    run('small 1', true),
    run('small 2', true),
    run('long 1', false),
    run('gone', false, () => true),
    run('small 3', true),
    run('long 2', false),
  ]
  await delay(0)
  t.same(events, ['small 1', 'small 2'])
  all.push(run('small 4', true))
  await end('small 1')
  t.same(events, ['small 1', 'small 2'], 'a long write waits for both')
  await end('small 2')
  t.same(events.slice(2), ['long 1'])
  await end('long 1')
  t.same(events.slice(3), ['small 3'], 'a write of a client that has disconnected is left out')
  await end('small 3')
  t.same(events.slice(4), ['long 2'])
  await end('long 2')
  t.same(events.slice(5), ['small 4'])
  await end('small 4')
  await Promise.all(all)
})
