import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import type { Kysely } from 'kysely'
import t, { type Test } from 'tap'
import type { Tables } from '../src/database/schema.ts'
import { clientNetwork, parseAddress } from '../src/http/client-address.ts'
import { revokeKeys } from '../src/keys/repository.ts'
import { formatToken, generateTokenParts } from '../src/keys/token.ts'
import {
  createDatabase,
  expire,
  isErrorReply,
  newKey,
  type Replica,
  type Reply,
  startReplica,
  times,
  waitForTimeInMinute,
  waitUntil,
} from './helper.ts'

async function startTwo(t: Test): Promise<[Replica, Replica]> {
  const url = await createDatabase(t)
  return [await startReplica(t, { url }), await startReplica(t, { url })]
}

/** Groups responses by window, because a new minute may start meanwhile. */
function byWindow(replies: Reply[]): { passed: number; rejected: number; remaining: number[] }[] {
  const windows = new Map<unknown, { passed: number; rejected: number; remaining: number[] }>()
  for (const { statusCode, headers } of replies) {
    const window = windows.get(headers['x-ratelimit-reset']) ?? { passed: 0, rejected: 0, remaining: [] }
    windows.set(headers['x-ratelimit-reset'], window)
    if (statusCode === 200) {
      window.passed++
      window.remaining.push(Number(headers['x-ratelimit-remaining']))
    } else {
      window.rejected++
    }
  }
  return [...windows.values()]
}

/** Moves the current window of a key to the previous minute. */
function passMinute(replica: Replica, id: string): Promise<void> {
  return moveWindow(replica, id, -1)
}

async function moveWindow({ db }: Replica, id: string, minutes: number): Promise<void> {
  await db
    .updateTable('rate_counters')
    .set((eb) => ({ minute: eb('minute', '+', minutes) }))
    .where('key_id', '=', id)
    .execute()
}

await t.test('of concurrent requests to two replicas, exactly the limit passes', async (t) => {
  const [one, two] = await startTwo(t)
  for (const limit of [1, 7, 100]) {
    const { token } = await newKey(one, { rateLimit: limit })
    const replies = await times(200, (index) => (index % 2 ? one : two).call(token, 'GET /api/me'))
    for (const { passed, rejected, remaining } of byWindow(replies)) {
      t.equal(passed, Math.min(limit, passed + rejected), `limit ${limit}: exactly the limit passes`)
      const expected = Array.from({ length: passed }, (_, index) => limit - 1 - index)
      t.same(
        remaining.sort((a, b) => b - a),
        expected,
        `limit ${limit}: each request has its own X-RateLimit-Remaining`,
      )
    }
    t.ok(replies.every(({ statusCode }) => statusCode === 200 || statusCode === 429))
  }
})

await t.test(
  'concurrent requests of many keys neither affect each other nor deadlock two replicas',
  async (t) => {
    const [one, two] = await startTwo(t)
    const keys = await times(20, () => newKey(one, { rateLimit: 10 }))
    const calls = keys.flatMap(({ token }) => Array.from({ length: 30 }, () => token))
    const shuffled = calls.map((text, index) => ({ text, place: (index * 7919) % calls.length }))
    shuffled.sort((a, b) => a.place - b.place)
    const replies = await Promise.all(
      shuffled.map(async ({ text }, index) => ({
        text,
        reply: await (index % 2 ? one : two).call(text, 'GET /api/me'),
      })),
    )
    for (const { token } of keys) {
      const own = replies.filter((reply) => reply.text === token).map(({ reply }) => reply)
      for (const { passed, rejected } of byWindow(own)) t.equal(passed, Math.min(10, passed + rejected))
    }
  },
)

await t.test('without a limit of its own, the 101st request of a key in a minute is 429', async (t) => {
  const replica = await startReplica(t, { config: { rateLimitMax: 100 } })
  const { token } = await newKey(replica)
  const replies: Reply[] = []
  for (let count = 0; count < 202; count++) replies.push(await replica.call(token, 'GET /api/me'))
  const full = byWindow(replies).filter(({ rejected }) => rejected > 0)
  t.ok(full.length > 0)
  for (const { passed } of full) t.equal(passed, 100)
})

