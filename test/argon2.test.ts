import argon2 from '@node-rs/argon2'
import t from 'tap'
import { maxWaitMs } from '../src/http/verification-queue.ts'
import { createSecrets } from '../src/keys/secrets.ts'
import { formatToken, generateTokenParts } from '../src/keys/token.ts'
import { newKey, startReplica, times, waitForTimeInMinute } from './helper.ts'

await t.test('a valid key costs one Argon2 run per process, also for concurrent requests', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  const { stats } = replica.app.secrets
  const replies = await times(100, () => replica.call(token, 'GET /api/me'))
  t.ok(replies.every(({ statusCode }) => statusCode === 200))
  t.equal(stats.argon2Runs, 1)
  await times(100, () => replica.call(token, 'GET /api/me'))
  t.equal(stats.argon2Runs, 1)
})

await t.test('a wrong secret costs one Argon2 run, also when it is repeated', async (t) => {
  const replica = await startReplica(t)
  const { id } = await newKey(replica)
  const wrong = formatToken({ ...generateTokenParts(), id })
  await times(50, () => replica.call(wrong, 'GET /api/me'))
  await times(50, () => replica.call(wrong, 'GET /api/me'))
  t.equal(replica.app.secrets.stats.argon2Runs, 1)
})

await t.test(
  'malformed keys cause neither a query nor an Argon2 run; look-ups of unknown keys share statements',
  async (t) => {
    const replica = await startReplica(t)
    const { token } = await newKey(replica)
    replica.statements.length = 0
    const garbage = [
      'x',
      'kener_',
      token.slice(0, -1),
      `${token.slice(0, -1)}!`,
      token.toLowerCase(),
      'a'.repeat(8_000),
    ]
    for (const key of garbage) t.equal((await replica.call(key, 'GET /api/me')).statusCode, 401)
    t.same(replica.statements, [])
    await times(50, () => replica.call(formatToken(generateTokenParts()), 'GET /api/me'))
    t.ok(replica.statements.length < 20, 'their lookups share statements')
  },
)

await t.test('an unknown id costs the work of a wrong secret, also when it is repeated', async (t) => {
  const replica = await startReplica(t)
  const { id } = await newKey(replica)
  const costs = []
  for (const parts of [generateTokenParts(), { ...generateTokenParts(), id }]) {
    for (const attempt of ['first', 'repeated']) {
      replica.statements.length = 0
      const runs = replica.app.secrets.stats.argon2Runs
      t.equal((await replica.call(formatToken(parts), 'GET /api/me')).statusCode, 401)
      costs.push({
        attempt,
        runs: replica.app.secrets.stats.argon2Runs - runs,
        statements: replica.statements.length,
      })
    }
  }
  t.same(costs.slice(0, 2), [
    { attempt: 'first', runs: 1, statements: 1 },
    { attempt: 'repeated', runs: 0, statements: 0 },
  ])
  t.same(costs.slice(2), costs.slice(0, 2))
})

await t.test(
  'above the limit of failures, the time of a response does not reveal whether a key exists, also when it is repeated',
  async (t) => {
    const replica = await startReplica(t, { config: { authFailureLimitMax: 1 } })
    const { id } = await newKey(replica)
    const guesses = [generateTokenParts(), { ...generateTokenParts(), id }].map(formatToken)
    for (const attempt of ['first', 'repeated']) {
      const { token } = await newKey(replica)
      await waitForTimeInMinute()
      while ((await replica.call('nonsense', 'GET /api/me')).statusCode !== 429);
      const startedAt = performance.now()
      const statuses: number[] = []
      const elapsedMs = await times(3, async (index) => {
        const { statusCode } = await replica.call(guesses[index] ?? token, 'GET /api/me')
        statuses.push(statusCode)
        return performance.now() - startedAt
      })
      t.same(statuses, [200, 429, 429], `the ${attempt} guesses are rejected after the valid key is accepted`)
      // Timers round to milliseconds.
      t.ok(
        Math.min(...elapsedMs.slice(0, 2)) >= maxWaitMs - 2,
        `${attempt}: ${elapsedMs.map(Math.round).join(', ')} ms`,
      )
    }
  },
)

