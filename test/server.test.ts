import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { FastifyBaseLogger } from 'fastify'
import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { openDatabase } from '../src/database/open.ts'
import { createRejectionLog } from '../src/http/early-errors.ts'
import { describeError } from '../src/operator-error.ts'
import { assertPortFree, toPortError } from '../src/ports.ts'
import { createDatabase, newKey, startReplica, waitUntil } from './helper.ts'
import { freePort } from './postgres.ts'
import { listening, npm, start, temporaryDirectory } from './process.ts'

const oneLine = /^kener-api: [^\n]+\n$/

await t.test('an invalid variable ends the process with one line and exit code 1', async (t) => {
  const { ended, output } = start(t, 'server', [], { PORT: 'abc' })
  t.equal((await ended).code, 1)
  t.match(output.stderr, oneLine)
  t.match(output.stderr, /PORT/)
  t.equal(output.stdout, '')
})

const messageOf = (databaseUrl: string) =>
  openDatabase({ databaseUrl, databasePoolMax: 1, dataDir: '' }).then(() => 'no error', describeError)

await t.test('an unreachable database is an error of one line', async (t) => {
  // Nothing listens on port 1.
  for (const host of ['127.0.0.1', 'localhost']) {
    const message = await messageOf(`postgres://u:swordfish@${host}:1/x`)
    t.match(message, oneLine)
    t.match(message, /DATABASE_URL.*ECONNREFUSED/)
    t.notMatch(message, /swordfish/)
  }
})

