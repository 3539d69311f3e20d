import type { RouteOptions } from 'fastify'
import t, { type Test } from 'tap'
import { formatToken, generateTokenParts, parseToken } from '../src/keys/token.ts'
import { type Access, permissions } from '../src/permissions.ts'
import { expire, isErrorReply, newKey, type Replica, startReplica } from './helper.ts'

type Route = { method: 'GET'; url: string; access: Access }

/** Starts a replica, and collects every route under /api, so that new routes are tested without a change here. */
async function startSwept(t: Test): Promise<{ replica: Replica; routes: Route[] }> {
  const routes: Route[] = []
  const replica = await startReplica(t, {
    extend: (app) => {
      app.addHook('onRoute', (route: RouteOptions) => {
        if (!route.url.startsWith('/api')) return
        for (const method of [route.method].flat()) {
          // Any value will do for a parameter, because access is checked before existence.
          const url = route.url.replace(/:[a-z_]+/g, '1').replace(/(.)\/$/, '$1')
          routes.push({ method: method as 'GET', url, access: route.config?.permission ?? 'public' })
        }
      })
    },
  })
  t.ok(routes.length > 10, 'the routes were collected')
  return { replica, routes }
}

const challenge = 'Bearer realm="kener"'
const invalidToken = `${challenge}, error="invalid_token"`

await t.test('without a valid key, every route is 401 and reveals nothing about the key', async (t) => {
  const { replica, routes } = await startSwept(t)
  const good = await newKey(replica)
  const expired = await newKey(replica)
  await expire(replica, expired.id)
  const revoked = await newKey(replica)
  const both = await newKey(replica)
  await expire(replica, both.id)
  for (const { id } of [revoked, both]) {
    await replica.db.updateTable('api_keys').set({ revoked_at: new Date() }).where('id', '=', id).execute()
  }
  const wrongSecret = (text: string) =>
    formatToken({ ...generateTokenParts(), id: parseToken(text)?.id ?? '' })

  const cases: [name: string, key: string | null, code: string, challenge: string][] = [
    ['no key', null, 'UNAUTHORIZED', challenge],
    ['an empty key', '', 'UNAUTHORIZED', challenge],
    ['a malformed key', 'kener_nonsense', 'UNAUTHORIZED', invalidToken],
    [
      'a wrong checksum',
      good.token.slice(0, -1) + (good.token.endsWith('0') ? '1' : '0'),
      'UNAUTHORIZED',
      invalidToken,
    ],
    ['an unknown key', formatToken(generateTokenParts()), 'UNAUTHORIZED', invalidToken],
    ['a wrong secret', wrongSecret(good.token), 'UNAUTHORIZED', invalidToken],
    ['a wrong secret for an expired key', wrongSecret(expired.token), 'UNAUTHORIZED', invalidToken],
    ['a wrong secret for a revoked key', wrongSecret(revoked.token), 'UNAUTHORIZED', invalidToken],
    ['an expired key', expired.token, 'KEY_EXPIRED', invalidToken],
    ['a revoked key', revoked.token, 'KEY_REVOKED', invalidToken],
    ['a key both revoked and expired', both.token, 'KEY_REVOKED', invalidToken],
  ]
  const unknown: Route[] = [
    { method: 'GET', url: '/api', access: 'any-key' },
    { method: 'GET', url: '/api/', access: 'any-key' },
    { method: 'GET', url: '/api/nothing-here', access: 'any-key' },
    { method: 'GET', url: '/api/%zz', access: 'any-key' },
    { method: 'GET', url: `/api/keys/${'x'.repeat(1_000)}`, access: 'any-key' },
  ]
  for (const { method, url, access } of [...routes, ...unknown]) {
    if (access === 'public') continue
    for (const [name, key, code, expectedChallenge] of cases) {
      const reply = await replica.call(key, `${method} ${url}`)
      const title = `${method} ${url} with ${name}`
      t.equal(reply.statusCode, 401, title)
      t.equal(reply.headers['www-authenticate'], expectedChallenge, title)
      t.match(reply.headers['x-request-id'], /.+/, title)
      t.equal(reply.headers['x-ratelimit-limit'], undefined, title)
      if ((method as string) !== 'HEAD') {
        t.equal(reply.json.error.code, code, title)
        t.same(Object.keys(reply.json), ['success', 'error'], title)
      }
    }
  }
})

