/** Requests per second: GET /api/me of all contenders, and other requests to kener-api, in turns. */
import { deepStrictEqual } from 'node:assert'
import { join } from 'node:path'
import { me } from './contenders/me.js'
import { median } from './median.js'
import { fillEmbedded, load } from './processes.js'
import { addKeys, addMonitors, addUnusedKeys, prepare, progress, tagOf } from './stored.js'

/** @param parts names of `starters` */
export async function compareRequests(place, extent, parts) {
  const { rounds, seconds, warmUpSeconds } = extent
  const contenders = []
  for (const part of ['ours', ...parts]) contenders.push(...(await starters[part](place, extent)))
  for (const { name, options } of contenders) {
    progress(`warming up: ${name}`)
    if (warmUpSeconds > 0) await load({ ...options, duration: warmUpSeconds }).done
  }
  for (let round = 1; round <= rounds; round++) {
    for (const contender of contenders) {
      const result = await measure(place, contender, seconds)
      contender.rounds.push(result)
      progress(
        `round ${round} of ${rounds}: ${contender.name}: ${result.requestsPerSecond.toFixed(0)} requests/s`,
      )
    }
  }
  return contenders.map(({ id, name, rounds, memoryMb }) => ({
    id,
    name,
    requestsPerSecond: median(rounds.map((round) => round.requestsPerSecond)),
    p50Ms: median(rounds.map((round) => round.p50Ms)),
    p99Ms: median(rounds.map((round) => round.p99Ms)),
    statementsPerRequest: medianStatements(rounds),
    memoryMb: memoryMb(),
  }))
}

/** Null without pg_stat_statements. The embedded database is not counted. */
function medianStatements(rounds) {
  const statements = median(rounds.map(({ statementsPerRequest }) => statementsPerRequest))
  return Number.isNaN(statements) ? null : statements
}

async function measure(place, { options }, seconds) {
  const before = await place.statements()
  const result = await load({ ...options, duration: seconds }).done
  const statements = before === undefined ? NaN : (await place.statements()) - before
  return { ...result, statementsPerRequest: statements / result.total }
}

const starters = { ours: startOurs, me: startPeers, lists: startLists }

async function startOurs(place) {
  const one = await kener(place, (db) => addKeys(db, 10))
  await checkReplies('ours', one)
  return [
    contender('ours', 'kener-api', one, { headers: one.keys[0] }),
    contender('stored_10', 'kener-api, 10 keys at random of 10', one, { requests: withKeys(one) }),
  ]
}

async function startPeers(place, { keys, storedKeys }) {
  const peers = await place.newDatabase()
  const thousand = await kener(place, (db) => addKeys(db, Math.min(keys, 1_000)))
  const million = await kener(place, async (db, databaseUrl) => {
    const some = await addKeys(db, 10)
    progress(`adding ${storedKeys} keys`)
    await addUnusedKeys(databaseUrl, storedKeys)
    return some
  })
  const dataDir = join(place.directory, 'data')
  const embeddedKeys = await fillEmbedded(dataDir)
  const embedded = { ...(await place.startKener({ DATA_DIR: dataDir })), keys: embeddedKeys }

  const peer = async (id, name, file) => {
    const started = await place.startContender(file, peers)
    await checkReplies(id, started)
    return contender(id, name, started, { headers: started.keys[0] })
  }
  return [
    await peer('bare', 'bare Fastify', 'bare'),
    await peer('memory', 'bearer-auth + rate-limit, in memory', 'memory'),
    await peer('memory_same_duties', 'the same, with log, request id and headers', 'memory-same-duties'),
    await peer('per_request_sql', 'SELECT + rate-limiter-flexible', 'per-request-sql'),
    await peer('better_auth', 'better-auth, API keys', 'better-auth'),
    contender('keys_1000', 'kener-api, 1,000 keys at random', thousand, { requests: withKeys(thousand) }),
    contender('stored_1m', 'kener-api, 10 keys at random of 1,000,000', million, {
      requests: withKeys(million),
    }),
    contender('embedded', 'kener-api, embedded database', embedded, { headers: embeddedKeys[0] }),
  ]
}