await t.test('a server other than PostgreSQL is an error of one line', async (t) => {
  const port = await occupyPort(t, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  t.match(await messageOf(`postgres://127.0.0.1:${port}/x`), oneLine)
})

await t.test('a port in use is an error of one line, before anything is created', async (t) => {
  const port = await occupyPort(t)
  const DATA_DIR = join(temporaryDirectory(t), 'data')
  const { ended, output } = start(t, 'server', [], { DATA_DIR, PORT: String(port) })
  t.equal((await ended).code, 1)
  t.match(output.stderr, oneLine)
  t.match(output.stderr, /HOST and PORT.*EADDRINUSE/)
  t.notOk(existsSync(DATA_DIR))
})

await t.test('the check of a port leaves it free, and its error names the variable', async (t) => {
  const taken = await occupyPort(t)
  await t.rejects(assertPortFree('METRICS_PORT', '127.0.0.1', taken), {
    message: /^METRICS_PORT cannot be listened on: [^\n]*EADDRINUSE/,
  })
  await t.rejects(assertPortFree('HOST and PORT', 'host.invalid', 0), { message: /^HOST and PORT/ })
  await assertPortFree('PORT', '127.0.0.1', 0)
  const free = await freePort()
  await assertPortFree('PORT', '127.0.0.1', free)
  await assertPortFree('PORT', '127.0.0.1', free)
  const failed = new Error('something else')
  t.equal(toPortError('PORT', failed), failed, 'any other error is returned unchanged')
})

// Node 24 does not exit while a loader hook is pending, which only this test has.
const loaderHooksBlockExit = Number.parseInt(process.versions.node) >= 24

await t.test(
  'a signal ends the process at once while its modules are loaded',
  { skip: loaderHooksBlockExit },
  async (t) => {
    const directory = temporaryDirectory(t)
    const hooks = join(directory, 'hooks.mjs')
    // Never loads the chunk that connects to a database.
    writeFileSync(
      hooks,
      `import { writeSync } from 'node:fs'
    export async function load(url, context, next) {
      if (!url.includes('/bundle/open-')) return next(url, context)
      writeSync(1, 'loading open')
      return new Promise(() => setInterval(() => undefined, 1e6))
    }`,
    )
    const preload = join(directory, 'preload.mjs')
    writeFileSync(
      preload,
      `import { register } from 'node:module'; register(${JSON.stringify(pathToFileURL(hooks).href)})`,
    )
    const server = start(t, 'server', [], { NODE_OPTIONS: `--import=${pathToFileURL(preload).href}` })
    await server.shows(/loading open/)
    server.child.kill('SIGTERM')
    t.same(await server.ended, { code: 0, signal: null })
  },
)

await t.test(
  'a shutdown completes a response whose handler has ended but whose bytes are not sent',
  async (t) => {
    const body = Buffer.alloc(32 * 2 ** 20)
    const { app } = await startReplica(t, {
      extend: (app) => {
        app.get('/large', (_request, reply) => reply.send(body))
      },
    })
    await app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = app.server.address() as { port: number }
    const socket = connect({ port, host: '127.0.0.1' })
    socket.write('GET /large HTTP/1.1\r\nhost: kener.test\r\n\r\n')
    await once(socket, 'readable')
    const closed = app.closeWhenIdle()
    let received = 0
    socket.on('data', (chunk) => (received += chunk.length))
    await once(socket, 'close')
    t.ok(received > body.length, 'all of it is received')
    await closed
  },
)

await t.test('a signal ends the process at once while the embedded database is created', async (t) => {
  const DATA_DIR = join(temporaryDirectory(t), 'data')
  const server = start(t, 'server', [], { DATA_DIR, PORT: '0' })
  await server.shows(/Creating the embedded database/)
  server.child.kill('SIGTERM')
  t.same(await server.ended, { code: 0, signal: null })
  t.notMatch(server.output.stdout, /Applying|listening/)
  t.notOk(existsSync(join(DATA_DIR, 'postgres')), 'an incomplete database is not used')
})

await t.test('a signal ends the process at once while its migrations wait for another replica', async (t) => {
  const DATABASE_URL = await createDatabase(t, { empty: true })
  const other = new pg.Client({ connectionString: DATABASE_URL })
  await other.connect()
  // The advisory lock of the migrations. The end of the connection releases it.
  await other.query('select pg_advisory_lock(3853314791062309107)')
  const server = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
  await server.shows(/Waiting for another process, which applies the migrations/)
  server.child.kill('SIGINT')
  t.same(await server.ended, { code: 0, signal: null })
  const { rows } = await other.query(`select tablename from pg_tables where schemaname = 'public'`)
  t.notOk(rows.some(({ tablename }) => tablename === 'api_keys'))
  await other.end()
})

await t.test('background jobs use a connection of their own, with a longer timeout', async (t) => {
  const databaseUrl = await createDatabase(t)
  const { db, jobs, close } = await openDatabase({ databaseUrl, databasePoolMax: 3, dataDir: '' })
  const readTimeout = sql<{ timeout: string }>`select current_setting('statement_timeout') as timeout`
  await db.connection().execute(async (only) => {
    t.same((await readTimeout.execute(only)).rows, [{ timeout: '2s' }])
    t.same((await readTimeout.execute(jobs)).rows, [{ timeout: '1min' }])
  })
  await close()
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  await t.test(
    `${signal}: readiness becomes 503, the request in flight is completed, exit code 0`,
    async (t) => {
      const DATABASE_URL = await createDatabase(t)
      const { db, close } = await openDatabase({ databaseUrl: DATABASE_URL, databasePoolMax: 1, dataDir: '' })
      const { token } = await newKey({ db })
      await close()
      const server = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
      const origin = await listening(server)

      // Sends half of a body, so that the request stays in flight.
      const socket = connect(Number(new URL(origin).port), '127.0.0.1')
      let reply = ''
      socket.on('data', (chunk) => (reply += chunk.toString()))
      const body = JSON.stringify({ name: 'late', permissions: ['admin'] })
      socket.write(
        `POST /api/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n` +
          `content-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n${body.slice(0, 5)}`,
      )
      const [idle] = [await fetch(`${origin}/readyz`)]
      t.equal(idle.status, 200)

      server.child.kill(signal)
      let readiness = await fetch(`${origin}/readyz`)
      while (readiness.status === 200) readiness = await fetch(`${origin}/readyz`)
      t.equal(readiness.status, 503)
      t.match(await readiness.json(), { success: false, error: { code: 'SERVICE_UNAVAILABLE' } })

      // Waits until the listener is closed, so that the request outlives it.
      await waitUntil(async () => {
        await delay(50)
        return fetch(`${origin}/healthz`).then(
          () => false,
          () => true,
        )
      })
      socket.write(body.slice(5))
      t.same(await server.ended, { code: 0, signal: null })
      t.match(reply, /^HTTP\/1\.1 201 Created/)
      t.match(reply, /"key":"kener_/)
    },
  )
}

await t.test('a malformed HTTP request is answered with the error envelope', async (t) => {
  const { app, log } = await startReplica(t)
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const cases: [string, RegExp][] = [
    ['nonsense\r\n\r\n', /^HTTP\/1\.1 400 /],
    [`GET / HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
  ]
  for (const [bytes, status] of cases) {
    const socket = connect(Number(port), '127.0.0.1')
    let reply = ''
    socket.on('data', (chunk) => (reply += chunk.toString()))
    socket.write(bytes)
    await once(socket, 'close')
    t.match(reply, status)
    t.match(reply, /x-request-id: /)
    t.match(
      reply,
      /\{"success":false,"error":\{"code":"INVALID_REQUEST","message":"[^"]+","details":\[.+\]\}\}$/,
    )
    const [, code = '', id = ''] = /^HTTP\/1\.1 (\d+) [^]*x-request-id: (\S+)/.exec(reply) ?? []
    t.match(
      log.filter(({ reqId }) => reqId === id),
      [{ event: 'connection_rejected', status: Number(code), reason: /^HPE_/, address: '127.0.0.1' }],
      'it is logged',
    )
  }
})

await t.test('a flood of rejected connections is logged in few lines and a number', async (t) => {
  const lines: object[] = []
  const write = (line: object) => lines.push(line)
  const logRejection = createRejectionLog(
    () => ({ info: write, warn: write }) as unknown as FastifyBaseLogger,
    1,
  )
  for (let count = 0; count < 1_000; count++) logRejection({ status: 400 })
  await waitUntil(() => lines.length > 60)
  t.same(lines.at(-1), { omitted: 940 })
  logRejection({ status: 400 })
  t.same(lines.at(-1), { status: 400, event: 'connection_rejected' }, 'the next minute is logged')
})

await t.test(
  'a second Authorization header is rejected behind thousands of other headers, too',
  async (t) => {
    const { app, db } = await startReplica(t)
    const { token } = await newKey({ db })
    const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
    const authorization = `authorization: Bearer ${token}\r\n`
    for (const [more, status] of [
      ['', '200'],
      [authorization, '401'],
    ]) {
      const socket = connect(Number(port), '127.0.0.1')
      const others = 'x:\r\n'.repeat(2_500)
      socket.write(
        `GET /api/me HTTP/1.1\r\n${authorization}host: x\r\nconnection: close\r\n${others}${more}\r\n`,
      )
      t.match(await text(socket), `HTTP/1.1 ${status} `)
    }
  },
)

await t.test('the keep-alive timeout is longer than that of proxies', async (t) => {
  const { app } = await startReplica(t)
  const { headers } = await fetch(`${await app.listen({ host: '127.0.0.1', port: 0 })}/healthz`)
  const [, seconds] = /timeout=(\d+)/.exec(headers.get('keep-alive') ?? '') ?? []
  t.ok(Number(seconds) > 120, `${seconds} s: Caddy's 120 s, Traefik's 90 and nginx's 60 end first`)
})

await t.test(
  'npm start with DATABASE_URL creates no key, forwards signals, and leaves no process',
  async (t) => {
    const DATABASE_URL = await createDatabase(t)
    const server = npm(t, ['start'], { DATABASE_URL, PORT: '0' })
    const origin = await listening(server)
    t.equal((await fetch(`${origin}/healthz`)).status, 200)
    // Files and packages that the bundle loads separately.
    for (const path of ['/manage/login', '/manage/assets/manage.css', '/docs', '/openapi.json']) {
      t.equal((await fetch(origin + path)).status, 200, path)
    }
    server.child.kill('SIGTERM')
    // The output ends when every process that holds it has exited.
    t.equal((await server.ended).code, 0)
    await t.rejects(fetch(`${origin}/healthz`))
    t.notMatch(server.output.stdout, /kener_/)
    const { db, close } = await openDatabase({ databaseUrl: DATABASE_URL, databasePoolMax: 1, dataDir: '' })
    t.same(await db.selectFrom('api_keys').select('id').execute(), [])
    await close()
  },
)

await t.test(
  'a second signal has no effect, because npm forwards signals that the terminal also sends to the process',
  async (t) => {
    const DATABASE_URL = await createDatabase(t)
    const server = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
    const { port } = new URL(await listening(server))
    const socket = connect(Number(port), '127.0.0.1')
    const silent = connect(Number(port), '127.0.0.1')
    await once(silent, 'connect')
    let reply = ''
    socket.on('data', (chunk) => (reply += chunk.toString()))
    socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')
    await once(socket, 'data')
    for (const signal of ['SIGINT', 'SIGINT', 'SIGTERM'] as const) server.child.kill(signal)
    t.same(await server.ended, { code: 0, signal: null })
    t.match(reply, /^HTTP\/1\.1 200/)
  },
)

/** Listens on a free port until the test ends. */
async function occupyPort(t: Test, onConnection?: (socket: Socket) => void): Promise<number> {
  const server = createServer(onConnection)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as { port: number }).port
}
