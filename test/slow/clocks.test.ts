import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { newKey } from '../helper.ts'
import { cliProcess } from '../process.ts'
import { type Answer, ask } from './client.ts'
import { readDatabaseClock, startReplicas } from './replicas.ts'

const hour = 3_600
const shifts = [-hour, 0, hour]

function shifted(seconds: number): Record<string, string> {
  const preload = new URL('shift-clock.js', import.meta.url).href
  return { NODE_OPTIONS: `--import=${preload}`, CLOCK_SHIFT_MS: String(seconds * 1_000) }
}

const { url, db, origins, processes } = await startReplicas(
  t,
  shifts.map((seconds) => ({
    ...shifted(seconds),
    LOG_LEVEL: 'info',
    RATE_LIMIT_MAX: '1000000',
    AUTH_FAILURE_LIMIT_MAX: '1000000',
  })),
)
const [behind = '', , ahead = ''] = origins
const { token: admin } = await newKey({ db })

/** Sends the same request to every replica, in the order of their clocks. */
function askAll(path: string, request: Parameters<typeof ask>[1] = {}): Promise<Answer[]> {
  return Promise.all(origins.map((origin) => ask(`${origin}${path}`, { key: admin, ...request })))
}

async function change(origin: string, method: string, path: string, body?: unknown) {
  const answer = await ask(`${origin}${path}`, { key: admin, method, body })
  return { status: answer.status, json: JSON.parse(answer.body) }
}

function statuses(answers: Answer[]): number[] {
  return answers.map(({ status }) => status)
}

function data(answers: Answer[]) {
  return answers.map(({ body }) => JSON.parse(body).data)
}

function toText(seconds: number): string {
  return `${new Date(seconds * 1_000).toISOString().slice(0, 19)}Z`
}

function toSeconds(text: string): number {
  return Date.parse(text) / 1_000
}

/** Returns the result with the time before and after, by the database's clock, in whole seconds. */
async function during<Result>(act: () => Promise<Result>): Promise<[Result, began: number, ended: number]> {
  const began = await readDatabaseClock(db)
  const result = await act()
  return [result, Math.floor(began), await readDatabaseClock(db)]
}

await t.test('the clocks of the three processes differ by an hour', async (t) => {
  for (const [place, { shows }] of processes.entries()) {
    const [, time = ''] = await shows(/"time":"([^"]+)"/)
    const off = toSeconds(time) - (await readDatabaseClock(db))
    t.ok(Math.abs(off - (shifts[place] ?? 0)) < 600, `off by ${off} s`)
  }
})

await t.test('they count in the same window, whose end is by the clock of the database', async (t) => {
  const { token: key } = await newKey({ db }, { rateLimit: 10 })
  const [answers, began, ended] = await during(async () =>
    (await Promise.all(Array.from({ length: 10 }, () => askAll('/api/me', { key })))).flat(),
  )
  const windows = new Map<number, { passed: number; sent: number }>()
  for (const { status, headers } of answers) {
    const reset = Number(headers['x-ratelimit-reset'])
    const window = windows.get(reset) ?? { passed: 0, sent: 0 }
    windows.set(reset, window)
    window.sent++
    if (status === 200) window.passed++
    t.equal(reset % 60, 0)
    t.ok(reset > began && reset - 60 <= ended, `the window of ${reset} is that of the database`)
    const left = Number(/t=(\d+)$/.exec(String(headers['ratelimit']))?.[1])
    t.ok(left >= reset - ended && left <= reset - began, `${left} s are left of it`)
    if (status === 429) t.equal(headers['retry-after'], String(left))
  }
  for (const { passed, sent } of windows.values()) t.equal(passed, Math.min(10, sent))
})

await t.test('a key expires at the same time on all of them', async (t) => {
  const expiresAt = Math.ceil(await readDatabaseClock(db)) + 2
  const created = await change(ahead, 'POST', '/api/keys', {
    name: 'short',
    permissions: ['read:monitors'],
    expires_at: toText(expiresAt),
  })
  t.equal(created.status, 201, 'the replica ahead accepts the expiry')
  const { key, id } = created.json.data
  for (let over = false; !over;) {
    await delay(50)
    const [[sent, shown, listed], began, ended] = await during(() =>
      Promise.all([
        askAll('/api/me', { key }),
        askAll(`/api/keys/${id}`),
        askAll('/api/keys?status=expired'),
      ]),
    )
    over = began >= expiresAt
    if (!over && ended >= expiresAt) continue
    t.same(statuses(sent), over ? [401, 401, 401] : [200, 200, 200])
    const status = over ? 'expired' : 'active'
    t.same(
      data(shown).map((key) => key.status),
      [status, status, status],
    )
    for (const list of data(listed)) t.equal(list.length, over ? 1 : 0)
  }
  const past = { name: 'past', permissions: ['read:monitors'], expires_at: toText(expiresAt - 60) }
  t.equal(
    (await change(behind, 'POST', '/api/keys', past)).status,
    400,
    'the replica behind rejects a past expiry',
  )
})