await t.test(
  'a key with every permission except that of the route is 403, which names the permission',
  async (t) => {
    const { replica, routes } = await startSwept(t)
    for (const { method, url, access } of routes) {
      if (access === 'public' || access === 'any-key') continue
      const others = permissions.filter((permission) => permission !== access && permission !== 'admin')
      const key = await newKey(replica, { permissions: others })
      const reply = await replica.call(key.token, `${method} ${url}`)
      const title = `${method} ${url} needs ${access}`
      t.equal(reply.statusCode, 403, title)
      t.equal(
        reply.headers['www-authenticate'],
        `${challenge}, error="insufficient_scope", scope="${access}"`,
        title,
      )
      if ((method as string) !== 'HEAD') {
        t.equal(reply.json.error.code, 'FORBIDDEN', title)
        t.ok(reply.json.error.message.includes(access), title)
      }
      t.match(reply.headers['x-ratelimit-remaining'], /\d+/, `${title}: the reply is authenticated`)
    }
  },
)

await t.test('the permission of the route is sufficient, and so is admin', async (t) => {
  const { replica, routes } = await startSwept(t)
  for (const { method, url, access } of routes) {
    const own = access === 'any-key' || access === 'public' ? 'read:monitors' : access
    for (const permission of [own, 'admin'] as const) {
      const key = await newKey(replica, { permissions: [permission] })
      const reply = await replica.call(key.token, `${method} ${url}`)
      t.notOk([401, 403].includes(reply.statusCode), `${method} ${url} with ${permission}: ${reply.body}`)
    }
  }
})

await t.test(
  'with a key bound to other monitors, every route about monitors is 403, 404 or empty',
  async (t) => {
    const { replica, routes } = await startSwept(t)
    const admin = (await newKey(replica)).token
    await replica.call(admin, 'POST /api/monitors', { tag: '1', name: 'One' })
    const monitors = [{ monitor_tag: '1', impact: 'DOWN' }]
    const comment = { comment: 'C' }
    t.equal(
      (await replica.call(admin, 'POST /api/incidents', { title: 'T', monitors, ...comment })).json.data.id,
      1,
    )
    const when = { starts_at: '2999-01-01T00:00:00Z', duration_seconds: 60 }
    const maintenance = { title: 'T', ...when, monitors: [{ monitor_tag: '1' }] }
    t.equal((await replica.call(admin, 'POST /api/maintenances', maintenance)).json.data.id, 1)
    const state = async () => {
      const urls = ['monitors', 'incidents', 'incidents/1/comments', 'maintenances', 'maintenances/1/events']
      return Promise.all(urls.map(async (url) => (await replica.call(admin, `GET /api/${url}`)).body))
    }
    const before = await state()

    // Bodies that are valid for the monitor 1.
    const bodies: [pattern: RegExp, body: object][] = [
      [/monitors$/, { tag: '1', name: 'N' }],
      [/v4\/monitors\/1\/data$/, { start_ts: 60, end_ts: 120, status: 'UP', latency: 1 }],
      [/v4\/monitors\/1\/data\/1$/, { status: 'UP' }],
      [/monitors\/1\/data$/, { status: 'UP' }],
      [/monitors\/1$/, { name: 'N' }],
      [/v4\/incidents$/, { title: 'N', start_date_time: 60, monitors }],
      [/incidents$/, { title: 'N', monitors }],
      [/comments(\/1)?$/, { comment: 'N', state: 'RESOLVED' }],
      [
        /v4\/maintenances$/,
        { title: 'N', start_date_time: 60, rrule: 'FREQ=DAILY', duration_seconds: 60, monitors },
      ],
      [/maintenances$/, { ...maintenance, title: 'N' }],
      [/v4\/maintenances\/1\/events\/1$/, { status: 'CANCELLED' }],
      [/events\/1$/, { state: 'CANCELLED' }],
      [/(incidents|maintenances)\/1$/, { title: 'N' }],
    ]
    const all = permissions.filter((permission) => permission !== 'admin')
    const { token } = await newKey(replica, { permissions: all, monitors: ['2', 'x*'] })
    let count = 0
    for (const { method, url, access } of routes) {
      if (access === 'public' || !/\/(monitors|incidents|maintenances)(\/|$)/.test(url)) continue
      count++
      const isRead = ['GET', 'HEAD'].includes(method)
      const body =
        isRead || (method as string) === 'DELETE'
          ? undefined
          : bodies.find(([pattern]) => pattern.test(url))?.[1]
      const query = url.endsWith('v4/monitors/1/data') && isRead ? '?start_ts=0&end_ts=60' : ''
      const reply = await replica.call(token, `${method} ${url}${query}`, body)
      const title = `${method} ${url} (${access}): ${reply.statusCode} ${reply.body}`
      if (reply.statusCode === 200 && (method as string) !== 'HEAD') {
        const { data, monitors, incidents, maintenances, events } = reply.json
        t.same(data ?? monitors ?? incidents ?? maintenances ?? events, [], title)
      } else {
        t.ok(reply.statusCode === 200 ? isRead : [403, 404].includes(reply.statusCode), title)
      }
      if (url.includes('/monitors/1'))
        t.equal(reply.statusCode, 403, `${title}, without a look at the monitor`)
    }
    t.ok(count > 50, `${count} routes`)
    t.same(await state(), before, 'nothing changed')
  },
)

