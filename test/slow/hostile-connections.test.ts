import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { formatToken, generateTokenParts } from '../../src/keys/token.ts'
import {
  isWaitingForLock,
  newKey,
  patientTimeouts,
  type Replica,
  startReplica,
  waitUntil,
} from '../helper.ts'
import { conditionTimeoutMs } from '../timeouts.ts'

type RawReply = { status: number; headers: Record<string, string>; body: string }

type Listening = Replica & {
  admin: { token: string; id: string }
  open: () => Promise<Socket>
  /** Sends these bytes on a new connection. Resolves when the service has closed it. */
  exchange: (...bytes: (string | Buffer)[]) => Promise<RawReply[]>
  countKeys: () => Promise<number>
}

async function startListening(t: Test, timeouts = patientTimeouts): Promise<Listening> {
  const replica = await startReplica(t, { timeouts })
  await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = replica.app.server.address() as { port: number }
  const admin = await newKey(replica)

  async function open(): Promise<Socket> {
    const socket = connect({ port, host: '127.0.0.1' })
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    return socket
  }
  // RFC 9112, section 9.6: a response can be lost if the connection is closed while the client still sends.
  async function exchange(...bytes: (string | Buffer)[]): Promise<RawReply[]> {
    for (let attempt = 1; ; attempt++) {
      const socket = await open()
      const received = receive(socket)
      for (const part of bytes) socket.write(part)
      const text = await received
      const isLost = text === '' && ['ECONNRESET', 'EPIPE'].includes(String(errorCodes.get(socket)))
      if (!isLost || attempt === 10) return parseReplies(text)
    }
  }
  const countKeys = async () => (await replica.db.selectFrom('api_keys').select('id').execute()).length
  return { ...replica, admin, open, exchange, countKeys }
}

const errorCodes = new WeakMap<Socket, unknown>()

/** Reads until the connection ends. It may be reset, because a rejected request is not read completely. */
async function receive(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (chunk) => (text += chunk.toString('latin1')))
  socket.on('error', (error) => errorCodes.set(socket, 'code' in error && error.code))
  await once(socket, 'close', { signal: AbortSignal.timeout(conditionTimeoutMs) })
  return text
}

/** Throws if there are bytes between or after the responses. */
function parseReplies(text: string): RawReply[] {
  const replies: RawReply[] = []
  let rest = text
  while (rest !== '') {
    const [head = ''] = rest.split('\r\n\r\n', 1)
    const [first = '', ...lines] = head.split('\r\n')
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1])
    if (!status) throw new Error(`This is no reply: ${JSON.stringify(rest.slice(0, 200))}`)
    const headers = Object.fromEntries(
      lines.map((line) => [line.split(':', 1)[0]?.toLowerCase(), line.replace(/^[^:]*: */, '')]),
    ) as Record<string, string>
    const end = head.length + 4 + Number(headers['content-length'] ?? 0)
    replies.push({ status, headers, body: rest.slice(head.length + 4, end) })
    rest = rest.slice(end)
  }
  return replies
}

async function isWithoutConnections({ server }: Replica['app']): Promise<boolean> {
  return (await promisify(server.getConnections.bind(server))()) === 0
}

function isRefusal(t: Test, replies: RawReply[], status: number, code: string, name: string): void {
  t.equal(replies.length, 1, `${name}: one reply`)
  const { headers, body, ...reply } = replies[0] ?? { status: 0, headers: {}, body: '{}' }
  t.equal(reply.status, status, `${name}: status`)
  t.match(headers['x-request-id'], /./, `${name}: X-Request-Id`)
  t.match(headers['content-type'], 'application/json; charset=utf-8', `${name}: type`)
  const json = JSON.parse(body)
  t.match(json, { success: false, error: { code, message: /./ } }, `${name}: ${body}`)
  t.same(Object.keys(json), ['success', 'error'], name)
}

const host = 'host: kener.test\r\nconnection: close\r\n'
const keepAlive = 'host: kener.test\r\n'
const json = 'content-type: application/json\r\n'
const bearer = (key: string) => `authorization: Bearer ${key}\r\n`
const newKeyBody = JSON.stringify({ name: 'smuggled', permissions: ['admin'] })
const chunked = (text: string, extension = '') =>
  `${text.length.toString(16)}${extension}\r\n${text}\r\n0\r\n\r\n`