await t.test('times of a key are by the clock of the database', async (t) => {
  for (const origin of origins) {
    const body = { name: 'dated', permissions: ['read:monitors'] }
    const [created, ...span] = await during(() => change(origin, 'POST', '/api/keys', body))
    isWithin(t, created.json.data.created_at, span)
    const { id, key } = created.json.data
    const [rotated, ...rotating] = await during(() =>
      change(origin, 'POST', `/api/keys/${id}/rotate`, { overlap_seconds: 100 }),
    )
    isWithin(t, rotated.json.data.created_at, rotating)
    const [, ...using] = await during(() => ask(`${origin}/api/me`, { key }))
    let old = await change(origin, 'GET', `/api/keys/${id}`)
    // last_used_at is updated after the response.
    while (old.json.data.last_used_at === null) old = await change(origin, 'GET', `/api/keys/${id}`)
    isWithin(t, old.json.data.last_used_at, [using[0], await readDatabaseClock(db)])
    isWithin(t, toText(toSeconds(old.json.data.expires_at) - 100), rotating)
    const [revoked, ...revoking] = await during(() => change(origin, 'POST', `/api/keys/${id}/revoke`))
    isWithin(t, revoked.json.data.revoked_at, revoking)
  }
})

await t.test('a duration of an hour in the command line is by the clock of the database', async (t) => {
  for (const seconds of shifts) {
    const env = { DATABASE_URL: url, ...shifted(seconds) }
    const args = ['keys', 'create', '--name', 'cli', '--permissions', 'read:monitors', '--expires', '1h']
    const [{ code, stdout, stderr }, ...span] = await during(() => cliProcess(t, args, env))
    t.equal(code, 0, stderr)
    const { json } = await change(ahead, 'GET', `/api/keys/${stdout.slice(6, 22)}`)
    isWithin(t, toText(toSeconds(json.data.expires_at) - hour), span)
  }
})

await t.test(
  'the minute of a report, and whether it is stale or in the future, are by the clock of the database',
  async (t) => {
    const settings = { name: 'm', default_status: 'DOWN', stale_after_seconds: 300 }
    for (const [place, origin] of origins.entries()) {
      const path = `/api/monitors/m${place}`
      await change(origin, 'PUT', path, settings)
      const seen = async () =>
        data(await askAll(path)).map(({ status, status_source }) => `${status} ${status_source}`)
      const report = (timestamp?: number) =>
        change(origin, 'POST', `${path}/data`, {
          status: 'UP',
          ...(timestamp !== undefined && { timestamp: toText(timestamp) }),
        })

      const now = await readDatabaseClock(db)
      t.equal((await report(now - 600)).status, 200)
      t.same(await seen(), Array(3).fill('DOWN default'), 'ten minutes old: stale on all replicas')
      t.equal((await report(now + 420)).status, 400, 'seven minutes in the future: rejected')

      const [, began, ended] = await during(() => report())
      t.same(await seen(), Array(3).fill('UP report'), 'new: not stale on any replica')
      for (const { last_report } of data(await askAll(path))) {
        isWithin(t, last_report.timestamp, [Math.floor(began / 60) * 60, ended])
      }
      t.equal((await report(now + 300)).status, 200, 'five minutes in the future: accepted')
    }
  },
)

await t.test('an incident starts and ends by the clock of the database', async (t) => {
  for (const origin of origins) {
    const [created, ...span] = await during(() => change(origin, 'POST', '/api/incidents', { title: 'now' }))
    isWithin(t, created.json.data.started_at, span)
    const path = `/api/incidents/${created.json.data.id}`
    const [, ...ending] = await during(() => change(origin, 'PATCH', path, { state: 'RESOLVED' }))
    for (const { ended_at } of data(await askAll(path))) isWithin(t, ended_at, ending)

    const later = toText((await readDatabaseClock(db)) + 1_800)
    const planned = await change(origin, 'POST', '/api/incidents', { title: 'later', started_at: later })
    t.equal(planned.status, 201)
    for (const open of data(await askAll('/api/incidents?open=true')))
      t.same(open, [], 'not started on any replica')
  }
})

function isWithin(t: Test, text: string, [began, ended]: [number, number]): void {
  const seconds = toSeconds(text)
  t.ok(seconds >= began && seconds <= ended, `${text} is within ${toText(began)} and ${toText(ended)}`)
}
