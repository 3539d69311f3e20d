/** Throughput of one key and of many keys, over one replica and over three that share a database. */
import { median } from './median.js'
import { load } from './processes.js'
import { addKeys, prepare } from './stored.js'

export async function measureReplicas(place, { rounds, seconds, warmUpSeconds, keys }) {
  const databaseUrl = await place.newDatabase()
  const all = await prepare({ databaseUrl }, (db) => addKeys(db, keys))
  const origins = []
  for (let index = 0; index < 3; index++) {
    origins.push((await place.startKener({ DATABASE_URL: databaseUrl })).origin)
  }
  const cases = [
    { name: `1 replica, ${keys} keys`, origins: origins.slice(0, 1), requests: toRequests(all) },
    { name: '1 replica, one key', origins: origins.slice(0, 1), requests: toRequests(all.slice(0, 1)) },
    { name: `3 replicas, ${keys} keys`, origins, requests: toRequests(all) },
    { name: '3 replicas, one key', origins, requests: toRequests(all.slice(0, 1)) },
  ].map((item) => ({ ...item, results: [] }))

  for (const origin of origins) await verify(origin, all)
  if (warmUpSeconds > 0) for (const item of cases) await run(place, item, warmUpSeconds)
  for (let round = 0; round < rounds; round++) {
    for (const item of cases) item.results.push(await run(place, item, seconds))
  }
  const figures = {}
  for (const { name, results } of cases) {
    figures[`${name}, requests per second`] = median(results.map(({ rate }) => rate))
    figures[`${name}, p50 ms`] = median(results.map(({ p50Ms }) => p50Ms))
    figures[`${name}, p99 ms`] = median(results.map(({ p99Ms }) => p99Ms))
    figures[`${name}, requests per statement`] = median(results.map(({ perStatement }) => perStatement))
  }
  const ratio = (one, other) => {
    const name = ({ name }) => `${name}, requests per second`
    return figures[name(one)] / figures[name(other)]
  }
  figures['one key, ratio to many, 1 replica'] = ratio(cases[1], cases[0])
  figures['one key, ratio to many, 3 replicas'] = ratio(cases[3], cases[2])
  return figures
}

/** Uses each key once, because a replica hashes the secret of a key that it has not verified. */
async function verify(origin, keys) {
  const remaining = [...keys]
  const use = async () => {
    for (let headers = remaining.pop(); headers; headers = remaining.pop()) {
      const response = await fetch(`${origin}/api/me`, { headers })
      if (!response.ok) throw new Error(`GET /api/me is ${response.status}`)
      await response.arrayBuffer()
    }
  }
  await Promise.all(Array.from({ length: 20 }, use))
}

/** Divides 48 connections among the replicas. */
async function run(place, { origins, requests }, duration) {
  const before = await place.statements()
  const connections = 48 / origins.length
  const results = await Promise.all(
    origins.map((origin) => load({ url: `${origin}/api/me`, connections, requests, duration }).done),
  )
  const statements = (await place.statements()) - before
  const total = results.reduce((sum, result) => sum + result.total, 0)
  return {
    rate: results.reduce((sum, { requestsPerSecond }) => sum + requestsPerSecond, 0),
    p50Ms: median(results.map(({ p50Ms }) => p50Ms)),
    p99Ms: Math.max(...results.map(({ p99Ms }) => p99Ms)),
    perStatement: total / statements,
  }
}

function toRequests(keys) {
  return keys.map((headers) => ({ headers }))
}