await t.test('a request with two Authorization headers is rejected', async (t) => {
  const { admin, exchange, db, ...replica } = await startListening(t)
  const other = await newKey({ db }, { permissions: ['read:monitors'] })
  const pairs = [
    [bearer(admin.token), bearer(other.token)],
    [bearer(other.token), bearer(admin.token)],
    [bearer(admin.token), bearer(admin.token)],
    [bearer(admin.token), 'authorization: Basic eDp5\r\n'],
    ['authorization: Basic eDp5\r\n', bearer(admin.token)],
    [bearer(admin.token), 'authorization:\r\n'],
    [bearer(`${admin.token}, Bearer ${other.token}`)],
    [bearer(`${admin.token} ${other.token}`)],
  ]
  for (const headers of pairs) {
    const replies = await exchange(`GET /api/me HTTP/1.1\r\n${host}${headers.join('')}\r\n`)
    isRefusal(t, replies, 401, 'UNAUTHORIZED', headers.join(' and '))
    t.equal(replies[0]?.headers['x-ratelimit-limit'], undefined, 'no quota is consumed')
  }
  const counters = await db.selectFrom('rate_counters').select('key_id').execute()
  t.same(counters, [])
  t.notOk(JSON.stringify(replica.log).includes(admin.token.slice(-49)), 'no key is logged')
})

