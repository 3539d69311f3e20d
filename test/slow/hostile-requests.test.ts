import { Agent, type IncomingMessage, request as httpRequest } from 'node:http'
import { text as readAll } from 'node:stream/consumers'
import fc from 'fast-check'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { formatToken, generateTokenParts } from '../../src/keys/token.ts'
import { createReplyCheck, isErrorReply, newKey, type Replica, type Reply, startReplica } from '../helper.ts'
import { type Described, requestsTo, type WireRequest } from '../requests.ts'
import { scaled } from './scale.ts'

/**
 * Batches of about 56 requests. To repeat or extend a run: `FUZZ_SEED=1 FUZZ_RUNS=400 npm test -- hostile-requests`.
 */
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const runs = Number(process.env.FUZZ_RUNS ?? scaled(400))
const batchSize = 30

/** Tables that every request may write. It may also write the last use of a key. */
const countersOnly = ['rate_counters', 'traffic', 'key_usage_hours', 'key_last_uses']

const codes: Record<number, string[]> = {
  400: ['INVALID_REQUEST'],
  401: ['UNAUTHORIZED', 'KEY_EXPIRED', 'KEY_REVOKED'],
  403: ['FORBIDDEN'],
  404: ['NOT_FOUND'],
  405: ['METHOD_NOT_ALLOWED'],
  409: ['CONFLICT'],
  412: ['PRECONDITION_FAILED'],
  413: ['PAYLOAD_TOO_LARGE'],
  415: ['UNSUPPORTED_MEDIA_TYPE'],
  429: ['RATE_LIMIT_EXCEEDED'],
  // Rejected by Node before routing, because its headers are too large.
  431: ['INVALID_REQUEST'],
}

await t.test(
  `every response matches the description, and rejected requests store nothing (FUZZ_SEED=${seed})`,
  async (t) => {
    const replica = await startReplica(t)
    const { app } = replica
    await app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = app.server.address() as { port: number }
    const { admin, known, others } = await furnish(replica)
    const { reset, readChanges } = await watchTables(replica)
    const send = createClient(t, port)
    const check = createReplyCheck(app)
    const tried = new Map<string, { all: number; done: number }>()
    const statuses = new Map<number, number>()

    async function ask(request: WireRequest): Promise<Reply> {
      const reply = await send(request)
      try {
        checkEnvelope(request, reply)
        // With an empty parameter it is the path of the list.
        if (reply.statusCode !== 431)
          check(`${request.method} ${request.url.replace(/^(\/api\/(?:v4\/)?\w+)\/(?=\?|$)/, '$1')}`, reply)
      } catch (error) {
        const faults = replica.log.filter(({ level }) => Number(level) > 40)
        throw new Error(
          `${describe(request)} got ${reply.statusCode} ${reply.body.slice(0, 500)} ${JSON.stringify(faults)}`,
          { cause: error },
        )
      }
      const count = tried.get(request.operation) ?? { all: 0, done: 0 }
      count.all++
      if (reply.statusCode < 300) count.done++
      tried.set(request.operation, count)
      statuses.set(reply.statusCode, (statuses.get(reply.statusCode) ?? 0) + 1)
      return reply
    }

    /** First concurrent with requests that write; then alone, until no request has a reason to write. */
    async function stores(requests: WireRequest[]): Promise<void> {
      await reset()
      replica.log.length = 0
      replica.statements.length = 0
      let harmless = requests
      for (;;) {
        const before = await readChanges()
        const replies = await Promise.all(harmless.map(ask))
        const left = harmless.filter(
          ({ method }, index) => ['GET', 'HEAD'].includes(method) || (replies[index]?.statusCode ?? 0) >= 400,
        )
        if (left.length === harmless.length) {
          const changes = (await readChanges()).slice(before.length)
          if (changes.length > 0) throw new Error(`${changes.join()} by ${harmless.map(describe).join('\n')}`)
          return
        }
        harmless = left
      }
    }

    const document = app.swagger() as unknown as Described
    const requests = requestsTo(document, known, { good: `Bearer ${admin}`, others })
    const batches = fc.array(requests, { minLength: batchSize, maxLength: batchSize })
    const outcome = await fc.check(fc.asyncProperty(batches, stores), {
      seed,
      numRuns: runs,
      // Each batch starts from the same tables, and the error contains the request.
      endOnFailure: true,
    })
    if (outcome.failed) throw new Error(`FUZZ_SEED=${seed}`, { cause: outcome.errorInstance })
    const all = [...tried.values()].reduce((sum, count) => sum + count.all, 0)
    t.comment(`${all} requests: ${JSON.stringify(Object.fromEntries([...statuses].sort()))}`)
    t.ok(all >= runs * batchSize, 'each batch was sent')
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    if (runs >= 400) {
      for (const operation of operations) {
        // Needs a secret, which is not among the values that are tried.
        if (operation.includes(' /ext/heartbeat/')) continue
        t.ok((tried.get(operation)?.done ?? 0) > 0, `${operation} has been done as well as rejected`)
      }
    }
    t.equal(({} as Record<string, unknown>).admin, undefined, 'no prototype was polluted')
    t.equal((await replica.call(admin, 'GET /api/me')).statusCode, 200, 'the service responds')
  },
)

