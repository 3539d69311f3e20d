import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { fromAjvErrors } from '../src/wire/ajv-errors.ts'
import { compileCoercing, compileJson, findErrors } from '../src/wire/validator.ts'
import { isErrorReply, newKey, type Replica, shareReplica, startReplica } from './helper.ts'

const share = shareReplica(t)

async function start(): Promise<Replica & { admin: string; countKeys: () => Promise<number> }> {
  const replica = await share()
  const { token } = await newKey(replica)
  const countKeys = async () => (await replica.db.selectFrom('api_keys').select('id').execute()).length
  return { ...replica, admin: token, countKeys }
}

const good = { name: 'n', permissions: ['read:monitors'] }
const json = { 'content-type': 'application/json' }

await t.test('an invalid body is rejected with the path of each error, and stores nothing', async (t) => {
  const { call, admin, countKeys } = await start()
  const cases: [path: string, body: unknown][] = [
    ['/name', { permissions: ['admin'] }],
    ['/permissions', { name: 'n' }],
    ['/name', { ...good, name: '' }],
    ['/name', { ...good, name: '   ' }],
    ['/name', { ...good, name: 'x'.repeat(101) }],
    ['/name', { ...good, name: 5 }],
    ['/name', { ...good, name: null }],
    ['/name', { ...good, name: ['n'] }],
    ['/name', { ...good, name: 'a\0b' }],
    ['/name', { ...good, name: 'lone \ud800 surrogate' }],
    ['/permissions', { ...good, permissions: [] }],
    ['/permissions', { ...good, permissions: 'admin' }],
    ['/permissions/1', { ...good, permissions: ['admin', 'read:everything'] }],
    ['/permissions', { ...good, permissions: ['admin', 'admin'] }],
    ['/permissions/0', { ...good, permissions: [null] }],
    ['/rate_limit', { ...good, rate_limit: 0 }],
    ['/rate_limit', { ...good, rate_limit: -1 }],
    ['/rate_limit', { ...good, rate_limit: 1.5 }],
    ['/rate_limit', { ...good, rate_limit: '5' }],
    ['/rate_limit', { ...good, rate_limit: 1e300 }],
    ['/rate_limit', { ...good, rate_limit: true }],
    ['/expires_at', { ...good, expires_at: 'tomorrow' }],
    ['/expires_at', { ...good, expires_at: 1_893_456_000 }],
    ['/expires_at', { ...good, expires_at: '2030-02-30T00:00:00Z' }],
    ['/expires_at', { ...good, expires_at: '2030-01-01' }],
    ['/expires_at', { ...good, expires_at: '2030-01-01T00:00:00' }],
    ['/expires_at', { ...good, expires_at: '0000-01-01T00:00:00Z' }],
    ['/expires_at', { ...good, expires_at: '9999-12-31T23:59:59-01:00' }],
    ['/expires_at', { ...good, expires_at: '12030-01-01T00:00:00Z' }],
    ['/expires_at', { ...good, expires_at: '2020-01-01T00:00:00Z' }],
    ['/unknown', { ...good, unknown: 1 }],
    ['/key', { ...good, key: 'mine' }],
    ['/a~1b', { ...good, 'a/b': 1 }],
  ]
  for (const [path, body] of cases) {
    const reply = await call(admin, 'POST /api/keys', body)
    const title = JSON.stringify(body)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', title)
    t.ok(
      reply.json.error.details.some((detail: { path: string }) => detail.path === path),
      `${title}: ${reply.body}`,
    )
    for (const { message } of reply.json.error.details) t.match(message, /./)
  }
  t.equal(await countKeys(), 1)
})

await t.test(
  'a body that would occupy the event loop for long is rejected before it is parsed',
  async (t) => {
    const { call, admin } = await start()
    const post = async (payload: string) =>
      (await call(admin, 'POST /api/keys', undefined, { headers: json, payload })).json.error
        .message as string
    const tooMany = 'The body must not contain more than 40000 commas or 1000 levels of nesting'
    t.equal(await post(`[${'1,'.repeat(40_001)}1]`), tooMany)
    t.equal(await post(`{${'"a":1,'.repeat(40_001)}"b":1}`), tooMany)
    t.equal(await post(`${'['.repeat(100_000)}${']'.repeat(100_000)}`), tooMany)
    t.not(await post(`[${'1,'.repeat(39_999)}1]`), tooMany)
    t.not(
      await post(JSON.stringify({ name: '",[{\\'.repeat(20_000) })),
      tooMany,
      'in a text, all characters are allowed',
    )
  },
)

