import t from 'tap'
import { newKey, times } from '../helper.ts'
import { type Answer, ask, keepAlive } from './client.ts'
import { startReplicas } from './replicas.ts'
import { scaled } from './scale.ts'

const rounds = scaled(50)
const clientsPerReplica = 2
/** Minimum requests of each client before the change, and requests after it. */
const requestsBefore = 2
const requestsAfter = 5

/** High limits, so that only the tested limit is reached. */
const wide = { RATE_LIMIT_MAX: '1000000', AUTH_FAILURE_LIMIT_MAX: '1000000' }

/** Each change, with a function that finds the responses by the old state. */
const changes: Record<string, Change> = {
  'a revocation': {
    change: (id) => ['POST', `/api/keys/${id}/revoke`],
    findWrong: exceptRejections(401, 'KEY_REVOKED'),
  },
  'reduced permissions': {
    change: (id) => ['PATCH', `/api/keys/${id}`, { permissions: ['read:monitors'] }],
    findWrong: exceptRejections(403, 'FORBIDDEN'),
  },
  'an expiry of now': {
    change: (id) => ['PATCH', `/api/keys/${id}`, { expires_at: new Date().toISOString() }],
    findWrong: exceptRejections(401, 'KEY_EXPIRED'),
  },
  'a lower limit': {
    change: (id) => ['PATCH', `/api/keys/${id}`, { rate_limit: requestsAfter }],
    findWrong: beyondLimit(requestsAfter),
  },
}

type Change = {
  change: (id: string) => [method: string, path: string, body?: unknown]
  findWrong: (after: Answer[], before: Answer[]) => Answer[]
}

function exceptRejections(status: number, code: string) {
  return (after: Answer[]) =>
    after.filter((answer) => answer.status !== status || JSON.parse(answer.body).error.code !== code)
}

/** Requests that passed before the change count in their window. If a new minute starts, some pass in it. */
function beyondLimit(limit: number) {
  return (after: Answer[], before: Answer[]) => {
    const passed = new Map<unknown, number>()
    const pass = ({ headers }: Answer) => {
      const window = headers['x-ratelimit-reset']
      const count = (passed.get(window) ?? 0) + 1
      passed.set(window, count)
      return count
    }
    before.filter(({ status }) => status === 200).forEach(pass)
    return after.filter((answer) => {
      if (answer.headers['x-ratelimit-limit'] !== String(limit)) return true
      return answer.status === 200 ? pass(answer) > limit : answer.status !== 429
    })
  }
}

const { db, origins } = await startReplicas(t, [wide, wide, wide])

for (const [name, { change, findWrong }] of Object.entries(changes)) {
  await t.test(
    `${name} applies on three replicas to every request that starts after its response`,
    async (t) => {
      const { token: admin } = await newKey({ db })
      const counts = { before: 0, after: 0, wrong: 0 }
      for (let round = 0; round < rounds; round++) {
        const key = await newKey({ db }, { permissions: ['admin'], rateLimit: 1_000_000 })
        const { before, after } = await underLoad(origins, key.token, async () => {
          const [method, path, body] = change(key.id)
          const { status } = await ask(`${origins[round % origins.length]}${path}`, {
            key: admin,
            method,
            body,
          })
          t.equal(status, 200, `${name}: the change succeeds`)
        })
        const wrong = findWrong(after, before)
        t.same(wrong, [], 'no request is handled by the old state')
        t.ok(
          before.every(({ status }) => status < 500),
          'no request before the change fails',
        )
        counts.before += before.length
        counts.after += after.length
        counts.wrong += wrong.length
      }
      t.ok(counts.after >= rounds * origins.length * clientsPerReplica * requestsAfter)
      t.comment(
        `${name}: ${rounds} changes, ${counts.before} requests before their responses, ` +
          `${counts.after} after them, ${counts.wrong} by the old state`,
      )
    },
  )
}

/**
 * Applies constant load to all replicas during a change. Returns responses by whether the request started before or
 * after it.
 */
async function underLoad(origins: string[], key: string, change: () => Promise<void>) {
  const before: Answer[] = []
  const after: Answer[] = []
  let changed = false
  let waiting = origins.length * clientsPerReplica
  let warm: () => void = () => undefined
  const allWarm = new Promise<void>((resolve) => (warm = resolve))

  const load = times(waiting, async (client) => {
    const agent = keepAlive()
    const url = `${origins[client % origins.length]}/api/keys?limit=1`
    for (let sent = 0, late = 0; late < requestsAfter; sent++) {
      if (sent === requestsBefore && --waiting === 0) warm()
      const isLate = changed
      const answer = await ask(url, { key, agent })
      if (isLate) late++
      ;(isLate ? after : before).push(answer)
    }
    agent.destroy()
  })
  await allWarm
  await change()
  changed = true
  await load
  return { before, after }
}
