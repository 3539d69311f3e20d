import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { openDatabase } from '../src/database/open.ts'
import { createDatabase, newKey } from './helper.ts'
import { listening, npm, start } from './process.ts'

const oneLine = /^kener-api: [^\n]+\n$/

await t.test('a bad variable ends the process with one line and exit code 1', async (t) => {
  const { ended, output } = start(t, 'server', [], { PORT: 'abc' })
  t.equal((await ended).code, 1)
  t.match(output.stderr, oneLine)
  t.match(output.stderr, /PORT/)
  t.equal(output.stdout, '')
})

await t.test('a database that cannot be reached is said in one line', async (t) => {
  // Where nothing listens.
  const urls = ['postgres://u:swordfish@127.0.0.1:1/x', 'postgres://u:swordfish@localhost:1/x']
  for (const DATABASE_URL of urls) {
    const { ended, output } = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
    t.equal((await ended).code, 1)
    t.match(output.stderr, oneLine)
    t.match(output.stderr, /DATABASE_URL.*ECONNREFUSED/)
    t.notMatch(output.stderr + output.stdout, /swordfish/)
  }
})

await t.test('a server that is no PostgreSQL is said in one line', async (t) => {
  const server = createServer((socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const { ended, output } = start(t, 'server', [], {
    DATABASE_URL: `postgres://127.0.0.1:${port}/x`,
    PORT: '0',
  })
  t.equal((await ended).code, 1)
  t.match(output.stderr, oneLine)
})

await t.test('a port that is taken is said in one line', async (t) => {
  const DATABASE_URL = await createDatabase(t)
  const first = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
  const { port } = new URL(await listening(first))
  const second = start(t, 'server', [], { DATABASE_URL, PORT: port })
  t.equal((await second.ended).code, 1)
  t.match(second.output.stderr, oneLine)
  t.match(second.output.stderr, /EADDRINUSE/)
})

await t.test('with DATABASE_URL no key is made', async (t) => {
  const DATABASE_URL = await createDatabase(t)
  const server = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
  await listening(server)
  server.child.kill('SIGTERM')
  t.equal((await server.ended).code, 0)
  t.notMatch(server.output.stdout, /kener_/)
  const { db, close } = await openDatabase({ databaseUrl: DATABASE_URL, databasePoolMax: 1, dataDir: '' })
  t.same(await db.selectFrom('api_keys').select('id').execute(), [])
  await close()
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  await t.test(`${signal}: readiness turns 503, the request in flight is answered, exit 0`, async (t) => {
    const DATABASE_URL = await createDatabase(t)
    const { db, close } = await openDatabase({ databaseUrl: DATABASE_URL, databasePoolMax: 1, dataDir: '' })
    const { text } = await newKey({ db })
    await close()
    const server = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
    const origin = await listening(server)

    // Half a request: it is under way as long as its body is.
    const socket = connect(Number(new URL(origin).port), '127.0.0.1')
    let reply = ''
    socket.on('data', (chunk) => (reply += chunk.toString()))
    const body = JSON.stringify({ name: 'late', permissions: ['admin'] })
    socket.write(
      `POST /api/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${text}\r\n` +
        `content-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n${body.slice(0, 5)}`,
    )
    const [idle] = [await fetch(`${origin}/readyz`)]
    t.equal(idle.status, 200)

    server.child.kill(signal)
    let readiness = await fetch(`${origin}/readyz`)
    while (readiness.status === 200) readiness = await fetch(`${origin}/readyz`)
    t.equal(readiness.status, 503)
    t.match(await readiness.json(), { success: false, error: { code: 'SERVICE_UNAVAILABLE' } })

    // Only once the listener is closed, so that the request really outlives it.
    for (;;) {
      const refused = await fetch(`${origin}/healthz`).then(
        () => false,
        () => true,
      )
      if (refused) break
    }
    socket.write(body.slice(5))
    t.same(await server.ended, { code: 0, signal: null })
    t.match(reply, /^HTTP\/1\.1 201 Created/)
    t.match(reply, /"key":"kener_/)
  })
}

await t.test('what is not HTTP gets the envelope too', async (t) => {
  const DATABASE_URL = await createDatabase(t)
  const server = start(t, 'server', [], { DATABASE_URL, PORT: '0' })
  const { port } = new URL(await listening(server))
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
  }
})

await t.test('an idle connection is kept for longer than a proxy keeps its end of it', async (t) => {
  const server = start(t, 'server', [], { DATABASE_URL: await createDatabase(t), PORT: '0' })
  const { headers } = await fetch(`${await listening(server)}/healthz`)
  const [, seconds] = /timeout=(\d+)/.exec(headers.get('keep-alive') ?? '') ?? []
  t.ok(Number(seconds) > 120, `${seconds} s: Caddy's 120 s, Traefik's 90 and nginx's 60 end first`)
})

await t.test('npm start hands signals on, and leaves nothing running', async (t) => {
  const server = npm(t, ['start'], { DATABASE_URL: await createDatabase(t), PORT: '0' })
  const origin = await listening(server)
  t.equal((await fetch(`${origin}/healthz`)).status, 200)
  server.child.kill('SIGTERM')
  // Its output ends only once every process that holds it has ended.
  t.equal((await server.ended).code, 0)
  await t.rejects(fetch(`${origin}/healthz`))
})

await t.test(
  'a second signal changes nothing: npm hands on what the terminal has sent to both',
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