await t.test('a body that is not a JSON object is rejected', async (t) => {
  const { call, admin, countKeys } = await start()
  const bodies = [
    'null',
    '[]',
    '"text"',
    '5',
    'true',
    '{',
    '{"name":}',
    'name=n',
    '{"name":"n"',
    "{'a':1}",
    '\ufeff{}',
  ]
  for (const payload of [...bodies, '[[['.repeat(100_000), '[{"a":'.repeat(50_000)]) {
    const reply = await call(admin, 'POST /api/keys', undefined, { headers: json, payload })
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', payload.slice(0, 20))
  }
  const deep = `{"name":"n","permissions":${'['.repeat(200_000)}${']'.repeat(200_000)}}`
  isErrorReply(
    t,
    await call(admin, 'POST /api/keys', undefined, { headers: json, payload: deep }),
    400,
    'INVALID_REQUEST',
    'deep',
  )
  for (const poison of ['{"__proto__":{"a":1}}', '{"constructor":{"prototype":{"a":1}}}']) {
    const reply = await call(admin, 'POST /api/keys', undefined, { headers: json, payload: poison })
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', poison)
  }
  const latin1 = Buffer.concat([
    Buffer.from('{"name":"'),
    Buffer.from([0xe9]),
    Buffer.from('","permissions":["admin"]}'),
  ])
  isErrorReply(
    t,
    await call(admin, 'POST /api/keys', undefined, { headers: json, payload: latin1 }),
    400,
    'INVALID_REQUEST',
    'not UTF-8',
  )
  isErrorReply(
    t,
    await call(admin, 'POST /api/keys', undefined, { headers: json, payload: '' }),
    400,
    'INVALID_REQUEST',
    'empty',
  )
  isErrorReply(t, await call(admin, 'POST /api/keys'), 400, 'INVALID_REQUEST', 'no body')
  t.equal(await countKeys(), 1)
})

await t.test('a body larger than 1 MiB is 413, a type other than JSON is 415', async (t) => {
  const { call, admin, countKeys } = await start()
  const padded = (bytes: number) => {
    const text = JSON.stringify({ ...good, name: '' })
    return text.replace('""', `"${'x'.repeat(bytes - text.length)}"`)
  }
  const largest = await call(admin, 'POST /api/keys', undefined, {
    headers: json,
    payload: padded(1_048_576),
  })
  isErrorReply(t, largest, 400, 'INVALID_REQUEST', '1 MiB is accepted')
  const larger = await call(admin, 'POST /api/keys', undefined, { headers: json, payload: padded(1_048_577) })
  isErrorReply(t, larger, 413, 'PAYLOAD_TOO_LARGE', 'one byte more')
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'nonsense', '']) {
    const reply = await call(admin, 'POST /api/keys', undefined, {
      headers: { 'content-type': type },
      payload: JSON.stringify(good),
    })
    isErrorReply(t, reply, 415, 'UNSUPPORTED_MEDIA_TYPE', type)
  }
  t.equal(await countKeys(), 1)
  for (const type of ['application/json; charset=utf-8', 'APPLICATION/JSON']) {
    const reply = await call(admin, 'POST /api/keys', undefined, {
      headers: { 'content-type': type },
      payload: JSON.stringify(good),
    })
    t.equal(reply.statusCode, 201, type)
  }
})

await t.test('an invalid query is rejected', async (t) => {
  const { call, admin } = await start()
  const cases: [path: string, query: string][] = [
    ['/limit', 'limit=0'],
    ['/limit', 'limit=101'],
    ['/limit', 'limit=abc'],
    ...['1.5', 'Infinity', '-Infinity', '1e1', '0x10', '%2010', '10.0', '+1'].map(
      (limit): [string, string] => ['/limit', `limit=${limit}`],
    ),
    ['/limit', 'limit='],
    ['/limit', 'limit=1&limit=2'],
    ['/status', 'status=dead'],
    ['/status', 'status=active&status=revoked'],
    ['/colour', 'colour=red'],
    ['/cursor', 'cursor=nonsense'],
    ['/cursor', 'cursor='],
    ['/cursor', `cursor=${Buffer.from('-1').toString('base64url')}`],
    ['/cursor', `cursor=${Buffer.from('9'.repeat(30)).toString('base64url')}`],
    ['/cursor', 'cursor=%00'],
  ]
  for (const [path, query] of cases) {
    const reply = await call(admin, `GET /api/keys?${query}`)
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', query)
    t.equal(reply.json.error.details[0].path, path, query)
  }
  const forged = Buffer.from('incidents 0:2147483648').toString('base64url')
  isErrorReply(t, await call(admin, `GET /api/incidents?cursor=${forged}`), 400, 'INVALID_REQUEST', 'no id')
  for (const name of ['n'.repeat(10_000), `${'n'.repeat(10_000)}\0`]) {
    const reply = await call(admin, 'POST /api/keys', { ...good, [name]: 1 })
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', 'a field with a long name')
    t.ok(reply.body.length < 2_000, 'the response does not repeat it')
  }
  isErrorReply(t, await call(admin, 'GET /api/me?a=1'), 400, 'INVALID_REQUEST', 'a route without parameters')
  isErrorReply(t, await call(admin, 'GET /api/keys/%00'), 400, 'INVALID_REQUEST', 'NUL in the path')
})

