import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { requestTimeouts } from '../src/database/open.ts'
import { createDatabase, newKey, startReplica, waitForTimeInMinute } from './helper.ts'
import { listening, start } from './process.ts'

/** Repeats a request until its status is 200. Returns all statuses. */
async function waitUntilOk(ask: () => Promise<{ statusCode: number }>): Promise<number[]> {
  const statuses: number[] = []
  while (statuses.at(-1) !== 200) statuses.push((await ask()).statusCode)
  return statuses
}

await t.test(
  'connections that the database terminates under load cause 503s, and do not end the process',
  async (t) => {
    const DATABASE_URL = await createDatabase(t)
    const other = await startReplica(t, { url: DATABASE_URL })
    const { token } = await newKey(other, { rateLimit: 1_000_000 })
    const server = start(t, 'server', [], { DATABASE_URL, PORT: '0', LOG_LEVEL: 'info' })
    const origin = await listening(server)
    const ask = async () => {
      const reply = await fetch(`${origin}/api/me`, { headers: { authorization: `Bearer ${token}` } })
      await reply.text()
      if (reply.status === 503) t.equal(reply.headers.get('retry-after'), '1')
      return { statusCode: reply.status }
    }
    const statuses = new Set<number>()
    let over = false
    const load = Array.from({ length: 20 }, async () => {
      while (!over) statuses.add((await ask()).statusCode)
    })
    for (let round = 0; round < 10; round++) {
      await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`
        .execute(other.db)
        .catch(() => undefined)
      await waitUntilOk(ask)
    }
    over = true
    await Promise.all(load)
    t.equal(server.child.exitCode, null, 'the process is running')
    for (const status of statuses) t.ok(status === 200 || status === 503, String(status))
  },
)

/** A proxy to the database that can fail. */
async function startProxy(t: Test, target: string) {
  const { hostname, port } = new URL(target)
  const sockets: Socket[] = []
  let failsAfterCommit = false
  let isDown = false
  const server = createServer((client) => {
    if (isDown) {
      client.destroy()
      return
    }
    const upstream = connect(Number(port), hostname)
    client.pipe(upstream).pipe(client)
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy())
    sockets.push(client, upstream)
    upstream.on('data', (bytes) => {
      if (!failsAfterCommit || !bytes.includes('COMMIT\0')) return
      isDown = true
      // Together with the response to the commit, which pipe has written before.
      for (const socket of sockets) socket.end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const url = new URL(target)
  url.port = String((server.address() as { port: number }).port)
  return {
    url: url.href,
    /** Stops forwarding on the open connections. New connections work. */
    silence: () => {
      for (const socket of sockets) socket.unpipe().pause()
    },
    /** Closes all connections with the next response to a commit, and rejects new ones until `restore`. */
    failAfterCommit: () => {
      failsAfterCommit = true
    },
    isDown: () => isDown,
    restore: () => {
      failsAfterCommit = isDown = false
    },
  }
}

await t.test('a connection that no longer responds is replaced', async (t) => {
  const url = await createDatabase(t)
  const proxy = await startProxy(t, url)
  const replica = await startReplica(t, { url: proxy.url, timeouts: requestTimeouts })
  const direct = await startReplica(t, { url })
  const { token, id } = await newKey(replica)
  const ask = () => replica.call(token, 'GET /api/me')
  t.equal((await ask()).statusCode, 200)
  // The update of last_used_at is the last statement of that request: after it, the only connection is idle.
  const isRecorded = async () => {
    const rows = await direct.db.selectFrom('api_keys').select('last_used_at').where('id', '=', id).execute()
    return rows[0]?.last_used_at != null
  }
  while (!(await isRecorded()));
  t.equal((await ask()).statusCode, 200)
  proxy.silence()
  const statuses = await waitUntilOk(ask)
  t.ok(
    statuses.slice(0, -1).every((status) => status === 503),
    String(statuses),
  )
  t.ok(statuses.length > 1 && statuses.length <= 4, String(statuses))
})

await t.test('a write is not answered with 503 if the database fails after its commit', async (t) => {
  const url = await createDatabase(t)
  const proxy = await startProxy(t, url)
  const replica = await startReplica(t, { url: proxy.url })
  const { token } = await newKey(replica)
  await waitForTimeInMinute()
  const monitors = [{ monitor_tag: 'm', impact: 'DOWN' }]
  const start = { starts_at: '2999-01-01T00:00:00Z', duration_seconds: 3_600 }
  const kenerStart = { start_date_time: 32_503_680_000, duration_seconds: 3_600, rrule: 'FREQ=DAILY' }
  const points = [0, 1].map((minutes) => ({
    status: 'UP',
    timestamp: new Date(Date.now() - minutes * 60_000).toISOString(),
  }))
  const writes: [route: string, body: object][] = [
    ['POST /api/monitors', { tag: 'm', name: 'M' }],
    ['PUT /api/monitors/m', { name: 'N' }],
    ['PATCH /api/monitors/m', { name: 'O' }],
    // One transaction each: the first report of an hour takes two, of which the first one writes nothing.
    ['POST /api/monitors/m/data', { points }],
    ['POST /api/monitors/m/data', { status: 'UP' }],
    ['POST /api/incidents', { title: 'T', monitors, comment: 'C' }],
    ['PATCH /api/incidents/1', { title: 'U', monitors }],
    ['POST /api/incidents/1/comments', { comment: 'D' }],
    ['PATCH /api/incidents/1/comments/1', { comment: 'E' }],
    ['POST /api/maintenances', { title: 'T', monitors, ...start }],
    ['PATCH /api/maintenances/1', { title: 'U', monitors }],
    ['POST /api/v4/monitors', { tag: 'v4', name: 'M' }],
    ['PATCH /api/v4/monitors/v4', { name: 'N' }],
    ['PATCH /api/v4/monitors/v4/data/0', { status: 'UP' }],
    ['POST /api/v4/incidents', { title: 'T', start_date_time: 0, monitors }],
    ['PATCH /api/v4/incidents/2', { title: 'U', monitors }],
    ['POST /api/v4/incidents/2/comments', { comment: 'C', state: 'MONITORING' }],
    ['POST /api/v4/maintenances', { title: 'T', monitors, ...kenerStart }],
    ['PATCH /api/v4/maintenances/2', { title: 'U', monitors }],
    ['DELETE /api/v4/monitors/v4', {}],
    ['DELETE /api/monitors/m', {}],
  ]
  for (const [route, body] of writes) {
    proxy.failAfterCommit()
    const reply = await replica.call(token, route as 'POST /', body)
    t.match(reply.statusCode, /^20[014]$/, `${route}: ${reply.body}`)
    t.ok(proxy.isDown(), `${route} commits a transaction`)
    proxy.restore()
    // The pool may not have noticed yet that its idle connections are closed.
    await waitUntilOk(() => replica.call(token, 'GET /api/me'))
  }
})

await t.test('a report that is committed is answered, even if another one of its batch fails', async (t) => {
  const proxy = await startProxy(t, await createDatabase(t))
  const replica = await startReplica(t, { url: proxy.url })
  const { token } = await newKey(replica)
  const report = (tag: string) => replica.call(token, `POST /api/monitors/${tag}/data`, { status: 'UP' })
  for (const tag of ['old', 'new']) await replica.call(token, 'POST /api/monitors', { tag, name: tag })
  await waitForTimeInMinute()
  t.equal((await report('old')).statusCode, 200)
  proxy.failAfterCommit()
  // The first report of a monitor in an hour takes a second transaction.
  const replies = await Promise.all(['old', 'new'].map(report))
  t.same(
    replies.map(({ statusCode }) => statusCode),
    [200, 503],
  )
})
