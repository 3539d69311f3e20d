/** Latency for a valid key during a flood of invalid keys. */
import { median } from './median.js'
import { load } from './processes.js'
import { addKeys, prepare, wrongSecrets } from './stored.js'

export async function measureFloods(place, { rounds, seconds }) {
  const databaseUrl = await place.newDatabase()
  const [, valid] = await prepare({ databaseUrl }, (db) => addKeys(db, 2))
  const { origin } = await place.startKener({ DATABASE_URL: databaseUrl })
  const url = `${origin}/api/me`
  const me = { url, headers: valid, duration: seconds }
  const floods = {
    garbage: { url, headers: { authorization: 'Bearer garbage' } },
    'wrong secrets': { url, requests: wrongSecrets(5_000).map((headers) => ({ headers })) },
  }
  await load({ ...me, duration: 1 }).done

  const results = { alone: [], ...Object.fromEntries(Object.keys(floods).map((name) => [name, []])) }
  for (let round = 0; round < rounds; round++) {
    results.alone.push(await load(me).done)
    for (const [name, flood] of Object.entries(floods)) {
      const flooding = load({ ...flood, duration: seconds + 1, status: [401, 429] })
      await flooding.started
      results[name].push({ ...(await load(me).done), flood: (await flooding.done).requestsPerSecond })
    }
  }
  const p99 = (name) => median(results[name].map(({ p99Ms }) => p99Ms))
  return {
    'p99 of a valid key, ms': p99('alone'),
    ...Object.fromEntries(
      Object.keys(floods).flatMap((name) => [
        [`flood of ${name}, requests per second`, median(results[name].map(({ flood }) => flood))],
        [`p99 of a valid key during a flood of ${name}, ratio to without`, p99(name) / p99('alone')],
      ]),
    ),
  }
}