await t.test('a cursor is only valid for the list that issued it', async (t) => {
  const { call, admin } = await start()
  for (const tag of ['a', 'b']) {
    await call(admin, 'POST /api/monitors', { tag, name: tag })
    const points = ['00:00', '00:01', '01:00'].map((time) => ({
      status: 'UP',
      timestamp: `2026-01-01T${time}:00Z`,
    }))
    await call(admin, `POST /api/monitors/${tag}/data`, { points })
    await call(admin, 'POST /api/keys', good)
    const { id } = (await call(admin, 'POST /api/incidents', { title: 'T', comment: 'C' })).json.data
    await call(admin, `POST /api/incidents/${id}/comments`, { comment: 'D' })
    const daily = { duration_seconds: 60, rrule: 'FREQ=DAILY;COUNT=2' }
    const starts_at = new Date(Date.now() + 3_600_000).toISOString()
    await call(admin, 'POST /api/maintenances', { title: 'T', ...daily, starts_at })
  }
  const lists = [
    ...['/api/keys', '/api/monitors', '/api/incidents', '/api/maintenances'],
    ...[1, 2].flatMap((id) => [`/api/incidents/${id}/comments`, `/api/maintenances/${id}/events`]),
    ...['a', 'b'].flatMap((tag) => [`/api/monitors/${tag}/data`, `/api/monitors/${tag}/data?interval=hour`]),
  ]
  const page = (list: string, query: string) =>
    call(admin, `GET ${list}${list.includes('?') ? '&' : '?'}${query}`)
  for (const [index, issuer] of lists.entries()) {
    const cursor = (await page(issuer, 'limit=1')).json.pagination.next_cursor
    t.type(cursor, 'string', issuer)
    t.ok((await page(issuer, `cursor=${cursor}`)).json.data.length >= 1, `${issuer} continues`)
    // The lists that are most alike.
    for (const list of [...lists, ...lists].slice(index + 1, index + 3)) {
      const reply = await page(list, `cursor=${cursor}`)
      isErrorReply(t, reply, 400, 'INVALID_REQUEST', `${list} with a cursor of ${issuer}`)
    }
  }
  const { next_cursor: cursor } = (await page('/api/monitors', 'limit=1')).json.pagination
  t.equal((await page('/api/monitors', `limit=2&enabled=true&cursor=${cursor}`)).json.data[0].tag, 'b')
})

await t.test('numbers may have leading zeros', async (t) => {
  const { call, admin } = await start()
  t.equal((await call(admin, 'GET /api/keys?limit=050')).statusCode, 200)
  isErrorReply(t, await call(admin, 'GET /api/keys?limit=0101'), 400, 'INVALID_REQUEST', 'a larger number')
  const page = (await call(admin, 'GET /api/v4/maintenances/events?page=01&limit=007')).json
  t.match(page, { page: 1, limit: 7 })
})

await t.test('routes without a body accept no body or an empty one', async (t) => {
  const { call, admin, db } = await start()
  const { id } = await newKey({ db })
  isErrorReply(
    t,
    await call(admin, `POST /api/keys/${id}/revoke`, { force: true }),
    400,
    'INVALID_REQUEST',
    'unknown field',
  )
  isErrorReply(
    t,
    await call(admin, `POST /api/keys/${id}/rotate`, { overlap: 5 }),
    400,
    'INVALID_REQUEST',
    'unknown field',
  )
  for (const overlap_seconds of [-1, 604_801, 1.5, '60']) {
    const reply = await call(admin, `POST /api/keys/${id}/rotate`, { overlap_seconds })
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', String(overlap_seconds))
  }
  for (const payload of [undefined, '', '{}']) {
    const reply = await call(admin, `POST /api/keys/${id}/revoke`, undefined, {
      headers: json,
      ...(payload !== undefined && { payload }),
    })
    t.equal(reply.statusCode, 200, String(payload))
  }
})

