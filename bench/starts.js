/** Time to the first response, and to normal latency after a restart with many active keys. */
import { median } from './median.js'
import { load } from './processes.js'
import { addKeys, prepare } from './stored.js'

const timelineMs = 250

export async function measureStarts(place, { rounds, restartSeconds, keys: count }) {
  const databaseUrl = await place.newDatabase()
  const keys = await prepare({ databaseUrl }, (db) => addKeys(db, count))
  const times = []
  for (let round = 0; round < rounds; round++) {
    const { firstResponseMs, stop } = await place.startKener({ DATABASE_URL: databaseUrl })
    times.push(firstResponseMs)
    await stop()
  }
  const { origin } = await place.startKener({ DATABASE_URL: databaseUrl })
  const requests = keys.map((headers) => ({ headers }))
  const { timelineP99Ms } = await load({
    url: `${origin}/api/me`,
    requests,
    duration: restartSeconds,
    timelineMs,
  }).done
  const usual = median(timelineP99Ms.slice(-8))
  // For one second in a row, so that a single slow or fast slot does not count.
  const normal = timelineP99Ms.findIndex(
    (_, slot) => median(timelineP99Ms.slice(slot, slot + 4)) <= 2 * usual,
  )
  return {
    'start to first response, ms': median(times),
    [`${count.toLocaleString('en')} active keys after a restart: seconds until p99 is normal`]:
      (normal * timelineMs) / 1000,
  }
}
