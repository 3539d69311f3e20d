/** How soon the service is there, and how soon it is itself again when all its keys come at once. */
import { median } from './median.js'
import { load } from './processes.js'
import { addKeys, prepare } from './stored.js'

const timelineMs = 250

export async function measureStarts(place, { rounds, restartSeconds, keys: count }) {
  const databaseUrl = await place.newDatabase()
  const keys = await prepare({ databaseUrl }, (db) => addKeys(db, count))
  const times = []
  for (let round = 0; round < rounds; round++) {
    const { firstAnswerMs, stop } = await place.startKener({ DATABASE_URL: databaseUrl })
    times.push(firstAnswerMs)
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
  // A second in a row: one slow moment of the machine is not the service's.
  const normal = timelineP99Ms.findIndex(
    (_, slot) => median(timelineP99Ms.slice(slot, slot + 4)) <= 2 * usual,
  )
  return {
    'start to first answer, ms': median(times),
    [`${count.toLocaleString('en')} active keys after a restart: seconds until p99 is normal`]:
      (normal * timelineMs) / 1000,
  }
}