await t.test('an internal error reveals no internal details', async (t) => {
  const replica = await startReplica(t, {
    extend: (app) => {
      app.register(
        async (scope) => {
          // Outside the scope that authenticates.
          const schema = { operationId: 'break', summary: 'Break' }
          scope.get('/broken', { config: { permission: 'any-key' }, schema }, () => {
            throw new Error('the password is swordfish')
          })
        },
        { prefix: '/elsewhere' },
      )
    },
  })
  const { token } = await newKey(replica)
  const thrown = await replica.call(null, 'GET /elsewhere/broken')
  isErrorReply(t, thrown, 500, 'INTERNAL_ERROR', 'a handler that throws')
  t.notMatch(thrown.body, /swordfish/)
  t.ok(
    replica.log.some((line) => JSON.stringify(line).includes('swordfish')),
    'the cause is logged',
  )
  await replica.db.schema.dropTable('rate_counters').execute()
  const lost = await replica.call(token, 'GET /api/me')
  isErrorReply(t, lost, 500, 'INTERNAL_ERROR', 'a statement that fails')
  t.notMatch(lost.body, /rate_counters|relation/)
})

await t.test('a body designed to be slow to validate is rejected with a small response', async (t) => {
  const { call, admin } = await start()
  const nested = `{"name":${'["\\u0000",'.repeat(45_000)}1${']'.repeat(45_000)}}`
  const bodies = [
    nested,
    JSON.stringify({ name: Array.from({ length: 90_000 }, () => '\0') }),
    JSON.stringify({ name: 'n', permissions: Array.from({ length: 150_000 }, (_, index) => index) }),
    JSON.stringify({ name: 'n', permissions: Array.from({ length: 50_000 }, () => ({ a: 1 })) }),
    JSON.stringify(Object.fromEntries(Array.from({ length: 60_000 }, (_, index) => [`k${index}`, 1]))),
  ]
  for (const payload of bodies) {
    const reply = await call(admin, 'POST /api/keys', undefined, { headers: json, payload })
    isErrorReply(t, reply, 400, 'INVALID_REQUEST', payload.slice(0, 30))
    t.ok(reply.body.length < 2_000, `${reply.body.length} bytes`)
  }
})

await t.test('a chunked body that is nested deeply is rejected', async (t) => {
  const { call, admin } = await start()
  const headers = { ...json, 'transfer-encoding': 'chunked' }
  const payload = Readable.from([`${'['.repeat(30_000)}${']'.repeat(30_000)}`])
  const reply = await call(admin, 'POST /api/keys', undefined, { headers, payload })
  isErrorReply(t, reply, 400, 'INVALID_REQUEST', 'without Content-Length')
  t.equal(reply.json.error.message, 'Invalid body: must be an object')
})

await t.test('a body that is compressed or not UTF-8 is 415', async (t) => {
  const { call, admin } = await start()
  for (const headers of [
    { ...json, 'content-encoding': 'gzip' },
    { 'content-type': 'application/json; charset=utf-16' },
    { 'content-type': 'application/json;charset="latin1"' },
  ]) {
    const reply = await call(admin, 'POST /api/keys', undefined, { headers, payload: JSON.stringify(good) })
    isErrorReply(t, reply, 415, 'UNSUPPORTED_MEDIA_TYPE', JSON.stringify(headers))
  }
  const identity = { 'content-type': 'application/json; charset="UTF-8"', 'content-encoding': 'identity' }
  const reply = await call(admin, 'POST /api/keys', undefined, {
    headers: identity,
    payload: JSON.stringify(good),
  })
  t.equal(reply.statusCode, 201)
})

await t.test('the largest valid values are accepted', async (t) => {
  const { call, admin } = await start()
  const largest = {
    name: '💡'.repeat(100),
    permissions: [
      'read:monitors',
      'write:monitors',
      'delete:monitors',
      'read:incidents',
      'write:incidents',
      'admin',
    ],
    expires_at: '9999-12-31T23:59:59Z',
    rate_limit: 1_000_000_000,
  }
  const reply = await call(admin, 'POST /api/keys', largest)
  t.equal(reply.statusCode, 201)
  t.match(reply.json.data, largest)
  t.equal((await call(reply.json.data.key, 'GET /api/me')).headers['x-ratelimit-remaining'], '999999999')
})