await t.test('every authenticated response has the rate limit headers, including errors', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica, { permissions: ['read:monitors'], rateLimit: 60 })
  const { token: admin } = await newKey(replica, { rateLimit: 60 })
  const replies = [
    await replica.call(token, 'GET /api/me'),
    await replica.call(token, 'GET /api/keys'),
    await replica.call(token, 'GET /api/nothing'),
    await replica.call(token, 'DELETE /api/me'),
    await replica.call(token, 'GET /api/%zz'),
    await replica.call(admin, 'POST /api/keys', { name: 5 }),
    await replica.call(admin, 'GET /api/keys/none'),
  ]
  t.same(
    replies.map(({ statusCode }) => statusCode),
    [200, 403, 404, 405, 400, 400, 404],
  )
  const now = Date.now() / 1000
  for (const { headers } of replies) {
    t.equal(headers['x-ratelimit-limit'], '60')
    t.match(headers['x-ratelimit-remaining'], /^5\d$/)
    const reset = Number(headers['x-ratelimit-reset'])
    t.equal(reset % 60, 0, 'windows end on the minute')
    t.ok(reset > now - 5 && reset <= now + 60, 'the reset is a unix timestamp of this minute')
    t.equal(headers['ratelimit-policy'], '"minute";q=60;w=60')
    t.match(
      headers.ratelimit,
      new RegExp(`^"minute";r=${String(headers['x-ratelimit-remaining'])};t=([1-9]|[1-5]\\d|60)$`),
    )
  }
})

await t.test('a 429 has Retry-After, and requests pass again in the next window', async (t) => {
  const replica = await startReplica(t)
  const { token, id } = await newKey(replica, { rateLimit: 1 })
  await replica.call(token, 'GET /api/me')
  // Twice, because a new minute may start between two requests.
  const rejected = [await replica.call(token, 'GET /api/me'), await replica.call(token, 'GET /api/me')].find(
    ({ statusCode }) => statusCode === 429,
  )
  if (!rejected) throw new Error('neither was rejected')
  isErrorReply(t, rejected, 429, 'RATE_LIMIT_EXCEEDED', 'over the limit')
  t.equal(rejected.headers['x-ratelimit-remaining'], '0')
  t.match(rejected.headers['retry-after'], /^([1-9]|[1-5]\d|60)$/)
  t.equal(rejected.headers['www-authenticate'], undefined)

  await passMinute(replica, id)
  t.equal((await replica.call(token, 'GET /api/me')).statusCode, 200)
})

await t.test('429 comes before 403, 404 and 400', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica, { permissions: ['read:monitors'], rateLimit: 1 })
  // A new minute may start before the second or the third request, but not before both.
  const attempts = async (route: Parameters<Replica['call']>[1]) => {
    const statuses = [
      await replica.call(token, route),
      await replica.call(token, route),
      await replica.call(token, route),
    ]
    return statuses.map(({ statusCode }) => statusCode)
  }
  for (const route of ['GET /api/keys', 'GET /api/nothing', 'GET /api/%zz', 'DELETE /api/me'] as const) {
    t.ok((await attempts(route)).includes(429), route)
  }
})

await t.test('a wrong secret never consumes the quota of the key that it names', async (t) => {
  const [one, two] = await startTwo(t)
  const { token, id } = await newKey(one, { rateLimit: 5 })
  const wrong = Array.from({ length: 50 }, () => formatToken({ ...generateTokenParts(), id }))
  const replies = await Promise.all(
    wrong.map((key, index) => (index % 2 ? one : two).call(key, 'GET /api/me')),
  )
  t.ok(replies.every(({ statusCode }) => statusCode === 401))
  const counters = await one.db.selectFrom('rate_counters').selectAll().execute()
  t.same(counters, [], 'no request was counted')
  t.equal((await one.call(token, 'GET /api/me')).headers['x-ratelimit-remaining'], '4')
})

await t.test('requests of revoked and expired keys are not counted', async (t) => {
  const replica = await startReplica(t)
  const { token: admin } = await newKey(replica)
  const { token, id } = await newKey(replica)
  await replica.call(admin, `POST /api/keys/${id}/revoke`)
  await replica.call(token, 'GET /api/me')
  const counters = await replica.db.selectFrom('rate_counters').select('key_id').execute()
  t.notOk(counters.some(({ key_id }) => key_id === id))
})

