import { execFileSync } from 'node:child_process'
import { constants, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { formatToken, generateTokenParts } from '../src/keys/token.ts'
import { bufferedOutput } from '../src/log.ts'
import { expire, newKey, startReplica, times, waitUntil } from './helper.ts'
import { temporaryDirectory } from './process.ts'
import { logIn, readHidden, visit } from './visitor.ts'

await t.test(
  'a request is logged in one line: its id, method, route, key, status and duration',
  async (t) => {
    const replica = await startReplica(t)
    const { token, id } = await newKey(replica)
    const reply = await replica.call(token, 'GET /api/keys/some?limit=5')
    const lines = replica.log.filter((line) => line.reqId === reply.headers['x-request-id'])
    const [line] = lines.filter(({ msg }) => msg === 'request completed')
    t.match(line, { level: 30, method: 'GET', route: '/api/keys/:id', keyId: id, status: 400 })
    t.type(line?.durationMs, 'number')
    t.equal(lines.filter(({ msg }) => msg === 'request completed').length, 1)
  },
)

await t.test(
  'the id and the trace of a caller are logged, and the id is sent back and audited',
  async (t) => {
    const replica = await startReplica(t)
    const { token, id } = await newKey(replica)
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
    const parentId = '00f067aa0ba902b7'
    const send = async (headers: Record<string, string>) => {
      const reply = await replica.call(token, `PATCH /api/keys/${id}`, { description: null }, { headers })
      const requestId = String(reply.headers['x-request-id'])
      const [line] = replica.log.filter(
        ({ reqId, msg }) => reqId === requestId && msg === 'request completed',
      )
      return { requestId, trace: [line?.trace_id, line?.parent_span_id] }
    }
    const uuid = /^[0-9a-f]{8}-[0-9a-f-]{27}$/
    for (const accepted of [
      'x',
      '01J8Z3.a_b:c;d=e+f/g@h',
      'Root=1-67891233-abcdef012345678912345678',
      'a'.repeat(128),
    ])
      t.equal((await send({ 'x-request-id': accepted })).requestId, accepted)
    for (const ignored of [
      '',
      ' ',
      'a b',
      'a, b',
      '"',
      '<b>',
      'a\\',
      '\xe9',
      'a'.repeat(129),
      token,
      `id:${token}`,
    ])
      t.match((await send({ 'x-request-id': ignored })).requestId, uuid, ignored)

    const trace = async (traceparent: string) => (await send({ traceparent })).trace
    for (const valid of [
      `00-${traceId}-${parentId}-01`,
      `00-${traceId}-${parentId}-00`,
      `cc-${traceId}-${parentId}-01-x`,
    ])
      t.same(await trace(valid), [traceId, parentId], valid)
    for (const invalid of [
      '',
      traceId,
      `ff-${traceId}-${parentId}-01`,
      `00-${traceId}-${parentId}-01-x`,
      `00-${traceId}-${parentId}-1`,
      `00-${traceId.toUpperCase()}-${parentId}-01`,
      `00-${'0'.repeat(32)}-${parentId}-01`,
      `00-${traceId}-${'0'.repeat(16)}-01`,
      `00-${traceId}-${parentId}-01, 00-${traceId}-${parentId}-01`,
    ])
      t.same(await trace(invalid), [undefined, undefined], invalid)

    const body = { name: 'n', permissions: ['admin'] }
    const created = await replica.call(token, 'POST /api/keys', body, {
      headers: { 'x-request-id': 'deploy-7' },
    })
    const { data } = (await replica.call(token, `GET /api/audit?target=${String(created.json.data.id)}`)).json
    t.equal(data[0].request_id, 'deploy-7')
  },
)

await t.test('security events have stable names', async (t) => {
  const replica = await startReplica(t, { config: { authFailureLimitMax: 8 } })
  const { token: admin, id: adminId } = await newKey(replica)
  const event = (name: string) => replica.log.filter((line) => line.event === name)

  const created = await replica.call(admin, 'POST /api/keys', {
    name: 'n',
    permissions: ['read:monitors'],
    rate_limit: 1,
  })
  const { id, key } = created.json.data
  t.match(event('key_created'), [{ subjectKeyId: id, keyId: adminId, address: '127.0.0.1' }])
  t.equal(event('key_created')[0]?.reqId, created.headers['x-request-id'])
  await replica.call(admin, `PATCH /api/keys/${String(id)}`, { name: 'm' })
  t.match(event('key_changed'), [{ subjectKeyId: id, fields: ['name'] }])
  await replica.call(key, 'GET /api/keys')
  t.match(event('forbidden'), [{ keyId: id, reason: 'admin' }])
  await times(3, () => replica.call(key, 'GET /api/me'))
  t.match(event('rate_limit_exceeded')[0], { keyId: id, reason: 'key' })
  const rotated = await replica.call(admin, `POST /api/keys/${String(id)}/rotate`)
  t.match(event('key_rotated'), [{ subjectKeyId: id, successorKeyId: rotated.json.data.id }])
  await replica.call(admin, `POST /api/keys/${String(id)}/revoke`)
  t.match(event('key_revoked'), [{ subjectKeyId: id }])

  const expired = await newKey(replica)
  await expire(replica, expired.id)
  const unknown = generateTokenParts()
  const wrong = formatToken({ ...unknown, id: expired.id })
  for (const presented of [null, 'x', formatToken(unknown), wrong, expired.token, key]) {
    await replica.call(presented, 'GET /api/me')
  }
  t.same(
    event('authentication_failed').map(({ reason }) => reason),
    ['missing', 'malformed', 'unknown', 'wrong_secret', 'expired', 'revoked'],
  )
  t.same(
    event('authentication_failed').map(({ presentedKeyId }) => presentedKeyId),
    [undefined, undefined, unknown.id, expired.id, expired.id, id],
  )
  t.ok(event('authentication_failed').every((line) => line.address === '127.0.0.1'))
  // A new minute may start meanwhile.
  await waitUntil(async () => {
    await replica.call('x', 'GET /api/me')
    return event('rate_limit_exceeded').at(-1)?.reason === 'authentication_failures'
  })
})

await t.test('log-ins, failed log-ins and log-outs are events with the key and the address', async (t) => {
  const replica = await startReplica(t)
  const admin = await newKey(replica)
  await visit(replica.app).submit('/manage/login', { key: 'kener_x' })
  const visitor = await logIn(replica.app, admin.token)
  await visitor.submit('/manage', {}, '/manage/logout')
  const anonymous = visit(replica.app)
  const { body } = await anonymous.get('/manage/login')
  const reply = await anonymous.post('/manage/logout', readHidden(body, '/manage/login'))
  t.equal(reply.statusCode, 303)
  const sessions = replica.log.filter(({ event }) => /^log/.test(String(event)))
  t.match(sessions, [
    { event: 'log_in_failed', reason: 'malformed', address: '127.0.0.1' },
    { event: 'logged_in', keyId: admin.id, address: '127.0.0.1' },
    { event: 'logged_out', keyId: admin.id, address: '127.0.0.1' },
  ])
  t.equal(sessions.length, 3, 'a log-out without a session is not an event')
  t.ok(sessions.every(({ reqId }) => typeof reqId === 'string'))
})

await t.test('docs/operations.md describes exactly the events that are logged', async (t) => {
  const project = join(import.meta.dirname, '../..')
  const operations = readFileSync(join(project, 'docs/operations.md'), 'utf8')
  const [, table = ''] = /\n## The log\n(.*?)\n## /s.exec(operations) ?? []
  const described = table.matchAll(/^\| `([a-z_]+)` /gm)
  const sources = readdirSync(join(project, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name))
    .map((name) => readFileSync(join(project, 'src', name), 'utf8'))
    .join('')
  const logged = sources.matchAll(/(?:event: |\b4\d\d: )'([a-z_]+)'/g)
  t.same(new Set([...described].map(([, name]) => name)), new Set([...logged].map(([, name]) => name)))
})

await t.test('keys never appear in logs, wherever a client puts them', async (t) => {
  const replica = await startReplica(t)
  const { token: admin } = await newKey(replica)
  const created = await replica.call(admin, 'POST /api/keys', { name: 'n', permissions: ['admin'] })
  const { id, key } = created.json.data
  const rotated = await replica.call(admin, `POST /api/keys/${String(id)}/rotate`, { overlap_seconds: 60 })
  const keys = [admin, key as string, rotated.json.data.key as string]
  for (const secret of keys) {
    await replica.call(null, `GET /api/me?access_token=${secret}`)
    await replica.call(admin, `GET /api/keys/${secret}`)
    await replica.call(admin, `GET /api/${secret}`)
    await replica.call(admin, `GET /${secret}`)
    await replica.call(admin, `GET /api/%zz${secret}`)
    await replica.call(`${secret}x`, 'GET /api/me')
    await replica.call(admin, 'POST /api/keys', { name: secret.repeat(2), permissions: ['admin'] })
    await replica.call(null, 'GET /api/me', undefined, {
      headers: { cookie: secret, 'user-agent': secret, 'x-request-id': secret, traceparent: secret },
    })
  }
  await replica.db.schema.dropTable('rate_counters').execute()
  for (const secret of keys) await replica.call(secret, 'GET /api/me')
  const log = JSON.stringify(replica.log)
  t.ok(log.length > 10_000)
  for (const secret of keys) t.notOk(log.includes(secret.slice(23)), 'the log contains no secret')
  t.notMatch(log, /argon2id/, 'the log contains no hash')
})

await t.test('a request with a URL that cannot be decoded is logged too', async (t) => {
  const replica = await startReplica(t)
  const reply = await replica.call('kener_x', 'GET /api/%zz')
  t.equal(reply.statusCode, 401)
  const lines = replica.log.filter(
    (line) => line.reqId === reply.headers['x-request-id'] && line.status === 401,
  )
  t.match(lines, [{ event: 'authentication_failed', reason: 'malformed' }])
})

await t.test('a reader that is stuck loses the newest lines, and learns how many', async (t) => {
  const path = join(temporaryDirectory(t), 'pipe')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  const losses: number[] = []
  const { write } = bufferedOutput(writer, (lines) => losses.push(lines))
  const sent = 2_500
  for (let count = 0; count < sent; count++) write(`${String(count).padEnd(999)}\n`)

  let text = ''
  const chunk = Buffer.alloc(1_000_000)
  await waitUntil(() => {
    try {
      text += chunk.toString('latin1', 0, readSync(reader, chunk))
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
    }
    return losses.length > 0
  })
  const numbers = text.trimEnd().split('\n').map(Number)
  t.same(
    numbers,
    numbers.map((_, index) => index),
    'complete lines, from the first on',
  )
  t.same(losses, [sent - numbers.length])
})

await t.test('lines that a full disk rejects are kept, up to a limit, and cause no error', (t) => {
  const output = bufferedOutput(openSync('/dev/full', 'w'), () => undefined)
  for (let count = 0; count < 2_000; count++) output.write('x'.repeat(1_000))
  output.flushBeforeExit()
  t.pass('no error')
  t.end()
})
