import t, { type Test } from 'tap'
import { createDatabase, isErrorReply, newKey, startReplica, times } from './helper.ts'

/** Two replicas: one updates keys, the other has verified them before. */
async function startPair(t: Test) {
  const url = await createDatabase(t)
  const changing = await startReplica(t, { url })
  const serving = await startReplica(t, { url })
  const { token: admin } = await newKey(changing)
  return { admin, changing, serving }
}

/** Sends requests before, during and after a change. Returns the responses to those that started after it. */
async function underLoad<Reply>(ask: () => Promise<Reply>, change: () => Promise<unknown>): Promise<Reply[]> {
  const before = times(50, ask)
  await change()
  const after = times(50, ask)
  await before
  return after
}

await t.test(
  'a revocation applies on another replica to every request that starts after it was answered',
  async (t) => {
    const { admin, changing, serving } = await startPair(t)
    for (let round = 0; round < 10; round++) {
      const { token, id } = await newKey(changing)
      t.equal((await serving.call(token, 'GET /api/me')).statusCode, 200)
      const replies = await underLoad(
        () => serving.call(token, 'GET /api/me'),
        () => changing.call(admin, `POST /api/keys/${id}/revoke`),
      )
      for (const reply of replies) isErrorReply(t, reply, 401, 'KEY_REVOKED', 'after the answer')
    }
  },
)

await t.test('reduced permissions apply likewise', async (t) => {
  const { admin, changing, serving } = await startPair(t)
  const { token, id } = await newKey(changing)
  t.equal((await serving.call(token, 'GET /api/keys')).statusCode, 200)
  const replies = await underLoad(
    () => serving.call(token, 'GET /api/keys'),
    () => changing.call(admin, `PATCH /api/keys/${id}`, { permissions: ['read:monitors'] }),
  )
  for (const reply of replies) isErrorReply(t, reply, 403, 'FORBIDDEN', 'after the answer')
})

await t.test('an earlier or later expiry applies likewise', async (t) => {
  const { admin, changing, serving } = await startPair(t)
  const { token, id } = await newKey(changing)
  t.equal((await serving.call(token, 'GET /api/me')).statusCode, 200)
  const replies = await underLoad(
    () => serving.call(token, 'GET /api/me'),
    () => changing.call(admin, `PATCH /api/keys/${id}`, { expires_at: '2020-01-01T00:00:00Z' }),
  )
  for (const reply of replies) isErrorReply(t, reply, 401, 'KEY_EXPIRED', 'after the answer')
  await changing.call(admin, `PATCH /api/keys/${id}`, { expires_at: null })
  t.equal((await serving.call(token, 'GET /api/me')).statusCode, 200)
})

await t.test('a lowered limit applies likewise', async (t) => {
  const { admin, changing, serving } = await startPair(t)
  const { token, id } = await newKey(changing, { rateLimit: 1_000 })
  const replies = await underLoad(
    () => serving.call(token, 'GET /api/me'),
    () => changing.call(admin, `PATCH /api/keys/${id}`, { rate_limit: 2 }),
  )
  t.ok(replies.every(({ headers }) => headers['x-ratelimit-limit'] === '2'))
  t.ok(
    replies.filter(({ statusCode }) => statusCode === 200).length <= 4,
    'two per window, and a new window may start',
  )
})

await t.test('a key rotated without overlap expires at once, with overlap it stays valid', async (t) => {
  const { admin, changing, serving } = await startPair(t)
  const { token, id } = await newKey(changing)
  t.equal((await serving.call(token, 'GET /api/me')).statusCode, 200)
  const overlapping = await changing.call(admin, `POST /api/keys/${id}/rotate`, { overlap_seconds: 3600 })
  t.equal(overlapping.statusCode, 201)
  t.equal((await serving.call(token, 'GET /api/me')).statusCode, 200)
  t.equal((await serving.call(overlapping.json.data.key, 'GET /api/me')).statusCode, 200)
  const successor = overlapping.json.data
  const replies = await underLoad(
    () => serving.call(successor.key, 'GET /api/me'),
    () => changing.call(admin, `POST /api/keys/${String(successor.id)}/rotate`),
  )
  for (const reply of replies) isErrorReply(t, reply, 401, 'KEY_EXPIRED', 'after the answer')
})
