import { Agent, type IncomingMessage, request as httpRequest } from 'node:http'
import { text as readAll } from 'node:stream/consumers'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { keyPauseMs } from '../../src/http/verification-queue.ts'
import { formatToken, generateTokenParts } from '../../src/keys/token.ts'
import { createDatabase, newKey, type Replica, startReplica, times, waitForTimeInMinute } from '../helper.ts'

const failureMax = 30
const connections = 100
const requests = 600

type Ask = (key: string, address?: string) => Promise<IncomingMessage & { body: string }>

/** Starts a replica with the default limit of failures, behind a proxy that sends X-Forwarded-For. */
async function startListening(t: Test): Promise<Replica & { ask: Ask }> {
  const config = { authFailureLimitMax: failureMax, trustProxy: 1 }
  const replica = await startReplica(t, { url: await createDatabase(t), config })
  await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = replica.app.server.address() as { port: number }
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  t.teardown(() => {
    agent.destroy()
  })
  const ask: Ask = async (key, address = '192.0.2.1') => {
    const headers = { authorization: `Bearer ${key}`, 'x-forwarded-for': address }
    const reply = await new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest({ agent, port, host: '127.0.0.1', path: '/api/me', headers }, resolve)
        .on('error', reject)
        .end()
    })
    return Object.assign(reply, { body: await readAll(reply) })
  }
  return { ...replica, ask }
}

/** Each makes a new key every time, so that no cache can help. */
const floods: [name: string, makeKey: (id: string) => string][] = [
  ['garbage', () => `kener_${Math.random()}`],
  ['keys of unknown ids', () => formatToken(generateTokenParts())],
  ['wrong secrets of a known id', (id) => formatToken({ ...generateTokenParts(), id })],
]

for (const [name, makeKey] of floods) {
  await t.test(
    `a flood of ${name} causes few queries and Argon2 runs, and rejects no valid key of its address`,
    async (t) => {
      const { app, db, log, statements, ask } = await startListening(t)
      const good = await newKey({ db }, { rateLimit: 100_000 })
      const own = [await ask(good.token)]
      const fresh = await times(10, () => newKey({ db }))
      const { stats } = app.secrets
      const runsBefore = stats.argon2Runs
      let over = false

      statements.length = 0
      const memoryBefore = readMemory()
      async function useGoodKey(): Promise<void> {
        while (!over) own.push(await ask(good.token))
      }
      async function useFreshKeys(): Promise<void> {
        for (const { token } of fresh) {
          t.equal(
            (await ask(token)).statusCode,
            200,
            'a key that this process has not verified yet is admitted',
          )
        }
      }
      const startedAt = performance.now()
      const goodUse = useGoodKey()
      const firstUse = useFreshKeys()
      const statuses = await times(requests, async () => (await ask(makeKey(good.id))).statusCode)
      over = true
      await Promise.all([goodUse, firstUse])
      const seconds = (performance.now() - startedAt) / 1000
      log.length = 0

      t.same([...new Set(statuses)].sort(), [401, 429])
      const failed = statuses.filter((status) => status === 401).length
      // On a slow machine, two new windows may start meanwhile.
      t.ok(failed >= failureMax && failed <= failureMax * 3, `${failed} guesses are 401`)

      // Over the limit, two look-ups per second and one wrong secret per second of a key.
      const runs = stats.argon2Runs - runsBefore - fresh.length
      t.ok(runs <= failed + seconds + 1, `${runs} runs of Argon2 for ${requests} guesses`)
      const lookUps = statements.filter((statement) => statement.includes('secret_hash')).length
      t.ok(lookUps <= failed + 2 * seconds + 2, `${lookUps} look-ups`)
      const rest = statements.length - lookUps
      const used = own.length + 2 * fresh.length
      t.ok(rest <= used + 10, `${rest} statements for ${used} requests and first uses of good keys`)
      statements.length = 0
      const grown = readMemory() - memoryBefore
      t.ok(grown < 16 * 2 ** 20, `${Math.round(grown / 1024)} KiB more in use`)

      own.push(await ask(good.token))
      t.same([...new Set(own.map(({ statusCode }) => statusCode))], [200], 'the valid key is never rejected')
      isCountedAlone(t, own, 100_000)
    },
  )
}

await t.test(
  'a burst of wrong secrets from one address costs its limit of Argon2 runs in each window, and above it one per pause',
  async (t) => {
    const { app, db, ask } = await startListening(t)
    const { token, id } = await newKey({ db })
    await waitForTimeInMinute()
    const startedAt = performance.now()
    const replies = await times(500, () => ask(formatToken({ ...generateTokenParts(), id })))
    const pauses = Math.ceil((performance.now() - startedAt) / keyPauseMs)
    const { argon2Runs } = app.secrets.stats
    t.ok(argon2Runs <= 2 * failureMax + pauses, `${argon2Runs} runs of Argon2, ${pauses} pauses`)
    t.same([...new Set(replies.map(({ statusCode }) => statusCode))].sort(), [401, 429])
    t.equal((await ask(token)).statusCode, 200, 'then the right secret is verified')
    const other = await newKey({ db })
    t.equal((await ask(other.token, '192.0.2.2')).statusCode, 200, 'and a new key of another address')
  },
)

await t.test('guesses from new addresses cost at most one Argon2 run each, and no quota', async (t) => {
  const { app, db, ask } = await startListening(t)
  const { token, id } = await newKey({ db }, { rateLimit: 1_000 })
  const first = await ask(token)
  t.equal(first.statusCode, 200)
  await times(500, (index) =>
    ask(formatToken({ ...generateTokenParts(), id }), `198.51.${index >> 8}.${index & 255}`),
  )
  t.ok(app.secrets.stats.argon2Runs <= 501)
  isCountedAlone(t, [first, await ask(token)], 1_000)
})

/** Checks that the window of the last response has counted only these requests. */
function isCountedAlone(t: Test, replies: IncomingMessage[], limit: number): void {
  const latest = replies.at(-1)?.headers ?? {}
  const window = replies.filter(({ headers }) => headers['x-ratelimit-reset'] === latest['x-ratelimit-reset'])
  t.equal(
    latest['x-ratelimit-remaining'],
    String(limit - window.length),
    'no other request consumed its quota',
  )
}

function readMemory(): number {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return process.memoryUsage().heapUsed
}
