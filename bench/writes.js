/** Throughput of writes, and their effect on concurrent reads. */
import { median } from './median.js'
import { load } from './processes.js'
import { addKeys, addMonitors, prepare } from './stored.js'

const day = 1440

export async function measureWrites(place, { rounds, seconds }) {
  const databaseUrl = await place.newDatabase()
  const [headers] = await prepare({ databaseUrl }, async (db) => {
    await addMonitors(db, { monitors: 200 })
    return addKeys(db, 1, ['read:monitors', 'write:monitors', 'write:incidents'])
  })
  const { origin } = await place.startKener({ DATABASE_URL: databaseUrl })
  const json = { ...headers, 'content-type': 'application/json' }
  const tags = Array.from({ length: 100 }, (_, index) => `m${String(index + 1).padStart(6, '0')}`)

  const post = (paths, body, status) =>
    load({
      url: origin,
      duration: seconds,
      status,
      requests: paths.map((path) => ({ method: 'POST', path, headers: json, body: JSON.stringify(body) })),
    }).done
  const reports = tags.map((tag) => `/api/monitors/${tag}/data`)
  const single = await post(reports, { status: 'UP', latency_ms: 12 }, 200)
  const batched = await post(reports, { points: pointsUntilNow(1_000) }, 200)
  const incidents = await post(
    ['/api/incidents'],
    { title: 'bench', state: 'RESOLVED', monitors: [{ monitor_tag: tags[0], impact: 'DOWN' }] },
    201,
  )

  const put = (tag, days) => putSpan(`${origin}/api/monitors/${tag}/data`, json, days)
  const quarters = []
  for (const tag of tags.slice(10, 13 + rounds)) quarters.push(await put(tag, 90))

  const me = { url: `${origin}/api/me`, headers, connections: 10, duration: seconds }
  const pairs = []
  for (let round = 0; round < rounds; round++) {
    const alone = await load(me).done
    const beside = load(me)
    await beside.started
    const years = await untilDone(beside.done, (index) => put(tags[20 + ((round * 50 + index) % 80)], 365))
    pairs.push({ alone: alone.p99Ms, beside: (await beside.done).p99Ms, years })
  }
  return {
    'reports per second, one per request': single.requestsPerSecond,
    'reports per second, 1,000 per request': batched.requestsPerSecond * 1_000,
    'incidents created per second': incidents.requestsPerSecond,
    '90 days of minutes in one PUT, ms': median(quarters),
    'a year of minutes in one PUT, ms': median(pairs.flatMap(({ years }) => years)),
    'p99 of GET /api/me, ms': median(pairs.map(({ alone }) => alone)),
    'p99 of GET /api/me during PUTs of a year, ratio to without': median(
      pairs.map(({ alone, beside }) => beside / alone),
    ),
  }
}

/** @returns the duration in milliseconds */
async function putSpan(url, headers, days) {
  const to = Math.floor(Date.now() / 60_000) * 60_000
  const span = { from: toTime(to - days * day * 60_000), to: toTime(to), status: 'UP', latency_ms: 100 }
  const began = performance.now()
  const reply = await fetch(url, { method: 'PUT', headers, body: JSON.stringify(span) })
  const { data } = await reply.json()
  if (data?.written !== days * day) throw new Error(`PUT of ${days} days: ${reply.status}`)
  return performance.now() - began
}

function pointsUntilNow(count) {
  return Array.from({ length: count }, (_, age) => ({
    status: 'UP',
    timestamp: toTime(Date.now() - age * 60_000),
  }))
}

function toTime(ms) {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** Repeats `work` until `promise` settles. */
async function untilDone(promise, work) {
  let done = false
  const end = promise.finally(() => (done = true))
  const results = []
  while (!done) results.push(await work(results.length))
  await end
  return results
}
