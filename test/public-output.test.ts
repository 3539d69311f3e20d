import { setTimeout as delay } from 'node:timers/promises'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { createSharedTexts } from '../src/http/shared-texts.ts'
import {
  newKey,
  type Replica,
  shareReplica,
  startReplica,
  times,
  waitForTimeInMinute,
  waitUntil,
} from './helper.ts'

const fresh = shareReplica(t)

const get = ({ app }: Replica, url: string, headers: Record<string, string> = {}) =>
  app.inject({ url, headers })

await t.test('every response of a public route allows any origin, and no other response does', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 3 } })
  const allowed = async (url: string, status: number, options: object = {}) => {
    const { statusCode, headers } = await replica.app.inject({ url, ...options })
    t.equal(statusCode, status, url)
    return headers['access-control-allow-origin']
  }
  await waitForTimeInMinute()
  const { headers } = await get(replica, '/api/status')
  t.equal(headers['access-control-allow-origin'], '*')
  t.equal(await allowed('/api/status', 304, { headers: { 'if-none-match': String(headers.etag) } }), '*')
  t.equal(await allowed('/api/status', 200, { method: 'HEAD' }), '*')
  t.equal(await allowed('/api/status', 429), '*')
  const { token } = await newKey(replica)
  const authorization = { headers: { authorization: `Bearer ${token}` } }
  t.equal(await allowed('/api/status', 400, { headers: { host: 'a,b' } }), '*')
  t.equal(await allowed('/api/me', 200, authorization), undefined)
  t.equal(await allowed('/api/me', 401), undefined)
  t.equal(await allowed('/api/me', 401, { method: 'OPTIONS' }), undefined)
  t.equal(await allowed('/api/nothing', 401), undefined)
  t.equal(await allowed('/nothing', 404), undefined)
  t.equal(await allowed('/healthz', 200), undefined)
  t.equal(await allowed('/manage/login', 429), undefined)
})

await t.test('every response has nosniff, and no cache may store what needs a key', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const valid = { authorization: `Bearer ${token}` }
  for (const [url, headers, caching] of [
    ['/api/me', valid, 'no-store'],
    ['/api/me', {}, 'no-store'],
    ['/api/monitors/nothing', valid, 'no-store'],
    ['/api/nothing', valid, 'no-store'],
    ['/api/%zz', valid, 'no-store'],
    ['/api/v4/monitors', valid, 'no-store'],
    ['/api/status', {}, 'public, max-age=30'],
    ['/feed.atom', {}, 'public, max-age=30'],
    ['/badge/_/status', {}, 'public, max-age=30'],
    ['/healthz', {}, undefined],
    ['/nothing', {}, undefined],
  ] as const) {
    const reply = await replica.app.inject({ url, headers })
    t.match(reply.headers, { 'x-content-type-options': 'nosniff', 'cache-control': caching }, url)
  }
})

await t.test('a preflight is 204, and counts as no request', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 1 } })
  const headers = {
    origin: 'https://example.com',
    'access-control-request-method': 'GET',
    'access-control-request-headers': 'if-none-match',
  }
  await waitForTimeInMinute()
  for (const url of ['/api/status', '/api/status/', '/api/status']) {
    const reply = await replica.app.inject({ method: 'OPTIONS', url, headers })
    t.equal(reply.statusCode, 204)
    t.equal(reply.body, '')
    t.match(reply.headers, {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': /\bGET\b/,
      'access-control-allow-headers': 'If-None-Match',
    })
  }
  t.equal((await get(replica, '/api/status')).statusCode, 200)
})

await t.test('public output ignores unknown query fields, and shares its text all the same', async (t) => {
  const replica = await fresh()
  replica.statements.length = 0
  for (let count = 0; count < 20; count++) {
    const reply = await get(replica, `/api/status?utm_source=${count}&a[]=%00&__proto__=1`)
    t.equal(reply.statusCode, 200)
  }
  t.ok(replica.statements.length < 20, `${replica.statements.length} statements`)
})

await t.test(
  'public output is compressed once for all clients that accept it, with an ETag of its own',
  async (t) => {
    const replica = await fresh()
    const { token } = await newKey(replica)
    const read = (accepted: string, more = {}) =>
      get(replica, '/api/status', { 'accept-encoding': accepted, ...more })
    t.equal((await read('gzip, br')).headers['content-encoding'], undefined, 'a small text is not compressed')
    await times(20, (index) => replica.call(token, `PUT /api/monitors/m${index}`, { name: 'N'.repeat(50) }))

    const plain = await read('identity')
    t.equal(plain.headers['content-encoding'], undefined)
    const etags = new Set([plain.headers.etag])
    for (const [accepted, encoding, decompress] of [
      ['gzip, deflate, br, zstd', 'br', brotliDecompressSync],
      ['gzip, br;q=0', 'gzip', gunzipSync],
    ] as const) {
      const reply = await read(accepted)
      t.match(reply.headers, { 'content-encoding': encoding, vary: /accept-encoding/ })
      t.ok(decompress(reply.rawPayload).equals(plain.rawPayload))
      etags.add(reply.headers.etag)
      const again = await read(accepted, { 'if-none-match': String(reply.headers.etag) })
      t.equal(again.statusCode, 304)
      t.match(again.headers, { etag: reply.headers.etag, vary: /accept-encoding/ })
      t.equal(again.body, '')
      t.notOk('content-length' in again.headers, 'a client would wait for a body')
      t.notOk('content-type' in again.headers)
      t.equal((await read('identity', { 'if-none-match': String(reply.headers.etag) })).statusCode, 200)
    }
    t.equal(etags.size, 3)
  },
)

await t.test('a GET route that writes ends the reuse of texts', async (t) => {
  const replica = await startReplica(t, {
    extend: (app) => {
      app.register(async (scope) => {
        scope.get('/write', { config: { isWrite: true } }, () => 'written')
        scope.get('/read', () => 'read')
      })
    },
  })
  /** True if the text is reused after a request for the path. */
  const isReused = async (path: string) => {
    replica.statements.length = 0
    await get(replica, path)
    await get(replica, '/api/status')
    return replica.statements.length === 0
  }
  await waitUntil(() => isReused('/read'))
  t.notOk(await isReused('/write'))
})

await t.test(
  'a text that is written all the time is computed a quarter of the time, and is never stale',
  async (t) => {
    let writes = 0
    const runs: { start: number; end: number }[] = []
    const read = createSharedTexts(
      async () => {
        const [start, text] = [performance.now(), Buffer.from(String(writes))]
        await delay(5)
        runs.push({ start, end: performance.now() })
        return text
      },
      () => writes,
      1_000,
    )
    for (let count = 0; count < 4; count++) {
      await times(10, async () => {
        const written = ++writes
        t.ok(Number((await read('')).body) >= written)
      })
    }
    for (const [index, { start }] of runs.slice(1).entries()) {
      const previous = runs[index]
      if (!previous) continue
      // Timers may be 1 ms early.
      const pause = Math.min(3 * (previous.end - previous.start), 200) - 1
      t.ok(
        start - previous.end >= pause,
        `${start - previous.end} ms after ${previous.end - previous.start} ms`,
      )
    }
  },
)
