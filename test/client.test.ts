import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Client, type ClientOptions, createClient, KenerError } from 'kener-api/client'
import t, { type Test } from 'tap'
import { newKey, startReplica, waitUntil } from './helper.ts'
import { recordKeys } from './sweep.ts'

/** Collects the items of all pages. */
async function all<Item>(pages: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = []
  for await (const item of pages) items.push(item)
  return items
}

await t.test(
  'keys, limits, monitors, reports, incidents and maintenances work through the client',
  async (t) => {
    const replica = await startReplica(t)
    const url = await replica.app.listen({ port: 0, host: '127.0.0.1' })
    const { token } = await newKey(replica)
    const client = (key: string): Client => createClient({ url: `${url}/`, key, maxRetries: 0 })
    const admin = client(token)

    const permissions = ['read:monitors', 'write:monitors'] as const
    const { data: created, status } = await admin.post('/api/keys', {
      body: { name: 'website', permissions: [...permissions], rate_limit: 7, monitors: ['website', 'other'] },
    })
    recordKeys(created.key)
    t.equal(status, 201)
    const website = client(created.key)
    const { data: me, headers } = await website.get('/api/me')
    t.match(me, { id: created.id, key_name: 'website', permissions })
    t.equal(headers.get('x-ratelimit-limit'), '7')
    await t.rejects(website.get('/api/incidents'), { name: 'KenerError', status: 403, code: 'FORBIDDEN' })

    const path = { tag: 'website' }
    await website.put('/api/monitors/{tag}', { path, body: { name: 'Website' } })
    const { data: report } = await website.post('/api/monitors/{tag}/data', {
      path,
      body: { status: 'UP', latency_ms: 12 },
    })
    t.equal(report.written, 1)
    const { data: monitor, headers: first } = await website.get('/api/monitors/{tag}', { path })
    t.match(monitor, { status: 'UP', status_source: 'report', last_report: { latency_ms: 12 } })
    await admin.patch('/api/monitors/{tag}', { path, body: { description: 'Changed' } })
    const stale = { 'If-Match': String(first.get('etag')) }
    await t.rejects(admin.delete('/api/monitors/{tag}', { path, headers: stale }), {
      code: 'PRECONDITION_FAILED',
    })
    const invalid = { name: '', permissions: ['admin' as const] }
    await t.rejects(admin.post('/api/keys', { body: invalid }), {
      code: 'INVALID_REQUEST',
      details: [{ path: '/name' }],
    })

    await admin.post('/api/monitors', { body: { tag: 'api', name: 'API' } })
    await admin.post('/api/monitors', { body: { tag: 'other', name: 'Other' } })
    const monitors = await all(admin.list('/api/monitors', { query: { limit: 1 } }))
    t.same(
      monitors.map(({ tag }) => tag),
      ['api', 'other', 'website'],
    )
    const hours = await all(
      admin.list('/api/monitors/{tag}/data', { path, query: { from: monitor.created_at } }),
    )
    t.ok(hours.length <= 1)

    const { data: incident } = await admin.post('/api/incidents', {
      body: { title: 'Slow', monitors: [{ monitor_tag: 'website', impact: 'DOWN' }] },
    })
    const { data: open } = await createClient({ url }).get('/api/status')
    t.match(open, { status: 'DOWN', incidents: [{ id: incident.id, title: 'Slow' }] })
    await admin.post('/api/incidents/{id}/comments', {
      path: { id: incident.id },
      body: { comment: 'Repaired', state: 'RESOLVED' },
    })
    const { data: resolved } = await admin.get('/api/incidents/{id}', { path: { id: incident.id } })
    t.match(resolved, { state: 'RESOLVED', comments: [{ comment: 'Repaired' }] })
    t.equal((await admin.delete('/api/incidents/{id}', { path: { id: incident.id } })).status, 204)
    const { data: maintenance } = await admin.post('/api/maintenances', {
      body: { title: 'Upgrade', starts_at: '2999-01-01T00:00:00Z', duration_seconds: 60 },
    })
    t.same(
      (await all(admin.list('/api/maintenances'))).map(({ id }) => id),
      [maintenance.id],
    )

    const rotation = { path: { id: created.id }, body: { overlap_seconds: 60 } }
    const { data: successor } = await admin.post('/api/keys/{id}/rotate', rotation)
    recordKeys(successor.key)
    t.equal((await client(successor.key).get('/api/me')).data.id, successor.id)
    await admin.post('/api/keys/{id}/revoke', { path: { id: created.id } })
    await t.rejects(website.get('/api/me'), { status: 401, code: 'KEY_REVOKED', requestId: /./ })
    t.match(await all(admin.list('/api/audit', { query: { action: 'key.revoked' } })), [
      { target: { id: created.id } },
    ])

    const limited = client(successor.key)
    const spent = await all(untilError(() => limited.get('/api/me')))
    const error = spent.at(-1) as KenerError
    t.match(error, { status: 429, code: 'RATE_LIMIT_EXCEEDED' })
    t.ok(Number(error.retryAfter) >= 1 && Number(error.retryAfter) <= 60)
  },
)