await t.test('the last value of a repeated field is used (RFC 8259, section 4)', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const send = (payload: string) =>
    replica.call(token, 'POST /api/keys', undefined, {
      headers: { 'content-type': 'application/json' },
      payload,
    })
  const reply = await send(
    '{"name":"first","permissions":["admin"],"name":"last","permissions":["read:monitors"]}',
  )
  t.match(reply.json, { data: { name: 'last', permissions: ['read:monitors'] } })
  const stored = await replica.db
    .selectFrom('api_keys')
    .select('permissions')
    .where('name', '=', 'last')
    .execute()
  t.same(stored, [{ permissions: ['read:monitors'] }], 'the validated value is stored')
  isErrorReply(
    t,
    await send('{"name":"n","permissions":["admin"],"name":5}'),
    400,
    'INVALID_REQUEST',
    'the last is bad',
  )
})

/** Creates a resource of each kind, and keys. */
async function furnish(replica: Replica) {
  const admin = await newKey(replica)
  const reader = await newKey(replica, { permissions: ['read:monitors'] })
  const revoked = await newKey(replica)
  const keys = [await newKey(replica), await newKey(replica), revoked]
  await replica.call(admin.token, `POST /api/keys/${revoked.id}/revoke`)
  const tags = ['website', 'api', 'x'.repeat(255)]
  for (const tag of tags) {
    await replica.call(admin.token, 'POST /api/monitors', { tag, name: tag })
    const points = [{ status: 'UP', latency_ms: 5, timestamp: '2026-01-01T00:00:00Z' }, { status: 'DOWN' }]
    await replica.call(admin.token, `POST /api/monitors/${tag}/data`, { points })
  }
  for (const tag of tags) {
    const body = { title: tag, comment: tag, monitors: [{ monitor_tag: tag, impact: 'DEGRADED' }] }
    await replica.call(admin.token, 'POST /api/incidents', body)
    const work = {
      title: tag,
      starts_at: '2999-01-01T00:00:00Z',
      duration_seconds: 60,
      monitors: [{ monitor_tag: tag }],
    }
    await replica.call(admin.token, 'POST /api/maintenances', work)
  }
  const wrong = formatToken({ ...generateTokenParts(), id: admin.id })
  return {
    admin: admin.token,
    known: {
      keyIds: keys.map(({ id }) => id),
      incidentIds: [1, 2, 3],
      commentIds: [1, 2, 3],
      // One of each, so that random ids of an event and a maintenance usually match.
      maintenanceIds: [1],
      eventIds: [1],
      tags,
      seconds: [Date.UTC(2026, 0, 1) / 1000],
    },
    others: [
      ...[
        reader.token,
        revoked.token,
        wrong,
        formatToken(generateTokenParts()),
        '',
        'x'.repeat(5_000),
        '\xe9',
      ].map((key) => `Bearer ${key}`),
      '',
      'Basic eDp5',
      'Bearer',
      `bearer ${admin.token}`,
      `Bearer  ${admin.token}`,
      admin.token,
    ],
  }
}