await t.test(
  'a limit that is raised within a window lets only the difference pass; a lowered limit lets none pass',
  async (t) => {
    const replica = await startReplica(t)
    const { token: admin } = await newKey(replica)
    const { token, id } = await newKey(replica, { rateLimit: 3 })
    const windows = async () => byWindow(await times(20, () => replica.call(token, 'GET /api/me')))
    const first = await windows()
    await replica.call(admin, `PATCH /api/keys/${id}`, { rate_limit: 5 })
    const raised = await windows()
    // If a new minute started in between, the counts of the windows cannot be compared.
    if (first.length === 1 && raised.length === 1) {
      t.equal(first[0]?.passed, 3)
      t.ok([2, 5].includes(raised[0]?.passed ?? 0), 'rejected requests are not counted')
    }
    await replica.call(admin, `PATCH /api/keys/${id}`, { rate_limit: 1 })
    const lowered = await windows()
    t.ok(lowered.every(({ passed }) => passed <= 1))
  },
)

await t.test('public requests are counted per client address, IPv6 per /64', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 3 } })
  const ask = (remoteAddress: string) => replica.call(null, 'GET /api/status', undefined, { remoteAddress })
  await waitForTimeInMinute()
  for (let count = 0; count < 3; count++) t.equal((await ask('10.0.0.1')).statusCode, 200)
  const rejected = await ask('10.0.0.1')
  isErrorReply(t, rejected, 429, 'RATE_LIMIT_EXCEEDED', 'the fourth')
  t.match(rejected.headers['retry-after'], /^[1-9]\d*$/)
  t.equal((await ask('10.0.0.2')).statusCode, 200, 'another address')
  for (const end of ['1', '2', 'ffff:1']) t.equal((await ask(`2001:db8::${end}`)).statusCode, 200)
  t.equal((await ask('2001:db8::3')).statusCode, 429, 'the same /64')
  t.equal((await ask('2001:db8:0:1::1')).statusCode, 200, 'another /64')
})

await t.test('failed authentications are counted per client address', async (t) => {
  const replica = await startReplica(t, { config: { authFailureLimitMax: 5 } })
  const known = await newKey(replica)
  const fresh = await newKey(replica)
  const from = (remoteAddress: string) => ({ remoteAddress })
  t.equal((await replica.call(known.token, 'GET /api/me', undefined, from('10.0.0.1'))).statusCode, 200)

  const wrong = () => formatToken({ ...generateTokenParts(), id: known.id })
  await waitForTimeInMinute()
  const replies = await times(40, (index) =>
    replica.call(index % 2 ? 'nonsense' : wrong(), 'GET /api/me', undefined, from('10.0.0.1')),
  )
  t.equal(
    replies.filter(({ statusCode }) => statusCode === 401).length,
    5,
    'exactly the limit of requests is 401',
  )
  const rejected = replies.filter(({ statusCode }) => statusCode === 429)
  t.equal(rejected.length, 35)
  t.ok(
    rejected.every(
      ({ json, headers }) => json.error.code === 'RATE_LIMIT_EXCEEDED' && headers['retry-after'],
    ),
  )

  const good = await replica.call(known.token, 'GET /api/me', undefined, from('10.0.0.1'))
  t.equal(good.statusCode, 200, 'a verified key is not affected by failures of its address')
  const wanted = { name: 'new', permissions: ['read:monitors'] }
  const created = (await replica.call(known.token, 'POST /api/keys', wanted, from('10.0.0.1'))).json.data
  const rotate = `POST /api/keys/${created.id}/rotate` as const
  const used = await replica.call(created.key, 'GET /api/me', undefined, from('10.0.0.1'))
  const successor = (await replica.call(known.token, rotate, {}, from('10.0.0.1'))).json.data
  const usedNext = await replica.call(successor.key, 'GET /api/me', undefined, from('10.0.0.1'))
  t.same([used.statusCode, usedNext.statusCode], [200, 200], 'nor are keys that this process created')
  const elsewhere = await replica.call(fresh.token, 'GET /api/me', undefined, from('10.0.0.2'))
  t.equal(elsewhere.statusCode, 200, 'another address is not affected')
})