await t.test('a route under /api without a permission is a boot error', async (t) => {
  const extend = (url: string) => ({
    extend: (app: Replica['app']) => {
      app.register(async (scope) => {
        scope.get(url, { schema: { operationId: 'read', summary: 'Read' } }, () => 'open to all')
      })
    },
  })
  await t.rejects(startReplica(t, extend('/api/forgotten')), {
    message: /\/api\/forgotten.*config\.permission/,
  })
  await t.resolves(startReplica(t, extend('/elsewhere')))
})

await t.test('keys outside the Authorization header are ignored', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  isErrorReply(t, await replica.call(null, `GET /api/me?access_token=${token}`), 401, 'UNAUTHORIZED', 'query')
  for (const headers of [
    { cookie: `access_token=${token}` },
    { 'x-api-key': token },
    { authorization: token },
  ]) {
    const reply = await replica.call(null, 'GET /api/me', undefined, { headers })
    isErrorReply(t, reply, 401, 'UNAUTHORIZED', Object.keys(headers).join())
  }
  const basic = { headers: { authorization: `Basic ${Buffer.from(`${token}:`).toString('base64')}` } }
  const reply = await replica.call(null, 'GET /api/me', undefined, basic)
  isErrorReply(t, reply, 401, 'UNAUTHORIZED', 'another scheme')
  t.equal(reply.headers['www-authenticate'], challenge, 'another scheme counts as no credentials')
})

await t.test('the name of the scheme is case-insensitive (RFC 9110)', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
    const headers = { authorization: `${scheme} ${token}` }
    t.equal((await replica.call(null, 'GET /api/me', undefined, { headers })).statusCode, 200, scheme)
  }
})

await t.test(
  'with a valid key, an unknown path is 404, and a known path with a wrong method is 405 with Allow',
  async (t) => {
    const replica = await startReplica(t)
    const { token } = await newKey(replica, { permissions: ['read:monitors'] })
    for (const path of ['/api', '/api/', '/api/nothing', '/api/keys/a/b/c']) {
      isErrorReply(t, await replica.call(token, `GET ${path}`), 404, 'NOT_FOUND', path)
    }
    const allowed: [`POST ${string}` | `DELETE ${string}`, string][] = [
      ['POST /api/me', 'GET, HEAD'],
      ['DELETE /api/keys?a=1', 'GET, HEAD, POST'],
      ['DELETE /api/keys/some', 'GET, HEAD, PATCH'],
      ['DELETE /api/keys/some/revoke', 'POST'],
    ]
    for (const [route, allow] of allowed) {
      const reply = await replica.call(token, route)
      isErrorReply(t, reply, 405, 'METHOD_NOT_ALLOWED', route)
      t.same(String(reply.headers.allow).split(', ').sort(), allow.split(', ').sort(), route)
    }
    for (const [type, payload] of [
      ['application/json', '{bad'],
      ['application/json', `"${'x'.repeat(2_000_000)}"`],
      ['text/plain', 'x'],
    ] as const) {
      const asked = { headers: { 'content-type': type }, payload }
      const name = `whatever its body: ${type} ${payload.slice(0, 10)}`
      isErrorReply(
        t,
        await replica.call(token, 'POST /api/nothing', undefined, asked),
        404,
        'NOT_FOUND',
        name,
      )
      isErrorReply(
        t,
        await replica.call(token, 'PUT /api/me', undefined, asked),
        405,
        'METHOD_NOT_ALLOWED',
        name,
      )
    }
    isErrorReply(
      t,
      await replica.call(token, 'GET /api/%zz'),
      400,
      'INVALID_REQUEST',
      'a URL that cannot be decoded',
    )
  },
)

await t.test('TRACE returns no part of the request', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  for (const url of ['/api/me', '/healthz', '/manage/login', '/nothing']) {
    const reply = await replica.app.inject({
      method: 'TRACE' as 'GET',
      url,
      headers: { authorization: `Bearer ${token}` },
    })
    t.ok([303, 404, 405].includes(reply.statusCode), `${url}: ${reply.statusCode}`)
    t.notOk(reply.body.includes('authorization'), url)
  }
})
