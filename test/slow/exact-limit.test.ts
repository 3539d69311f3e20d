import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { newKey, times } from '../helper.ts'
import { ask, keepAlive } from './client.ts'
import { readDatabaseClock, startReplicas } from './replicas.ts'
import { scaled } from './scale.ts'

const limits = Array.from({ length: 4 + scaled(16) }, (_, index) => 300 + index * 35)
const requestsPerKey = Math.max(...limits) + scaled(4_000)
const connectionsPerReplica = 20

await t.test(
  `of ${requestsPerKey} requests of each of ${limits.length} keys to three replicas, exactly the limit of each key passes`,
  async (t) => {
    const { db, origins } = await startReplicas(t, [{}, {}, {}])
    const keys = await Promise.all(limits.map((rateLimit) => newKey({ db }, { rateLimit })))
    const windows = new Map<string, { passed: number; rejected: number }>()
    const strange: string[] = []

    // All requests fit into one minute if they start with it. Otherwise each window is checked separately.
    while ((await readDatabaseClock(db)) % 60 > 5) await delay(100)

    const began = performance.now()
    let sent = 0
    await times(connectionsPerReplica * origins.length, async (connection) => {
      const agent = keepAlive()
      const origin = origins[connection % origins.length] ?? ''
      while (sent < requestsPerKey * keys.length) {
        const place = sent++ % keys.length
        const { status, headers } = await ask(`${origin}/api/me`, { key: keys[place]?.token ?? '', agent })
        const name = `${place} ${String(headers['x-ratelimit-reset'])}`
        const window = windows.get(name) ?? { passed: 0, rejected: 0 }
        windows.set(name, window)
        if (status === 200) window.passed++
        else if (status === 429) window.rejected++
        else strange.push(`key ${place}: ${status}`)
      }
      agent.destroy()
    })
    const seconds = (performance.now() - began) / 1000

    t.same(strange, [], 'every response is 200 or 429')
    limits.forEach((limit, place) => {
      const own = [...windows].filter(([name]) => name.startsWith(`${place} `)).map(([, window]) => window)
      const asked = own.reduce((sum, { passed, rejected }) => sum + passed + rejected, 0)
      t.equal(asked, requestsPerKey, `key ${place}: every request was answered`)
      for (const { passed, rejected } of own) {
        t.equal(passed, Math.min(limit, passed + rejected), `key ${place}: exactly ${limit} pass`)
      }
    })
    t.comment(`${sent} requests in ${seconds.toFixed(1)} s, ${windows.size / keys.length} window(s) a key`)
  },
)