await t.test(
  'over the limit of failures, keys seen for the first time are verified, and guesses cost few look-ups and Argon2 runs',
  async (t) => {
    const { app, db, call, statements } = await startReplica(t, { config: { authFailureLimitMax: 5 } })
    const attacked = await newKey({ db })
    const good = await times(5, () => newKey({ db }))
    const ask = async (token: string) => (await call(token, 'GET /api/me')).statusCode
    await waitForTimeInMinute()
    await times(6, () => ask('nonsense'))

    statements.length = 0
    const guesses = [
      ...Array.from({ length: 20 }, () => formatToken({ ...generateTokenParts(), id: attacked.id })),
      ...Array.from({ length: 20 }, () => formatToken(generateTokenParts())),
    ]
    const [refused, accepted] = await Promise.all([
      times(40, (index) => ask(guesses[index] ?? '')),
      times(5, (index) => ask(good[index]?.token ?? '')),
    ])
    // A new minute may start meanwhile, in which another five guesses are 401.
    t.ok(refused.every((status) => status === 429 || status === 401))
    t.same([...new Set(accepted)], [200])
    t.equal(await ask(attacked.token), 200, 'the key that the guesses name')
    const lookUps = () => statements.filter((statement) => statement.includes('secret_hash'))
    t.ok(lookUps().length <= 10, `${lookUps().length} look-ups`)
    const failedRuns = app.secrets.stats.argon2Runs - good.length - 1
    t.ok(failedRuns <= 5, `${failedRuns} Argon2 runs for 20 wrong secrets`)
  },
)

await t.test('KEY_REVOKED and KEY_EXPIRED are not counted as failed authentications', async (t) => {
  const replica = await startReplica(t, { config: { authFailureLimitMax: 1 } })
  const [revoked, expired, fresh] = [await newKey(replica), await newKey(replica), await newKey(replica)]
  await revokeKeys(replica.db, [revoked.id])
  await expire(replica, expired.id)
  for (const [token, code] of [
    [revoked.token, 'KEY_REVOKED'],
    [expired.token, 'KEY_EXPIRED'],
  ] as const) {
    const replies = await times(10, () => replica.call(token, 'GET /api/me'))
    for (const reply of replies) isErrorReply(t, reply, 401, code, 'each request')
  }
  await waitForTimeInMinute()
  t.equal((await replica.call('nonsense', 'GET /api/me')).statusCode, 401, 'the first failure')
  t.equal((await replica.call('nonsense', 'GET /api/me')).statusCode, 429, 'the second')
  isErrorReply(t, await replica.call(revoked.token, 'GET /api/me'), 401, 'KEY_REVOKED', 'over the limit')
  t.equal((await replica.call(fresh.token, 'GET /api/me')).statusCode, 200)
})

await t.test('keys that alternate on one connection are authenticated and counted separately', async (t) => {
  const replica = await startReplica(t)
  const origin = await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => {
    agent.destroy()
  })
  const [one, two] = [await newKey(replica, { name: 'one' }), await newKey(replica, { name: 'two' })]
  const wrong = formatToken({ ...generateTokenParts(), id: one.id })
  const ports = new Set<unknown>()

  async function ask(text: string) {
    const request = get(`${origin}/api/me`, { agent, headers: { authorization: `Bearer ${text}` } })
    const [reply] = (await once(request, 'response')) as [IncomingMessage]
    ports.add(reply.socket.localPort)
    const { data } = JSON.parse((await reply.toArray()).join('')) as { data?: { key_name: string } }
    return data?.key_name ?? reply.statusCode
  }

  const turns = [one.token, two.token, one.token, wrong, 'garbage', two.token, one.token]
  const answers: unknown[] = []
  for (const text of turns) answers.push(await ask(text))
  t.same(answers, ['one', 'two', 'one', 401, 401, 'two', 'one'])
  t.equal(ports.size, 1, 'all on one connection')
  const counters = await replica.db.selectFrom('rate_counters').select(['key_id', 'used']).execute()
  t.ok(counters.every(({ key_id, used }) => used <= (key_id === one.id ? 3 : 2)))
})

await t.test('X-Forwarded-For is trusted only from the proxies that TRUST_PROXY names', async (t) => {
  const url = await createDatabase(t)
  const cases: [trustProxy: boolean | number | string[], from: string, address: string][] = [
    [false, '10.0.0.1', '10.0.0.1'],
    [['10.0.0.0/8'], '10.0.0.1', '203.0.113.2'],
    [['10.0.0.0/8'], '192.0.2.1', '192.0.2.1'],
    [1, '192.0.2.1', '203.0.113.2'],
  ]
  for (const [trustProxy, remoteAddress, address] of cases) {
    const { call, log } = await startReplica(t, { url, config: { trustProxy } })
    const headers = { 'x-forwarded-for': '203.0.113.1, 203.0.113.2' }
    await call('x', 'GET /api/me', undefined, { remoteAddress, headers })
    const failed = log.find(({ event }) => event === 'authentication_failed')
    t.equal(failed?.address, address, `${JSON.stringify(trustProxy)} from ${remoteAddress}`)
  }
})