async function startLists(place, { monitors, history, incidents, reporting }) {
  const permissions = ['read:monitors', 'write:monitors', 'read:incidents']
  const start = (stored) =>
    kener(place, async (db) => {
      await addMonitors(db, stored)
      return addKeys(db, 1, permissions)
    })
  const many = await start({ monitors, history, incidents })
  const hundred = await start({ monitors: 100 })
  const reported = await start({ monitors: reporting })
  const forty = await start({ monitors: 40, history: Math.min(40, history) })
  // Each encoding has an ETag of its own, and fetch would ask for a compressed one.
  const plain = { headers: { 'accept-encoding': 'identity' } }
  const etag = (await fetch(`${many.origin}/api/status`, plain)).headers.get('etag')

  const get = (id, name, server, path) => contender(id, name, server, { headers: server.keys[0] }, path)
  const random = (id, name, server, paths, more = {}) =>
    contender(id, name, server, {
      requests: paths.map((path) => ({ path, ...more, headers: { ...server.keys[0], ...more.headers } })),
    })
  return [
    get('monitor', 'GET /api/monitors/:tag, 90 days of minutes', many, `/api/monitors/${tagOf(1)}`),
    get('page50', 'a page of 50 monitors of 10,000', many, '/api/monitors?limit=50'),
    get('status_down', 'the same, ?status=DOWN', many, '/api/monitors?limit=50&status=DOWN'),
    get('category', 'the same, ?category_name=', many, '/api/monitors?limit=50&category_name=Category%207'),
    random('page50_random', 'random pages of 50 of 10,000', many, monitorPages(monitors)),
    random('page50_100', 'random pages of 50 of 100', hundred, monitorPages(100)),
    random('incidents50_random', 'random pages of 50 of 100,000 incidents', many, incidentPages(incidents)),
    get('status100', 'GET /api/status, 100 monitors', hundred, '/api/status'),
    contender(
      'status10k_304',
      'GET /api/status, 10,000 monitors, 304',
      many,
      { headers: { 'if-none-match': etag }, status: 304 },
      '/api/status',
    ),
    get('status10k', 'GET /api/status, 10,000 monitors', many, '/api/status'),
    contender(
      'page40',
      'GET /, 40 monitors with 90 days, brotli',
      forty,
      { headers: { 'accept-encoding': 'gzip, deflate, br' } },
      '/',
    ),
    random(
      'reports',
      'POST a report, 1,000 monitors',
      reported,
      Array.from({ length: reporting }, (_, index) => `/api/monitors/${tagOf(index + 1)}/data`),
      {
        method: 'POST',
        body: JSON.stringify({ status: 'UP', latency_ms: 12 }),
        headers: { 'content-type': 'application/json' },
      },
    ),
  ]
}

/** Pages of which each has 50 monitors. */
function monitorPages(monitors) {
  return randomly((share) => cursorPath('monitors', `monitors ${tagOf(Math.floor(share * (monitors - 50)))}`))
}

function incidentPages(incidents) {
  const newest = Date.now() / 1000
  return randomly((share) =>
    cursorPath('incidents', `incidents ${Math.floor(newest - share * (incidents - 50) * 600)}:1`),
  )
}

function cursorPath(list, position) {
  return `/api/${list}?limit=50&cursor=${Buffer.from(position).toString('base64url')}`
}

function randomly(make) {
  return Array.from({ length: 5_000 }, () => make(Math.random()))
}

async function kener(place, fill) {
  const databaseUrl = await place.newDatabase()
  const keys = await prepare({ databaseUrl }, fill)
  return { ...(await place.startKener({ DATABASE_URL: databaseUrl })), keys }
}

function withKeys({ keys }) {
  return keys.map((headers) => ({ headers }))
}

function contender(id, name, { origin, memoryMb }, options, path = '/api/me') {
  return { id, name, options: { url: origin + path, ...options }, rounds: [], memoryMb }
}

/** Checks that every contender returns the same body, and rejects an invalid key. */
async function checkReplies(id, { origin, keys: [headers] }) {
  const url = `${origin}/api/me`
  const { success, data } = await (await fetch(url, { headers })).json()
  const { last_used_at } = me.data
  deepStrictEqual({ success, data: { ...data, last_used_at } }, me, `response of ${id}`)
  if (id === 'bare') return
  const { status } = await fetch(url, { headers: { authorization: headers.authorization + 'x' } })
  deepStrictEqual(status, 401, `response of ${id} to an invalid key`)
}