/** Yields the results, at last the error. */
async function* untilError(run: () => Promise<unknown>): AsyncGenerator {
  try {
    for (;;) yield await run()
  } catch (error) {
    yield error
  }
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void

/** Starts a server that gives these answers, one after the other, and a client of it. */
async function startFake(t: Test, answers: Answer[], options: Partial<ClientOptions> = {}) {
  const requests: Pick<IncomingMessage, 'method' | 'headers'>[] = []
  const server = createServer((request, response) => {
    requests.push({ method: request.method, headers: request.headers })
    request.resume().once('end', () => {
      answers[requests.length - 1]?.(request, response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { client: createClient({ url, key: 'k', ...options }), requests }
}

const ok: Answer = (_request, response) => response.end('{"success":true,"data":{"written":1}}')
const reset: Answer = (request) => request.socket.resetAndDestroy()
const never: Answer = () => undefined
const fails =
  (status: number, retryAfter?: string): Answer =>
  (_request, response) => {
    response.writeHead(status, { ...(retryAfter !== undefined && { 'retry-after': retryAfter }) })
    response.end('{"success":false,"error":{"code":"FAILED","message":"It failed"}}')
  }

const report = { path: { tag: 'website' }, body: { status: 'UP' } } as const

await t.test(
  'a POST is repeated with the same Idempotency-Key until there is a final response',
  async (t) => {
    const past = new Date(0).toUTCString()
    const answers = [reset, fails(503, '0'), fails(429, past), fails(409, '0'), fails(503, '0'), ok]
    const { client, requests } = await startFake(t, answers, { maxRetries: 5 })
    const { data } = await client.post('/api/monitors/{tag}/data', report)
    t.same(data, { written: 1 })
    t.equal(requests.length, 6)
    const keys = new Set(requests.map(({ headers }) => headers['idempotency-key']))
    t.equal(keys.size, 1)
    t.match([...keys][0], /^[!-~]{1,255}$/)
  },
)

await t.test('each POST has another Idempotency-Key, unless the caller sets it', async (t) => {
  const { client, requests } = await startFake(t, [ok, ok, ok])
  await client.post('/api/monitors/{tag}/data', report)
  await client.post('/api/monitors/{tag}/data', report)
  await client.post('/api/monitors/{tag}/data', { ...report, headers: { 'Idempotency-Key': 'mine' } })
  const keys = requests.map(({ headers }) => headers['idempotency-key'])
  t.equal(new Set(keys).size, 3)
  t.equal(keys[2], 'mine')
})

await t.test(
  'a request that may have been executed is not repeated, unless that has no effect',
  async (t) => {
    const path = { tag: 'website' }
    const body = { name: 'Website' }
    for (const [send, isRepeated] of [
      [(client: Client) => client.patch('/api/monitors/{tag}', { path, body }), false],
      [
        (client: Client) => client.put('/api/monitors/{tag}', { path, body, headers: { 'If-Match': '"1"' } }),
        false,
      ],
      [(client: Client) => client.put('/api/monitors/{tag}', { path, body }), true],
      [(client: Client) => client.delete('/api/monitors/{tag}', { path }), true],
      [(client: Client) => client.get('/api/monitors/{tag}', { path }), true],
    ] as const) {
      for (const answer of [fails(503, '0'), reset]) {
        const { client, requests } = await startFake(t, [answer, ok])
        const result = await send(client).catch(() => undefined)
        t.equal(requests.length, isRepeated ? 2 : 1, `${String(send)} ${answer.name}`)
        t.equal(result !== undefined, isRepeated)
      }
      // It was rejected before its execution.
      const { client, requests } = await startFake(t, [fails(429, '0'), ok])
      await send(client)
      t.equal(requests.length, 2)
    }
  },
)

await t.test('retries are bounded in number and in time', async (t) => {
  const always = Array.from({ length: 9 }, () => fails(503, '0'))
  const { client, requests } = await startFake(t, always)
  const error = { name: 'KenerError', status: 503, code: 'FAILED', message: 'It failed', retryAfter: 0 }
  await t.rejects(client.get('/api/me'), error)
  t.equal(requests.length, 4)
  const later = new Date(Date.now() + 600_000).toUTCString()
  for (const retryAfter of ['61', later]) {
    const { client, requests } = await startFake(t, [fails(429, retryAfter)])
    await t.rejects(client.get('/api/me'), { name: 'KenerError', status: 429 })
    t.equal(requests.length, 1)
  }
  for (const status of [400, 401, 403, 404, 409, 500]) {
    const { client, requests } = await startFake(t, [fails(status)])
    await t.rejects(client.post('/api/monitors/{tag}/data', report), {
      name: 'KenerError',
      status,
      retryAfter: null,
    })
    t.equal(requests.length, 1, `${status}`)
  }
})

await t.test(
  'an abort ends a request and the wait before a retry; an attempt has a time limit',
  async (t) => {
    for (const answer of [never, fails(429, '60')]) {
      const { client, requests } = await startFake(t, [answer])
      const controller = new AbortController()
      const result = client.get('/api/me', { signal: controller.signal })
      const rejected = t.rejects(result, { message: 'Enough' })
      await waitUntil(() => requests.length === 1)
      controller.abort(new Error('Enough'))
      await rejected
    }
    const { client, requests } = await startFake(t, [never], { timeoutMs: 20, maxRetries: 0 })
    await t.rejects(client.get('/api/me'), { name: 'TimeoutError' })
    t.ok(requests.length <= 1, 'without retries, it is sent once, or not at all on a busy machine')
  },
)

await t.test('a response that is not from the service is an error, and is not repeated', async (t) => {
  const unexpected = { name: 'KenerError', code: 'UNEXPECTED_RESPONSE', details: [], requestId: null }
  for (const [status, body] of [
    [404, '<html>'],
    [200, '<html>'],
    [200, 'null'],
    [200, ''],
  ] as const) {
    const { client, requests } = await startFake(t, [
      (_request, response) => response.writeHead(status).end(body),
    ])
    await t.rejects(client.get('/api/me'), { ...unexpected, status }, `${status} ${body}`)
    t.equal(requests.length, 1)
  }
})

await t.test('a redirect is an error, because a POST would become a GET that seems to succeed', async (t) => {
  for (const status of [301, 302, 303, 307, 308]) {
    const { client, requests } = await startFake(t, [
      (_request, response) => response.writeHead(status, { location: '/other' }).end(),
    ])
    const error = { code: 'UNEXPECTED_RESPONSE', status, message: /redirects to \/other/ }
    await t.rejects(client.post('/api/monitors/{tag}/data', report), error)
    t.equal(requests.length, 1)
  }
})

await t.test('a parameter cannot change the path', async (t) => {
  const { client, requests } = await startFake(t, [])
  for (const tag of ['', '.', '..']) {
    await t.rejects(client.delete('/api/monitors/{tag}', { path: { tag } }), {
      name: 'TypeError',
      message: /tag/,
    })
  }
  t.equal(requests.length, 0)
})

await t.test('paths, parameters, bodies and results have the types of the description', (t) => {
  // Compiled, but not run: tsc reports an expected error that is missing.
  const compiled = async (client: Client) => {
    const { data } = await client.get('/api/me')
    // @ts-expect-error there is no such path
    await client.get('/api/nothing')
    // @ts-expect-error there is no such method
    await client.post('/api/me')
    // @ts-expect-error the tag is missing
    await client.get('/api/monitors/{tag}')
    // @ts-expect-error the permissions are missing
    await client.post('/api/keys', { body: { name: 'a' } })
    // @ts-expect-error there is no such parameter
    await client.get('/api/monitors', { query: { unknown: 1 } })
    // @ts-expect-error this is not a list
    client.list('/api/me')
    // @ts-expect-error there is no such field
    return data.unknown as string
  }
  t.type(compiled, 'function')
  t.end()
})