await t.test('unknown ids do not keep keys that exist out of the queue', async (t) => {
  const secrets = createSecrets()
  const hash = await secrets.hash('some secret')
  const unknown = times(1_200, () => secrets.verify(generateTokenParts(), undefined).catch(() => 'rejected'))
  t.equal(await secrets.verify({ id: 'b', secret: 'some secret' }, hash), true)
  t.same(new Set(await unknown), new Set([false, 'rejected']))
  t.ok(secrets.stats.argon2Runs <= 52)
})

await t.test('concurrent requests share statements', async (t) => {
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  await replica.call(token, 'GET /api/me')
  replica.statements.length = 0
  await times(200, () => replica.call(token, 'GET /api/me'))
  t.ok(replica.statements.length <= 10, `${String(replica.statements.length)} statements for 200 requests`)
})

await t.test(
  'a verification is rejected with 503 at once if the queue is full, and the queue recovers',
  async (t) => {
    const secrets = createSecrets({ maxQueueLength: 20 })
    const hash = await secrets.hash('some secret')
    const outcomes = await Promise.allSettled(
      Array.from({ length: 30 }, () => secrets.verify(generateTokenParts(), hash)),
    )
    const rejected = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[]
    t.ok(rejected.length > 0 && rejected.length <= 10)
    t.ok(rejected.every(({ reason }) => reason.status === 503 && reason.headers['retry-after'] !== undefined))
    t.equal(secrets.stats.argon2Runs, 1 + outcomes.length - rejected.length)
    t.equal(await secrets.verify({ id: 'x', secret: 'some secret' }, hash), true)
  },
)

await t.test('guesses for one key do not keep other keys out of the queue', async (t) => {
  const secrets = createSecrets()
  const hash = await secrets.hash('some secret')
  const guesses = Array.from({ length: 1_200 }, (_, index) =>
    secrets.verify({ id: 'a', secret: String(index) }, hash),
  )
  const other = secrets.verify({ id: 'b', secret: 'some secret' }, hash)
  const outcomes = await Promise.allSettled(guesses)
  t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 50)
  t.equal(await other, true)
  t.equal(await secrets.verify({ id: 'a', secret: 'some secret' }, hash), true, 'the key itself, afterwards')
})

await t.test('the verified secrets of 110,000 keys are remembered', (t) => {
  const secrets = createSecrets()
  for (let id = 0; id < 110_000; id++) secrets.markVerified({ id: String(id), secret: '' })
  t.ok(secrets.isVerified({ id: '0', secret: '' }))
  t.end()
})

await t.test('hashes are salted Argon2id PHC strings that match only their secret', async (t) => {
  const secrets = createSecrets()
  const [one, two] = [await secrets.hash('same'), await secrets.hash('same')]
  t.match(one, /^\$argon2id\$v=19\$m=4096,t=1,p=1\$/)
  t.not(one, two)
  t.equal(await secrets.verify({ id: 'a', secret: 'same' }, one), true)
  t.equal(await secrets.verify({ id: 'a', secret: 'other' }, one), false)
})

await t.test('a hash with other parameters is replaced at the next use of its key', async (t) => {
  const replica = await startReplica(t)
  const { token, id } = await newKey(replica)
  const readHash = async () => {
    const rows = await replica.db.selectFrom('api_keys').select('secret_hash').where('id', '=', id).execute()
    return rows[0]?.secret_hash ?? ''
  }
  const secret = token.slice(23, 66)
  const old = await argon2.hash(secret, { memoryCost: 8192, timeCost: 2, parallelism: 1 })
  await replica.db.updateTable('api_keys').set({ secret_hash: old }).where('id', '=', id).execute()
  t.equal((await replica.call(token, 'GET /api/me')).statusCode, 200)
  t.match(await readHash(), /^\$argon2id\$v=19\$m=4096,t=1,p=1\$/)
  const other = await startReplica(t, { url: replica.app.config.databaseUrl ?? '' })
  t.equal((await other.call(token, 'GET /api/me')).statusCode, 200, 'the new hash matches the key')
})
