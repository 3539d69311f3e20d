import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { newKey, times } from '../helper.ts'
import { startBalancer } from './balancer.ts'
import { ask, keepAlive } from './client.ts'
import { isReady, startReplicas, startServer } from './replicas.ts'
import { scaled } from './scale.ts'

/** Counts lost requests by their error. */
type Losses = Record<string, number>

function note(losses: Losses, error: unknown): void {
  const code = (error as NodeJS.ErrnoException).code ?? String(error)
  losses[code] = (losses[code] ?? 0) + 1
}

/** Some clients send without a pause, some rarely. Every third request writes, and must not be sent twice. */
const pausesMs = [0, 1, 20, 100, 400, 700, 1_000, 1_500]
const clients = pausesMs.length * (1 + scaled(4))

function nextRequest(count: number) {
  return count % 3 === 0
    ? { path: '/api/monitors/m/data', method: 'POST', body: { status: 'UP' }, expected: 200 }
    : { path: '/api/me', method: 'GET', body: undefined, expected: 200 }
}

await t.test(
  'SIGTERM under load: a client that uses a connection until Connection: close loses no request',
  async (t) => {
    const { db, processes } = await startReplicas(t, [{}])
    const [server] = processes
    if (!server) throw new Error('No server was started')
    const { token: key } = await newKey({ db }, { rateLimit: 1_000_000 })
    await ask(`${server.origin}/api/monitors/m`, { key, method: 'PUT', body: { name: 'm' } })
    const losses: Losses = {}
    let answered = 0
    let answeredAfterSignal = 0
    let signalled = false
    let closing = 0

    const load = times(clients, async (client) => {
      const agent = keepAlive()
      const pauseMs = pausesMs[client % pausesMs.length] ?? 0
      for (let count = client, isClosing = false; !isClosing; count++) {
        const { path, expected, ...request } = nextRequest(count)
        try {
          const { status, headers } = await ask(`${server.origin}${path}`, { ...request, key, agent })
          if (status !== expected) note(losses, status)
          isClosing = headers.connection === 'close'
          answered++
          if (signalled) answeredAfterSignal++
          if (isClosing) closing++
        } catch (error) {
          note(losses, error)
          isClosing = true
        }
        if (pauseMs > 0) await delay(pauseMs)
      }
      agent.destroy()
    })

    await delay(scaled(2_000))
    const began = performance.now()
    signalled = true
    server.child.kill('SIGTERM')
    await load
    t.same(losses, {}, 'no request is lost')
    t.equal(closing, clients, 'every client receives Connection: close')
    t.same(await server.ended, { code: 0, signal: null })
    const seconds = (performance.now() - began) / 1000
    t.ok(seconds < 10, `it took ${seconds} s`)
    t.comment(
      `SIGTERM: ${answered} answered, ${answeredAfterSignal} of them later, in ${seconds.toFixed(1)} s`,
    )
  },
)

await t.test('readiness is 503 for at least two polls per second before the shutdown', async (t) => {
  const { processes } = await startReplicas(t, [{}])
  const [server] = processes
  if (!server) throw new Error('No server was started')
  server.child.kill('SIGTERM')
  while (await isReady(server.origin));
  let polls = 0
  const checks = setInterval(() => {
    void isReady(server.origin).then((is) => {
      t.notOk(is, 'not ready')
      polls++
    })
  }, 1_000)
  t.teardown(() => {
    clearInterval(checks)
  })
  const isServed = () =>
    ask(`${server.origin}/healthz`).then(
      ({ status }) => status === 200,
      () => false,
    )
  while (await isServed()) await delay(20)
  clearInterval(checks)
  t.ok(polls >= 2, `${polls} polls before the first connection is refused`)
  t.same(await server.ended, { code: 0, signal: null })
})

await t.test(
  'requests in flight are completed within 10 s, then the process exits with code 0',
  async (t) => {
    const { db, processes } = await startReplicas(t, [{}])
    const [server] = processes
    if (!server) throw new Error('No server was started')
    const { token: key } = await newKey({ db })
    const begin = async () => {
      const socket = connect(Number(new URL(server.origin).port), '127.0.0.1')
      t.teardown(() => socket.destroy())
      // One of the requests is aborted at the end.
      socket.on('error', () => undefined)
      socket.write(
        `PUT /api/monitors/late HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n` +
          'content-type: application/json\r\ncontent-length: 15\r\n\r\n{"name":',
      )
      await once(socket, 'connect')
      return socket
    }
    const [late] = [await begin(), await begin()]
    const began = performance.now()
    server.child.kill('SIGTERM')
    await delay(7_000)
    late.write('"Late"}')
    t.match(String((await once(late, 'data'))[0]), /^HTTP\/1\.1 201 /, 'a late request is completed')
    t.same(await server.ended, { code: 0, signal: null })
    // Plus a second for a busy machine.
    t.ok(performance.now() - began < 11_000)
  },
)

await t.test('a rolling restart of three replicas behind a load balancer loses no request', async (t) => {
  const { url, db, processes, origins } = await startReplicas(t, [{}, {}, {}])
  const { token: key } = await newKey({ db }, { rateLimit: 1_000_000 })
  const targets = new Set(origins)
  const balancer = await startBalancer(t, targets)
  await ask(`${balancer}/api/monitors/m`, { key, method: 'PUT', body: { name: 'm' } })
  const losses: Losses = {}
  let answered = 0
  let over = false

  const load = times(clients, async (client) => {
    const agent = keepAlive()
    const pauseMs = pausesMs[client % pausesMs.length] ?? 0
    for (let count = client; !over; count++) {
      const { path, expected, ...request } = nextRequest(count)
      try {
        const { status } = await ask(`${balancer}${path}`, { ...request, key, agent })
        if (status !== expected) note(losses, status)
        else answered++
      } catch (error) {
        note(losses, error)
      }
      if (pauseMs > 0) await delay(pauseMs)
    }
    agent.destroy()
  })

  for (const old of processes) {
    const fresh = await startServer(t, url)
    targets.add(fresh.origin)
    old.child.kill('SIGTERM')
    t.same(await old.ended, { code: 0, signal: null })
    targets.delete(old.origin)
  }
  over = true
  await load
  t.same(losses, {}, 'no request is lost')
  t.comment(`rolling restart: ${answered} answered, ${Object.values(losses).reduce((a, b) => a + b, 0)} lost`)
})
