import t, { type Test } from 'tap'
import { newKey, type Replica, startReplica } from './helper.ts'
import { logIn } from './visitor.ts'

/** Runs `act` in a simulated test, and returns the failures of its teardown. */
async function failures(act: (replica: Replica, t: Test) => Promise<unknown>): Promise<string[]> {
  const ends: (() => unknown)[] = []
  const test = { teardown: (end: () => unknown) => ends.unshift(end) } as unknown as Test
  await act(await startReplica(test, { extend: leak }), test)
  const messages: string[] = []
  for (const end of ends) {
    try {
      await end()
    } catch (error) {
      messages.push(/A secret is in [\w ]+(\.\w+)?/.exec(String(error))?.[0] ?? String(error))
    }
  }
  return messages
}

function leak(app: Replica['app']): void {
  app.get('/leak', async ({ log, headers }, reply) => {
    log.info({ leaked: headers.authorization }, 'leaked')
    return reply.send('ok')
  })
  app.get('/echo', async ({ headers }, reply) => reply.code(400).send({ sent: headers.authorization }))
}

await t.test('a test fails if a secret is logged, sent in an error or stored', async (t) => {
  t.same(
    await failures(async (replica) => {
      const { token } = await newKey(replica)
      await replica.call(token, 'GET /api/me')
      await logIn(replica.app, token)
    }),
    [],
  )
  t.same(
    await failures(async (replica) => {
      const { token } = await newKey(replica)
      await replica.app.inject({ url: '/leak', headers: { authorization: `Bearer ${token}` } })
    }),
    ['A secret is in the log'],
  )
  t.same(
    await failures(async (replica) => {
      const { token } = await newKey(replica)
      await replica.app.inject({ url: '/echo', headers: { authorization: token.slice(23, 60) } })
    }),
    ['A secret is in an error response'],
  )
  t.same(
    await failures(async (replica) => {
      const { token, id } = await newKey(replica)
      await replica.call(token, `PATCH /api/keys/${id}`, { name: `before ${token.slice(23)}` })
    }),
    ['A secret is in the table public.api_keys'],
  )
  t.same(
    await failures(async (replica) => {
      const { token: text } = await newKey(replica)
      const { cookie } = await logIn(replica.app, text)
      const token = /kener_manage=([^;]+)/.exec(cookie)?.[1] ?? ''
      await replica.db.updateTable('admin_sessions').set({ token_digest: token }).execute()
    }),
    ['A secret is in the table public.admin_sessions'],
  )
  t.same(
    await failures(async (replica) => {
      const visitor = await logIn(replica.app, (await newKey(replica)).token)
      const { body } = await visitor.get('/manage')
      replica.app.log.info(/name="_csrf" value="([^"]+)"/.exec(body)?.[1])
    }),
    ['A secret is in the log'],
  )
})