await t.test('addresses are read as proxies write them', (t) => {
  const cases: [text: string, address: string | undefined][] = [
    ['203.0.113.1', '203.0.113.1'],
    [' 203.0.113.1 ', '203.0.113.1'],
    ['203.0.113.1:1234', '203.0.113.1'],
    ['"203.0.113.1:1234"', '203.0.113.1'],
    ['[203.0.113.1]:1234', '203.0.113.1'],
    ['::ffff:203.0.113.1', '203.0.113.1'],
    ['::FFFF:cb00:7101', '203.0.113.1'],
    ['[::ffff:203.0.113.1]:1234', '203.0.113.1'],
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['"[2001:db8::1]:443"', '2001:db8::1'],
    ['[fe80::1%eth0]:443', 'fe80::1'],
    ['fe80::1%eth0', 'fe80::1'],
  ]
  for (const [text, address] of cases) t.equal(parseAddress(text), address, text)
  const invalid = [
    '',
    'unknown',
    '_hidden',
    '1.2.3',
    '1.2.3.400',
    '1.2.3.4:',
    '1.2.3.4:x',
    '[2001:db8::1',
    'a\n1.2.3.4',
  ]
  for (const text of invalid) t.equal(parseAddress(text), undefined, text)
  const networks: [address: string, network: string][] = [
    ['203.0.113.1', '203.0.113.1'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['2001:db8:0:0:1:2:3:4', '2001:db8:0:0'],
    ['2001:db8:0:1::', '2001:db8:0:1'],
    ['::1', '0:0:0:0'],
  ]
  for (const [address, network] of networks) t.equal(clientNetwork(address), network, address)
  t.end()
})

await t.test('behind a proxy that adds ports, a client is counted and logged by its address', async (t) => {
  const config = { authFailureLimitMax: 2, trustProxy: ['10.0.0.0/8'] }
  const { call, log } = await startReplica(t, { config })
  const fail = async (forwarded: string) => {
    const headers = { 'x-forwarded-for': forwarded }
    const { statusCode } = await call('x', 'GET /api/me', undefined, { remoteAddress: '10.0.0.1', headers })
    return [statusCode, log.findLast(({ address }) => address !== undefined)?.address]
  }
  await waitForTimeInMinute()
  t.same(await fail('5.6.7.8:1234'), [401, '5.6.7.8'])
  t.same(await fail('5.6.7.8:1235, 10.0.0.2:99'), [401, '5.6.7.8'], 'a trusted proxy with a port')
  t.same(await fail('::ffff:5.6.7.8'), [429, '5.6.7.8'])
  t.same(await fail('[2001:db8::1]:443'), [401, '2001:db8::1'])
  t.same(await fail('"[2001:db8::2]:444"'), [401, '2001:db8::2'])
  t.same(await fail('2001:db8::3'), [429, '2001:db8::3'])
  t.same(await fail('garbage'), [401, '10.0.0.1'], 'the proxy itself')
  t.same(await fail('5.6.7.9, garbage, 10.0.0.2'), [401, '10.0.0.2'], 'the nearest proxy')
})

await t.test('a failed authentication counts even if the client has reset its connection', async (t) => {
  const { app, call, log } = await startReplica(t, {
    config: { authFailureLimitMax: 2 },
    extend: (app) => {
      app.addHook('onRequest', async ({ headers, socket }) => {
        if (headers['x-wait'] !== undefined && !socket.destroyed) await once(socket, 'close')
      })
    },
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as { port: number }
  await waitForTimeInMinute()
  const failures = () => log.filter(({ msg }) => msg === 'request completed')
  for (let count = 1; count <= 2; count++) {
    const received = once(app.server, 'request')
    const socket = connect({ port, host: '127.0.0.1' })
    socket.write('GET /api/me HTTP/1.1\r\nhost: kener.test\r\nx-wait: 1\r\nauthorization: Bearer x\r\n\r\n')
    await received
    socket.resetAndDestroy()
    await waitUntil(() => failures().length === count)
  }
  t.match(failures(), Array(2).fill({ status: 401, event: 'authentication_failed', address: '127.0.0.1' }))
  t.equal((await call('x', 'GET /api/me')).statusCode, 429)
})

await t.test('a limit that several batches use up is exact, and so is the next window', async (t) => {
  const replicas = await startTwo(t)
  const limit = 7
  const { token, id } = await newKey(replicas[0], { rateLimit: limit })
  for (const window of ['first', 'next']) {
    await waitForTimeInMinute()
    const replies: Reply[] = []
    for (let batch = 0; batch < 6; batch++) {
      const replica = replicas[batch % 2 === 0 ? 0 : 1]
      replies.push(...(await times(3, () => replica.call(token, 'GET /api/me'))))
    }
    for (const { passed, rejected } of byWindow(replies)) {
      t.equal(passed, Math.min(limit, passed + rejected), `${window} window: exactly the limit passes`)
    }
    await passMinute(replicas[0], id)
  }
})

/** Locks the counter of a key, in the way that the test names. */
const lockings: [name: string, lock: (trx: Kysely<Tables>, id: string) => Promise<unknown>, used: number][] =
  [
    [
      'locked',
      (trx, id) =>
        trx.selectFrom('rate_counters').select('used').where('key_id', '=', id).forUpdate().execute(),
      1,
    ],
    [
      'inserted, but not committed',
      async (trx, id) => {
        await trx.deleteFrom('rate_counters').where('key_id', '=', id).execute()
        await trx
          .insertInto('rate_counters')
          .values({ key_id: id, minute: 0, max: 0, used: 0, granted: 0 })
          .execute()
      },
      0,
    ],
  ]

for (const [name, lock, used] of lockings) {
  await t.test(`requests of other keys do not wait for a counter that is ${name}`, async (t) => {
    const replicas = await startTwo(t)
    const limit = 5
    const [blocked, other] = [await newKey(replicas[0], { rateLimit: limit }), await newKey(replicas[0])]
    await waitForTimeInMinute()
    if (used > 0) await replicas[0].call(blocked.token, 'GET /api/me')
    const trx = await replicas[0].db.startTransaction().execute()
    await lock(trx, blocked.id)

    let answered = 0
    const waiting = times(20, async (index) => {
      const reply = await (index % 2 ? replicas[0] : replicas[1]).call(blocked.token, 'GET /api/me')
      answered++
      return reply
    })
    for (let round = 0; round < 10; round++) {
      for (const replica of replicas) {
        const replies = await times(10, () => replica.call(other.token, 'GET /api/me'))
        t.ok(replies.every(({ statusCode }) => statusCode === 200))
      }
    }
    t.equal(answered, 0, 'the requests of this key wait')
    await trx.commit().execute()
    for (const { passed, rejected } of byWindow(await waiting)) {
      t.ok(
        passed === limit - used || passed === Math.min(limit, passed + rejected),
        'and are counted exactly',
      )
    }
  })
}
await t.test('a clock that is set back by minutes or hours starts a new window', async (t) => {
  const replica = await startReplica(t)
  const limit = 3
  for (const minutes of [2, 60]) {
    const { token, id } = await newKey(replica, { rateLimit: limit })
    await times(limit, () => replica.call(token, 'GET /api/me'))
    await moveWindow(replica, id, minutes)
    const replies = await times(10, () => replica.call(token, 'GET /api/me'))
    for (const { passed, rejected } of byWindow(replies)) t.equal(passed, Math.min(limit, passed + rejected))
    for (const { headers } of replies) t.ok(Number(headers['x-ratelimit-reset']) <= Date.now() / 1000 + 60)
  }
})

await t.test('after the start of the next window, a 429 names the end of that window', async (t) => {
  const replica = await startReplica(t)
  const { token, id } = await newKey(replica, { rateLimit: 1 })
  await waitForTimeInMinute()
  const { headers } = await replica.call(token, 'GET /api/me')
  await moveWindow(replica, id, 1)
  const refused = await replica.call(token, 'GET /api/me')
  isErrorReply(t, refused, 429, 'RATE_LIMIT_EXCEEDED', 'a statement that started in the previous minute')
  t.equal(Number(refused.headers['x-ratelimit-reset']), Number(headers['x-ratelimit-reset']) + 60)
  t.ok(Number(refused.headers['retry-after']) > 60)
})
