/** Requests per second: GET /api/me of all contenders, and other requests to kener-api, in turns. */
import { join } from 'node:path'
import { deepStrictEqual } from 'node:assert'
import { me } from './contenders/me.js'
import { median } from './median.js'
import { fillEmbedded, load } from './processes.js'
import { addKeys, addMinutes, addMonitors, addUnusedKeys, prepare } from './stored.js'

export async function compareRequests(place, extent) {
  const { rounds, seconds } = extent
  const contenders = await startContenders(place, extent)
  if (extent.warmUpSeconds > 0) {
    for (const { options } of contenders) await load({ ...options, duration: extent.warmUpSeconds }).done
  }
  for (let round = 0; round < rounds; round++) {
    for (const contender of contenders) contender.rounds.push(await measure(place, contender, seconds))
  }
  const rows = contenders.map(({ id, name, rounds, memoryMb }) => ({
    id,
    name,
    requestsPerSecond: median(rounds.map((round) => round.requestsPerSecond)),
    p50Ms: median(rounds.map((round) => round.p50Ms)),
    p99Ms: median(rounds.map((round) => round.p99Ms)),
    statementsPerRequest: medianStatements(rounds),
    memoryMb: memoryMb(),
  }))
  const bare = rows.find(({ id }) => id === 'bare').requestsPerSecond
  return rows.map((row) => ({ ...row, ratioToBare: row.requestsPerSecond / bare }))
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

/** The two sides of a comparison are next to each other, so that the load of the machine is the same for both. */
async function startContenders(place, { storedKeys, monitors: monitorCount }) {
  const peers = await place.newDatabase()
  const one = await ours(place, (db) => addKeys(db, 10))
  const thousand = await ours(place, (db) => addKeys(db, 1_000))
  const million = await ours(place, async (db, databaseUrl) => {
    const keys = await addKeys(db, 10)
    await addUnusedKeys(databaseUrl, storedKeys)
    return keys
  })
  const monitors = await ours(place, async (db) => {
    await addMonitors(db, 1, monitorCount)
    await addMinutes(db, 'm000001')
    return addKeys(db, 1)
  })
  const dataDir = join(place.directory, 'data')
  const embeddedKeys = await fillEmbedded(dataDir)
  const embedded = { ...(await place.startKener({ DATA_DIR: dataDir })), keys: embeddedKeys }
  const peer = async (name) => oneKey(await place.startContender(name, peers))

  return Promise.all([
    compete('bare', 'bare Fastify', await peer('bare')),
    compete('memory', '@fastify/bearer-auth + rate-limit, in memory', await peer('memory')),
    compete('ours', 'kener-api', oneKey(one)),
    compete('per_request_sql', 'SELECT + rate-limiter-flexible', await peer('per-request-sql')),
    compete('better_auth', 'better-auth, API keys', await peer('better-auth')),
    compete('keys_1000', 'kener-api, 1,000 keys at random', thousand),
    compete('stored_10', 'kener-api, 10 keys at random of 10', one),
    compete('stored_1m', 'kener-api, 10 keys at random of 1,000,000', million),
    compete('embedded', 'kener-api, embedded database', oneKey(embedded)),
    compete(
      'monitor',
      'GET /api/monitors/:tag, 90 days of minutes',
      oneKey(monitors),
      '/api/monitors/m000001',
    ),
    compete('page', 'GET /api/monitors?limit=50 of 10,000', oneKey(monitors), '/api/monitors?limit=50'),
  ])
}

async function ours(place, fill) {
  const databaseUrl = await place.newDatabase()
  const keys = await prepare({ databaseUrl }, fill)
  return { ...(await place.startKener({ DATABASE_URL: databaseUrl })), keys }
}

function oneKey(contender) {
  return { ...contender, keys: [contender.keys[0]] }
}

async function compete(id, name, { origin, keys, memoryMb }, path = '/api/me') {
  const url = origin + path
  if (path === '/api/me') await checkReplies(id, url, keys[0])
  const credentials =
    keys.length === 1 ? { headers: keys[0] } : { requests: keys.map((headers) => ({ headers })) }
  return { id, name, options: { url, ...credentials }, rounds: [], memoryMb }
}

/** Checks that every contender returns the same body, and rejects an invalid key. */
async function checkReplies(id, url, headers) {
  deepStrictEqual(await (await fetch(url, { headers })).json(), me, `response of ${id}`)
  if (id === 'bare') return
  const { status } = await fetch(url, { headers: { authorization: headers.authorization + 'x' } })
  deepStrictEqual(status, 401, `response of ${id} to an invalid key`)
}