await t.test('an ambiguous message is rejected, and its connection is closed', async (t) => {
  const { admin, exchange, countKeys } = await startListening(t)
  const post = `POST /api/keys HTTP/1.1\r\n${host}${bearer(admin.token)}${json}`
  const length = `content-length: ${newKeyBody.length}\r\n`
  const hidden = `POST /api/keys HTTP/1.1\r\n${host}${bearer(admin.token)}${json}${length}\r\n${newKeyBody}`
  const get = `GET /api/me HTTP/1.1\r\n${host}`
  const cases: [name: string, bytes: string][] = [
    ['two lengths', `${post}${length}content-length: 0\r\n\r\n${newKeyBody}`],
    ['the same length twice', `${post}${length}${length}\r\n${newKeyBody}`],
    ['a list of lengths', `${post}content-length: 0, ${newKeyBody.length}\r\n\r\n${newKeyBody}`],
    ['a signed length', `${post}content-length: +${newKeyBody.length}\r\n\r\n${newKeyBody}`],
    [
      'a length and chunks',
      `${post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    [
      'chunks and a length',
      `${post}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    ['chunked not last', `${post}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`],
    ['an unknown encoding', `${post}transfer-encoding: xchunked\r\n\r\n${chunked(newKeyBody)}`],
    ['a chunk of no size', `${post}transfer-encoding: chunked\r\n\r\nzz\r\n${newKeyBody}\r\n0\r\n\r\n`],
    [
      'a chunk longer than its size',
      `${post}transfer-encoding: chunked\r\n\r\n2\r\n${newKeyBody}\r\n0\r\n\r\n`,
    ],
    ['a space before the colon', `${get}authorization : Bearer ${admin.token}\r\n\r\n`],
    ['a folded line', `${get}authorization: Bearer\r\n ${admin.token}\r\n\r\n`],
    ['bare line feeds', `GET /api/me HTTP/1.1\n${host}${bearer(admin.token)}\n`],
    ['NUL in a header', `${get}${bearer(admin.token)}x: a\0b\r\n\r\n`],
    ['NUL in the key', `${get}${bearer(`${admin.token}\0`)}\r\n`],
    ['NUL in the path', `GET /api/me\0 HTTP/1.1\r\n${host}${bearer(admin.token)}\r\n`],
    ['a space in the path', `GET /api/me x HTTP/1.1\r\n${host}${bearer(admin.token)}\r\n`],
    ['an unknown method', `FETCH /api/me HTTP/1.1\r\n${host}${bearer(admin.token)}\r\n`],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ]
  for (const [name, bytes] of cases) {
    isRefusal(t, await exchange(Buffer.from(bytes, 'latin1')), 400, 'INVALID_REQUEST', name)
  }
  t.equal(await countKeys(), 1)
})

await t.test('headers of more than 16 KiB are 431, in the envelope', async (t) => {
  const { admin, exchange } = await startListening(t)
  const many = Array.from({ length: 10_000 }, (_, index) => `x${index}: 1\r\n`).join('')
  const cases: [name: string, headers: string][] = [
    ['one of 100 KB', `x: ${'a'.repeat(100_000)}\r\n`],
    ['10,000', many],
    ['a key of 100 KB', bearer('k'.repeat(100_000))],
  ]
  for (const [name, headers] of cases) {
    const replies = await exchange(`GET /api/me HTTP/1.1\r\n${host}${bearer(admin.token)}${headers}\r\n`)
    isRefusal(t, replies, 431, 'INVALID_REQUEST', name)
  }
})

await t.test(
  'headers must arrive within 15 s and a request within 30 s, or the connection is closed',
  async (t) => {
    const { admin, app, open, countKeys } = await startListening(t)
    t.match(app.server, { headersTimeout: 15_000, requestTimeout: 30_000 })
    // Node checks the timeouts every two seconds, so that they can be reduced here.
    app.server.headersTimeout = 200
    app.server.requestTimeout = 400
    const unfinished = [
      '',
      'GET /api/me HTT',
      `GET /api/me HTTP/1.1\r\n${host}${bearer(admin.token)}x: `,
      `POST /api/keys HTTP/1.1\r\n${host}${bearer(admin.token)}${json}content-length: ${newKeyBody.length}\r\n\r\n${newKeyBody.slice(0, -1)}`,
      `POST /api/keys HTTP/1.1\r\n${host}${bearer(admin.token)}${json}transfer-encoding: chunked\r\n\r\n${chunked(newKeyBody).slice(0, -2)}`,
    ]
    await Promise.all(
      unfinished.map(async (bytes) => {
        const socket = await open()
        const received = receive(socket)
        socket.write(bytes)
        const replies = parseReplies(await received)
        isRefusal(t, replies, 408, 'INVALID_REQUEST', JSON.stringify(bytes.slice(-20)))
      }),
    )
    t.equal(await countKeys(), 1)
  },
)

await t.test('pipelined requests are answered in order, and each counts against the limit', async (t) => {
  const { call, admin, exchange, db } = await startListening(t)
  const tags = Array.from({ length: 20 }, (_, index) => `m${index}`)
  for (const tag of tags) await call(admin.token, 'POST /api/monitors', { tag, name: tag })
  const { token } = await newKey({ db }, { permissions: ['read:monitors'], rateLimit: 12 })
  const gets = tags.map((tag, index) => {
    const headers = index === tags.length - 1 ? host : keepAlive
    return `GET /api/monitors/${tag} HTTP/1.1\r\n${headers}${bearer(token)}\r\n`
  })
  const replies = await exchange(gets.join(''))
  t.equal(replies.length, 20)
  const passed = replies.map(({ status, body }, index) =>
    status === 200 ? JSON.parse(body).data.tag === tags[index] : status === 429 && undefined,
  )
  t.notOk(passed.includes(false), 'each response belongs to its request')
  // A new minute may start between them.
  for (const reset of new Set(replies.map(({ headers }) => headers['x-ratelimit-reset']))) {
    const window = replies.filter(({ headers }) => headers['x-ratelimit-reset'] === reset)
    const count = window.filter(({ status }) => status === 200).length
    t.equal(count, Math.min(12, window.length), 'exactly the limit passes')
  }
})

await t.test(
  'an error after a valid request on its connection is not sent in place of its response',
  async (t) => {
    const { admin, exchange, countKeys } = await startListening(t)
    const post = `POST /api/keys HTTP/1.1\r\n${keepAlive}${bearer(admin.token)}${json}`
    const cases = [
      `${post}content-length: ${newKeyBody.length}\r\n\r\n${newKeyBody}`,
      `${post}transfer-encoding: chunked\r\n\r\n${chunked(newKeyBody)}`,
    ]
    for (const good of cases) {
      const [first, ...rest] = await exchange(`${good}garbage\r\n\r\n`)
      t.equal(first?.status, 201, 'the valid request is answered')
      isRefusal(t, rest, 400, 'INVALID_REQUEST', 'the garbage')
    }
    const [first, second, ...rest] = await exchange(`${cases.join('')}\0`)
    t.same([first?.status, second?.status], [201, 201])
    isRefusal(t, rest, 400, 'INVALID_REQUEST', 'after two requests')
    t.equal(await countKeys(), 5)
  },
)

await t.test('a client that disconnects within a body leaves nothing behind', async (t) => {
  const { call, admin, open, log, statements, countKeys } = await startListening(t)
  await call(admin.token, 'GET /api/me')
  const post = `POST /api/keys HTTP/1.1\r\n${keepAlive}${bearer(admin.token)}${json}`
  const cases = [
    `${post}content-length: ${newKeyBody.length + 1}\r\n\r\n${newKeyBody}`,
    `${post}transfer-encoding: chunked\r\n\r\n${chunked(newKeyBody).slice(0, -2)}`,
  ]
  for (const bytes of cases) {
    for (const leave of ['destroy', 'resetAndDestroy', 'end'] as const) {
      log.length = 0
      statements.length = 0
      const socket = await open()
      socket.on('error', () => undefined)
      socket.write(bytes)
      await waitUntil(() => statements.length > 0)
      socket[leave]()
      await waitUntil(() => log.some(({ msg }) => msg === 'request completed'))
      t.match(log.at(-1), { status: 400 }, leave)
      const warnings = log.filter(({ level }) => Number(level) > 30)
      t.same(warnings, [], 'no error of the service or the database is logged')
    }
  }
  t.equal(await countKeys(), 1)
})

await t.test(
  'a request whose client disconnects before the response is logged, and does not delay the shutdown',
  async (t) => {
    const { app, admin, open, log, db, countKeys } = await startListening(t, {
      ...patientTimeouts,
      // Otherwise requests could be rejected before the test sees them wait.
      admissionLockMs: conditionTimeoutMs,
    })
    const get = `GET /api/me HTTP/1.1\r\n${keepAlive}`
    const post = `POST /api/keys HTTP/1.1\r\n${keepAlive}${bearer(admin.token)}${json}`
    const wrong = formatToken({ ...generateTokenParts(), id: admin.id })
    const cases: [line: object, bytes: string][] = [
      [{ status: 400, keyId: admin.id }, `${get}${bearer(admin.token)}\r\n`],
      [{ status: 401, event: 'authentication_failed' }, `${get}${bearer(wrong)}\r\n`],
      [{ status: 400 }, `${post}content-length: ${newKeyBody.length}\r\n\r\n${newKeyBody}`],
      [{ status: 400 }, `${post}content-length: ${newKeyBody.length + 1}\r\n\r\n${newKeyBody}`],
    ]
    for (const [line, bytes] of cases) {
      log.length = 0
      await db.transaction().execute(async (lock) => {
        await sql`lock table api_keys in access exclusive mode`.execute(lock)
        const socket = await open()
        socket.write(bytes)
        await waitUntil(() => isWaitingForLock(db))
        socket.destroy()
        await waitUntil(() => isWithoutConnections(app))
      })
      await waitUntil(() => log.some(({ msg }) => msg === 'request completed'))
      t.match(log, [{ ...line, msg: 'request completed' }], bytes.slice(0, 20))
      const waited = await Promise.race([
        app.waitUntilIdle().then(() => false),
        delay(5_000, true, { ref: false }),
      ])
      t.notOk(waited, 'no request is in flight')
    }
    t.equal(await countKeys(), 1)
  },
)

await t.test('a request must have one Host header; in HTTP/1.0 it is optional', async (t) => {
  const { admin, exchange } = await startListening(t)
  const missing = await exchange(`GET /api/me HTTP/1.1\r\nconnection: close\r\n${bearer(admin.token)}\r\n`)
  isRefusal(t, missing, 400, 'INVALID_REQUEST', 'none')
  const twice = await exchange(
    `GET /api/me HTTP/1.1\r\n${host}host: other.test\r\n${bearer(admin.token)}\r\n`,
  )
  isRefusal(t, twice, 400, 'INVALID_REQUEST', 'two')
  const [old, ...more] = await exchange(`GET /api/me HTTP/1.0\r\n${bearer(admin.token)}\r\n`)
  t.equal(old?.status, 200)
  t.equal(more.length, 0)
})

await t.test('unusual targets and methods are rejected', async (t) => {
  const { admin, exchange } = await startListening(t)
  const key = bearer(admin.token)
  const upgrade = 'connection: upgrade\r\nupgrade: '
  const cases: [status: number, code: string | null, first: string, headers: string][] = [
    [200, null, 'GET http://elsewhere.test/api/me', key],
    [401, 'UNAUTHORIZED', 'GET http://elsewhere.test/api/me', ''],
    // RFC 9110, section 9.3.7: about the server in general. The status page has a preflight.
    [204, null, 'OPTIONS *', key],
    [405, 'METHOD_NOT_ALLOWED', 'OPTIONS /api/me', key],
    [401, 'UNAUTHORIZED', 'OPTIONS /api/me', ''],
    [405, 'METHOD_NOT_ALLOWED', 'TRACE /api/me', key],
    [401, 'UNAUTHORIZED', 'TRACE /api/me', ''],
    [405, 'METHOD_NOT_ALLOWED', 'CONNECT elsewhere.test:443', ''],
    [405, 'METHOD_NOT_ALLOWED', 'CONNECT /api/me', key],
    [405, 'METHOD_NOT_ALLOWED', 'PURGE /api/me', key],
    [405, 'METHOD_NOT_ALLOWED', 'QUERY /api/me', key],
    [405, 'METHOD_NOT_ALLOWED', 'QUERY /api/me', `${key}${json}`],
    [200, null, 'GET /api/me', `${key}${upgrade}websocket\r\nsec-websocket-key: eA==\r\n`],
    [200, null, 'GET /api/me', `${key}${upgrade}h2c\r\nhttp2-settings: AAMAAABk\r\n`],
    [401, 'UNAUTHORIZED', 'GET /api/me', `${upgrade}websocket\r\n`],
  ]
  for (const [status, code, first, headers] of cases) {
    const replies = await exchange(`${first} HTTP/1.1\r\n${host}${headers}\r\n`)
    if (code !== null) isRefusal(t, replies, status, code, first)
    else t.same([replies.length, replies[0]?.status], [1, status], first)
    t.notMatch(replies[0]?.body, /sec-websocket-key|kener_/i, 'no part of the request is returned')
  }
})

await t.test('a CONNECT whose client resets or keeps the connection is harmless', async (t) => {
  const { app, open, exchange, admin } = await startListening(t)
  for (let round = 0; round < 20; round++) {
    const socket = await open()
    socket.on('error', () => undefined)
    socket.write(`CONNECT elsewhere.test:443 HTTP/1.1\r\n${host}\r\n`)
    if (round % 2 === 0) await once(socket, 'readable')
    socket.resetAndDestroy()
  }
  const kept = await open()
  kept.resume().write(`CONNECT elsewhere.test:443 HTTP/1.1\r\n${host}\r\n`)
  await once(kept, 'close')
  const connections = promisify(app.server.getConnections.bind(app.server))
  while ((await connections()) > 0) await delay(10)
  t.equal((await exchange(`GET /api/me HTTP/1.1\r\n${host}${bearer(admin.token)}\r\n`))[0]?.status, 200)
})

await t.test(
  'pipelined requests whose client disconnects are logged, and do not delay the shutdown',
  async (t) => {
    const { app, open, log } = await startListening(t)
    const socket = await open()
    const guess = `GET /api/me HTTP/1.1\r\nhost: kener.test\r\n${bearer(formatToken(generateTokenParts()))}\r\n`
    const seen = new Promise((resolve) => {
      app.server.once('request', resolve)
    })
    socket.write(guess.repeat(10))
    await seen
    socket.resetAndDestroy()
    await app.waitUntilIdle()
    const guesses = () => log.filter(({ event }) => event === 'authentication_failed').length
    while (guesses() < 10) await delay(10)
    t.equal(guesses(), 10, 'one line per request')
  },
)

await t.test('paths are not normalized', async (t) => {
  const { admin, exchange } = await startListening(t)
  const cases: [path: string, withKey: number, without: number][] = [
    ['/api/keys/../me', 404, 401],
    ['/api/keys/%2e%2e/me', 404, 401],
    ['/docs/../api/me', 404, 404],
    ['/manage/../api/me', 303, 303],
    ['/healthz/../api/me', 404, 404],
    ['//api/me', 404, 404],
    ['/api//me', 404, 401],
    ['/api/me/', 200, 401],
    ['/api/./me', 404, 401],
    ['/API/me', 404, 404],
    ['/%61pi/%6de', 200, 401],
    ['/%61pi/%zz', 400, 401],
    ['/api%2fme', 404, 404],
    ['/api/status%2f..%2fkeys', 404, 401],
    ['/api/status;/keys', 404, 401],
    ['/api/me%00', 404, 401],
    ['/api/monitors/%00', 400, 401],
    ['/api/monitors/%ff', 400, 401],
    ['/api/monitors/%zz', 400, 401],
    ['/api/monitors/%', 400, 401],
    ['/api/monitors/..%2f..%2fetc%2fpasswd', 404, 401],
    ['/api/monitors/%252e', 404, 401],
    [`/api/monitors/${'x'.repeat(5_000)}`, 404, 401],
    [`/api/${'a/'.repeat(5_000)}`, 404, 401],
    ['/manage/%zz', 400, 400],
    ['/docs/%zz', 400, 400],
    ['/badge/%zz/status', 400, 400],
    ['/manage/assets/..%2f..%2findex.js', 303, 303],
    ['/manage/assets/%2e%2e/index.js', 303, 303],
    ['/docs/..%2f..%2f..%2fpackage.json', 404, 404],
  ]
  for (const [path, withKey, without] of cases) {
    const name = path.slice(0, 60)
    const [known] = await exchange(`GET ${path} HTTP/1.1\r\n${host}${bearer(admin.token)}\r\n`)
    t.equal(known?.status, withKey, `${name} with a key`)
    const [anonymous] = await exchange(`GET ${path} HTTP/1.1\r\n${host}\r\n`)
    t.equal(anonymous?.status, without, `${name} without a key`)
    t.match(anonymous?.headers['x-request-id'], /./, name)
  }
})

await t.test('a body larger than 1 MiB is 413 in every transfer encoding', async (t) => {
  const { admin, exchange, open, countKeys } = await startListening(t)
  const post = `POST /api/keys HTTP/1.1\r\n${host}${bearer(admin.token)}${json}`
  const large = newKeyBody.padEnd(1_048_577)
  const announced = await exchange(`${post}content-length: ${large.length}\r\n\r\n`, large)
  isRefusal(t, announced, 413, 'PAYLOAD_TOO_LARGE', 'announced')
  const inChunks = await exchange(`${post}transfer-encoding: chunked\r\n\r\n`, chunked(large))
  isRefusal(t, inChunks, 413, 'PAYLOAD_TOO_LARGE', 'in chunks')
  const small = chunked('  ', ';extension="of a chunk"').repeat(1).slice(0, -5)
  const manyChunks = await exchange(
    `${post}transfer-encoding: chunked\r\n\r\n`,
    small.repeat(524_289),
    chunked(newKeyBody),
  )
  t.ok([400, 413].includes(manyChunks[0]?.status ?? 0), 'in half a million chunks with extensions')

  const socket = await open()
  const received = receive(socket)
  socket.write(`${post}expect: 100-continue\r\ncontent-length: ${large.length}\r\n\r\n`)
  const [first, ...rest] = parseReplies(await received)
  t.equal(first?.status, 100)
  isRefusal(t, rest, 413, 'PAYLOAD_TOO_LARGE', 'it is rejected by its Content-Length')
  t.equal(await countKeys(), 1)
})

await t.test('a compressed body is 415, and is not decompressed', async (t) => {
  const { admin, exchange, countKeys } = await startListening(t)
  const bomb = gzipSync(newKeyBody.padEnd(100_000_000))
  t.ok(bomb.length < 1_048_576)
  const post = `POST /api/keys HTTP/1.1\r\n${host}${bearer(admin.token)}${json}content-length: ${bomb.length}\r\n`
  for (const encoding of ['gzip', 'GZIP', 'x-gzip', 'deflate', 'br', 'gzip, identity', 'identity, gzip']) {
    const replies = await exchange(`${post}content-encoding: ${encoding}\r\n\r\n`, bomb)
    isRefusal(t, replies, 415, 'UNSUPPORTED_MEDIA_TYPE', encoding)
  }
  const hidden = await exchange(`${post}\r\n`, bomb)
  isRefusal(t, hidden, 400, 'INVALID_REQUEST', 'without Content-Encoding it is invalid JSON')
  t.equal(await countKeys(), 1)
})

await t.test('a chunked body with extensions is accepted; trailers are not credentials', async (t) => {
  const { admin, exchange } = await startListening(t)
  const post = (headers: string) =>
    `POST /api/keys HTTP/1.1\r\n${host}${headers}${json}transfer-encoding: chunked\r\n`
  const [created] = await exchange(`${post(bearer(admin.token))}\r\n${chunked(newKeyBody, ';a=b;c="d"')}`)
  t.equal(created?.status, 201)
  const long = await exchange(
    `${post(bearer(admin.token))}\r\n${chunked(newKeyBody, `;a=${'b'.repeat(20_000)}`)}`,
  )
  isRefusal(t, long, 400, 'INVALID_REQUEST', 'an extension of 20 KB')
  const trailer = `${chunked(newKeyBody).slice(0, -2)}${bearer(admin.token)}\r\n`
  const late = await exchange(`${post('trailer: authorization\r\n')}\r\n${trailer}`)
  isRefusal(t, late, 401, 'UNAUTHORIZED', 'a key in a trailer')
})