/** Detects all writes, including those that are rolled back, and restores the tables. */
async function watchTables({ db }: Replica) {
  const { rows } = await sql<{ name: string }>`
    select table_name as name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE'`.execute(db)
  const names = rows.map(({ name }) => name).filter((name) => !name.includes('migration'))
  await sql`create schema watched`.execute(db)
  await sql`create table watched.changes (seq bigint generated always as identity, what text not null)`.execute(
    db,
  )
  const lastUse = sql.lit('{last_used_at,last_used_address}')
  await sql`
    create function watched.note() returns trigger language plpgsql as $$
    begin
      if tg_op = 'UPDATE' and to_jsonb(old) - ${lastUse}::text[] = to_jsonb(new) - ${lastUse}::text[] then
        return null;
      end if;
      insert into watched.changes (what) values (tg_op || ' of ' || tg_table_name);
      return null;
    end $$`.execute(db)
  for (const name of names) {
    await sql`create table watched.${sql.id(name)} as table public.${sql.id(name)}`.execute(db)
    if (countersOnly.includes(name)) continue
    await sql`
      create trigger watch after insert or update or delete on public.${sql.id(name)}
      for each row execute function watched.note()`.execute(db)
  }
  const all = sql.join(names.map((name) => sql`public.${sql.id(name)}`))
  const restore = names.map(
    (name) => sql`insert into public.${sql.id(name)} overriding system value table watched.${sql.id(name)}`,
  )
  async function reset(): Promise<void> {
    await db.transaction().execute(async (transaction) => {
      await sql`set local session_replication_role = replica`.execute(transaction)
      await sql`truncate ${all}, watched.changes`.execute(transaction)
      for (const statement of restore) await statement.execute(transaction)
    })
  }
  async function readChanges(): Promise<string[]> {
    const changes = await sql<{ what: string }>`select what from watched.changes order by seq`.execute(db)
    return changes.rows.map(({ what }) => what)
  }
  return { reset, readChanges }
}

/** Does not use inject, because it normalizes URLs. */
function createClient(t: Test, port: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  t.teardown(() => {
    agent.destroy()
  })
  return async ({ method, url, headers, body }: WireRequest): Promise<Reply> => {
    const length = body === null ? {} : { 'content-length': body.length }
    const reply = await new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest(
        { agent, port, host: '127.0.0.1', method, path: url, headers: { ...headers, ...length } },
        resolve,
      )
        .on('error', reject)
        .end(body ?? undefined)
    })
    const text = await readAll(reply)
    const isJson = reply.headers['content-type']?.startsWith('application/json')
    const json = isJson && text !== '' ? JSON.parse(text) : undefined
    return { statusCode: reply.statusCode ?? 0, headers: reply.headers, body: text, json }
  }
}

/** Checks what applies to every response. */
function checkEnvelope(
  { method, url, headers: sent }: WireRequest,
  { statusCode, headers, body, json }: Reply,
): void {
  expect(statusCode < 500, 'no internal error')
  const requestId = String(headers['x-request-id'])
  expect(
    requestId === sent['x-request-id'] || /^[0-9a-f-]{36}$/.test(requestId),
    'X-Request-Id, of the caller or generated by the service',
  )
  expect(headers['set-cookie'] === undefined || !url.startsWith('/api'), 'no cookie')
  if (statusCode === 401) expect(headers['www-authenticate'] !== undefined, 'WWW-Authenticate')
  else if (headers['x-ratelimit-limit'] !== undefined)
    expect(Number(headers['x-ratelimit-remaining']) >= 0, 'the remaining requests')
  if (statusCode === 405) expect(headers.allow !== undefined, 'Allow')
  if (method === 'HEAD' || statusCode === 204 || statusCode === 304) {
    expect(body === '', 'no body')
    return
  }
  // Feeds, badges and /api/v2 have formats of their own, which their descriptions contain.
  if (statusCode < 300 && headers['access-control-allow-origin'] !== undefined) return
  expect(headers['content-type'] === 'application/json; charset=utf-8', 'JSON')
  const isKeners = url.startsWith('/api/v4')
  if (statusCode < 300 && isKeners) {
    expect(!('success' in json), 'in the format of Kener')
    return
  }
  if (statusCode < 300) {
    expect(json.success === true && 'data' in json, 'success and data')
    const rest = Object.keys(json).filter((name) => !['success', 'data', 'pagination'].includes(name))
    expect(rest.length === 0, 'nothing else')
    return
  }
  const { success, error, ...rest } = json
  expect(success === false && Object.keys(rest).length === 0, 'success and error')
  const expected = isKeners && statusCode === 400 ? ['BAD_REQUEST', 'INVALID_REQUEST'] : codes[statusCode]
  expect(expected?.includes(error.code as string) ?? false, `the code of ${statusCode}`)
  expect(typeof error.message === 'string' && error.message !== '', 'a message')
  const allowed =
    statusCode === 400 || statusCode === 431 ? ['code', 'message', 'details'] : ['code', 'message']
  expect(
    Object.keys(error).every((name) => allowed.includes(name)),
    'only code, message and details',
  )
  const details = (error.details ?? []) as unknown[]
  expect(error.code !== 'INVALID_REQUEST' || details.length > 0, 'details with a path')
  expect(body.length < 20_000, 'a short body')
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(`Expected ${what}`)
}

function describe({ method, url, headers, body }: WireRequest): string {
  return `${method} ${url} ${JSON.stringify(headers)} ${JSON.stringify(body?.toString('latin1').slice(0, 500) ?? null)}`
}