type Schema = {
  type?: string | string[]
  properties?: Record<string, Schema>
  items?: Schema
  maxItems?: number
  maxLength?: number
}

/** Returns values that violate every keyword of the schema. */
function invalidValues(schema: Schema): unknown[] {
  const { properties, items } = schema
  if (properties) {
    const names = Object.keys(properties)
    const valid = Object.fromEntries(names.map((name) => [name, null]))
    return [
      'text',
      {},
      { ...valid, unknown: 1 },
      ...names.map((name) => ({ [name]: null })),
      ...Object.entries(properties).flatMap(([name, part]) =>
        invalidValues(part).map((value) => ({ ...valid, [name]: value })),
      ),
    ]
  }
  if (items) {
    const many = Array.from({ length: (schema.maxItems ?? 1_000) + 1 }, () => 'x')
    return ['text', [], ['x', 'x'], many, ...invalidValues(items).map((value) => [value])]
  }
  return [{}, '', ' ', 'a b^', -1, 1.5, 0, 1e300, 'x'.repeat((schema.maxLength ?? 0) + 1)]
}

await t.test(
  'no validation message contains a regular expression or vocabulary of JSON Schema',
  async (t) => {
    const schemas: { name: string; schema: Schema; part: string }[] = []
    await startReplica(t, {
      extend: (app) => {
        app.addHook('onRoute', ({ method, url, schema }) => {
          for (const part of ['body', 'querystring', 'params'] as const) {
            if (!schema?.[part]) continue
            schemas.push({ name: `${String(method)} ${url} ${part}`, schema: schema[part], part })
          }
        })
      },
    })
    t.ok(schemas.length > 50, `${schemas.length} schemas`)
    const vocabulary =
      /[\\^$[\]{}]|[<>]=|NOT|JSON|schema|pattern|propert|\bitems \(|oneOf|anyOf|allOf|(?<!\/)format|\b(string|integer|array|object|boolean)\b(?<!a string|an array|an object)|is invalid|undefined|NaN/
    const messages = new Set<string>()
    for (const { name, schema, part } of schemas) {
      const validateFirst = part === 'body' ? compileJson(schema) : compileCoercing(schema)
      for (const value of invalidValues(schema)) {
        const first = typeof value === 'object' ? validateFirst(value) : { value }
        for (const errors of [findErrors(schema, value), 'error' in first ? first.error : []]) {
          if (errors.length === 0) continue
          const { message, details = [] } = fromAjvErrors(errors, part)
          t.ok(details.length > 0, `${name}: ${message}`)
          for (const text of [message, ...details.map(({ message }) => message)]) {
            if (messages.has(text)) continue
            messages.add(text)
            t.notMatch(text, vocabulary, name)
          }
        }
      }
    }
    for (const expected of [
      /must have either status or points$/,
      /must have either state, or starts_at and ends_at$/,
      /must be one of active, expired, revoked$/,
      /must be a time like 2024-01-01T00:00:00Z, from 1970 to 9999, or null$/,
      /must be from 1 to 100$/,
      /must not be blank/,
    ]) {
      t.ok(
        [...messages].some((text) => expected.test(text)),
        String(expected),
      )
    }
  },
)

await t.test('a target in absolute form is the same as its path', async (t) => {
  const replica = await startReplica(t)
  const { call, app } = replica
  const { token } = await newKey(replica)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const body = { tag: 'absolute', name: 'Absolute' }
  const headers = { ...json, 'idempotency-key': 'absolute' }
  const sent = request({
    host: '127.0.0.1',
    port,
    method: 'POST',
    path: 'http://status.example.com/api/monitors',
    headers: { ...headers, authorization: `Bearer ${token}` },
  }).end(JSON.stringify(body))
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  t.equal(response.statusCode, 201)
  const first = await text(response)
  const repeated = await call(token, 'POST /api/monitors', body, { headers })
  t.match(repeated, { statusCode: 201, headers: { 'idempotency-replayed': 'true' }, body: first })
  t.match((await call(token, 'GET /api/audit')).json.data, [
    { action: 'monitor.created', actor: { via: 'api' } },
  ])
})
