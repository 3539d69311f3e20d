import t, { type Test } from 'tap'
import { generateSecret } from '../src/keys/token.ts'
import {
  createDatabase,
  isErrorReply,
  isWaitingForLock,
  newKey,
  type Replica,
  type Reply,
  shareReplica,
  startReplica,
  times,
  waitForTimeInMinute,
  waitUntil,
} from './helper.ts'

const share = shareReplica(t)

/** Creates a monitor with a heartbeat URL, and returns the path of the URL. */
async function createUrl(replica: Replica, tag = 'backup'): Promise<{ key: string; path: string }> {
  const { token: key } = await newKey(replica)
  await replica.call(key, 'POST /api/monitors', { tag, name: 'Backup' })
  return { key, path: await newPath(replica, key, tag) }
}

async function newPath(replica: Replica, key: string, tag: string): Promise<string> {
  const { json } = await replica.call(key, `POST /api/monitors/${tag}/heartbeat`)
  return new URL(json.data.url as string).pathname
}

async function readMonitor(replica: Replica, key: string, tag = 'backup') {
  return (await replica.call(key, `GET /api/monitors/${tag}`)).json.data
}

/** Checks that the response is that of a path that does not exist. */
function isNothing(t: Test, reply: Reply, name: string): void {
  isErrorReply(t, reply, 404, 'NOT_FOUND', name)
  t.equal(
    reply.body,
    '{"success":false,"error":{"code":"NOT_FOUND","message":"There is nothing at this path"}}',
    name,
  )
  t.equal(reply.headers['cache-control'], 'no-store', name)
  t.equal(reply.headers['referrer-policy'], 'no-referrer', name)
}

await t.test('a heartbeat URL reports UP or DOWN for the current minute, and nothing else', async (t) => {
  const replica = await share()
  const { key, path } = await createUrl(replica)
  const methods = ['GET', 'POST', 'HEAD'] as const
  for (const method of methods) {
    for (const [suffix, status] of [
      ['/fail?latency_ms=12.5&utm_source=cron', 'DOWN'],
      ['?latency_ms=0012.4', 'UP'],
    ]) {
      const reply = await replica.call(null, `${method} ${path}${String(suffix)}`)
      t.equal(reply.statusCode, 200, `${method} ${status}`)
      t.same(reply.json, method === 'HEAD' ? undefined : { success: true, data: { written: 1 } })
      t.equal(reply.headers['cache-control'], 'no-store')
      t.equal(reply.headers['referrer-policy'], 'no-referrer')
      t.equal(reply.headers['access-control-allow-origin'], undefined)
      const { last_report: last, status_source: source } = await readMonitor(replica, key)
      t.match(last, { status, latency_ms: status === 'UP' ? 12 : 13 }, `${method} ${status}`)
      t.equal(source, 'report')
      t.ok(Math.abs(Date.now() - Date.parse(last.timestamp as string)) < 120_000, 'at the current minute')
    }
  }
  t.equal((await replica.call(null, `GET ${path}/`)).statusCode, 200, 'a trailing slash is ignored')
})

await t.test('the URL is returned once, and only its digest is stored', async (t) => {
  const replica = await share()
  const { token: key } = await newKey(replica, { permissions: ['read:monitors', 'write:monitors'] })
  await replica.call(key, 'POST /api/monitors', { tag: 'backup', name: 'Backup' })
  const headers = { host: 'status.example.com' }
  const created = await replica.call(key, 'POST /api/monitors/backup/heartbeat', {}, { headers })
  t.equal(created.statusCode, 201)
  t.match(created.json.data.url, /^http:\/\/status\.example\.com\/ext\/heartbeat\/backup\/[0-9A-Za-z]{43}$/)
  t.same(Object.keys(created.json.data as object), ['url'])
  t.equal(created.headers['cache-control'], 'no-store')
  const path = new URL(created.json.data.url as string).pathname
  for (const url of ['/api/monitors', '/api/monitors/backup', '/api/v4/monitors'] as const) {
    t.notOk((await replica.call(key, `GET ${url}`)).body.includes('heartbeat'), url)
  }

  const next = await newPath(replica, key, 'backup')
  t.not(next, path)
  isNothing(t, await replica.call(null, `GET ${path}`), 'a new URL replaces the previous one')
  t.equal((await replica.call(null, `GET ${next}`)).statusCode, 200)
  t.equal((await replica.call(key, 'DELETE /api/monitors/backup/heartbeat')).statusCode, 204)
  isNothing(t, await replica.call(null, `GET ${next}`), 'deleted')
  isErrorReply(
    t,
    await replica.call(key, 'DELETE /api/monitors/backup/heartbeat'),
    404,
    'NOT_FOUND',
    'deleted twice',
  )
  for (const method of ['POST', 'DELETE'] as const) {
    const reply = await replica.call(key, `${method} /api/monitors/none/heartbeat`)
    isErrorReply(t, reply, 404, 'NOT_FOUND', `${method} of an unknown monitor`)
  }
  const events = await replica.db.selectFrom('audit_events').select('action').orderBy('id').execute()
  t.same(
    events.map(({ action }) => action),
    ['key.created', 'monitor.created', 'heartbeat.created', 'heartbeat.created', 'heartbeat.deleted'],
  )

  const last = await newPath(replica, key, 'backup')
  await replica.call((await newKey(replica)).token, 'DELETE /api/monitors/backup')
  await replica.call(key, 'POST /api/monitors', { tag: 'backup', name: 'Another one' })
  isNothing(t, await replica.call(null, `GET ${last}`), 'the URL is deleted with its monitor')
})

await t.test('anything wrong is the same 404, and reports nothing', async (t) => {
  const replica = await share()
  const { key, path } = await createUrl(replica)
  const { path: other } = await createUrl(replica, 'other')
  const secretOf = (path: string) => path.split('/').at(-1) ?? ''
  const secret = secretOf(path)
  const wrong = generateSecret()
  const urls = [
    `/ext/heartbeat/backup/${wrong}`,
    `/ext/heartbeat/none/${secret}`,
    `/ext/heartbeat/backup/${secretOf(other)}`,
    `/ext/heartbeat/backup:${secret}`,
    `/ext/heartbeat/BACKUP/${secret}`,
    `/ext/heartbeat/backup%00/${secret}`,
    `/ext/heartbeat/backup/${secret.slice(1)}`,
    `${path}0`,
    `${path}/failed`,
    `${path}/fail/1`,
    `/ext/heartbeat/%zz/${secret}`,
    `/ext/heartbeat/${'x'.repeat(600)}/${secret}`,
    `/ext/heartbeat`,
    ...['x', '', '-1', '86400001', 'NaN', '1e3', '1&latency_ms=2'].map(
      (value) => `${path}?latency_ms=${value}`,
    ),
  ]
  for (const url of urls) isNothing(t, await replica.call(null, `GET ${url}`), url)
  for (const method of ['PUT', 'PATCH', 'DELETE'] as const) {
    isNothing(t, await replica.call(null, `${method} ${path}`), method)
  }
  t.equal((await readMonitor(replica, key)).last_report, null)
  t.equal((await readMonitor(replica, key, 'other')).last_report, null)
  const events = replica.log.filter(({ event }) => event === 'authentication_failed')
  t.equal(events.length, urls.length + 3, 'each one is an event')
  for (const event of events) t.match(event, { reason: 'heartbeat_url', address: '127.0.0.1', status: 404 })
  t.ok(
    events.some(({ route }) => route === '/ext/heartbeat/:tag/:secret'),
    'the log has the pattern of the route',
  )
})

await t.test('a body of any type and size is ignored', async (t) => {
  const replica = await share()
  const { key, path } = await createUrl(replica)
  for (const [type, payload] of [
    ['application/json', '{bad'],
    ['application/x-www-form-urlencoded', 'status=DOWN'],
    ['multipart/form-data', 'x'.repeat(2_000_000)],
    ['nonsense', '\0'],
    ['', 'x'],
  ] as const) {
    const asked = { headers: { 'content-type': type }, payload }
    t.equal((await replica.call(null, `POST ${path}`, undefined, asked)).statusCode, 200, type)
  }
  t.equal((await readMonitor(replica, key)).status, 'UP')
})

await t.test('a report through a URL is visible to the next reader of the public status', async (t) => {
  const replica = await share()
  const { path } = await createUrl(replica)
  const status = async () => (await replica.call(null, 'GET /api/status')).json.data.status as string
  t.equal(await status(), 'NO_DATA')
  for (const [suffix, expected] of [
    ['', 'UP'],
    ['/fail', 'DOWN'],
    ['', 'UP'],
  ] as const) {
    await replica.call(null, `GET ${path}${suffix}`)
    t.equal(await status(), expected)
  }
})

await t.test('a disabled or hidden monitor keeps its reports', async (t) => {
  const replica = await share()
  const { key, path } = await createUrl(replica)
  await replica.call(key, 'PATCH /api/monitors/backup', { enabled: false, hidden: true })
  t.equal((await replica.call(null, `GET ${path}`)).statusCode, 200)
  t.equal((await readMonitor(replica, key)).status, 'UP')
})

const url = await createDatabase(t)
const config = {
  ...{ authFailureLimitMax: 2, publicRateLimitMax: 1, publicPage: false },
  siteUrl: 'https://status.example.com',
}
const replicas = [await startReplica(t, { url, config }), await startReplica(t, { url, config })] as const

await t.test(
  'wrong URLs count as failed authentications of their address, which rejects no valid URL',
  async (t) => {
    const [replica] = replicas
    const { path } = await createUrl(replica)
    const wrong = `/ext/heartbeat/backup/${generateSecret()}` as const
    await waitForTimeInMinute()
    isNothing(t, await replica.call(null, `GET ${wrong}`), 'the first one')
    isErrorReply(
      t,
      await replica.call(null, 'GET /api/me'),
      401,
      'UNAUTHORIZED',
      'counted together with keys',
    )
    for (const url of [wrong, `${path}?latency_ms=x`, '/ext/heartbeat/%zz'] as const) {
      const reply = await replica.call(null, `GET ${url}`)
      isErrorReply(t, reply, 429, 'RATE_LIMIT_EXCEEDED', url)
      t.match(reply.headers['retry-after'], /^\d+$/)
    }
    t.equal((await replica.call(null, `GET ${path}`)).statusCode, 200, 'a valid URL')
    t.equal((await replica.call(null, `GET ${path}`)).statusCode, 200, 'also above the public rate limit')
  },
)

await t.test('60 requests per minute and URL are allowed, exact across replicas', async (t) => {
  const { key, path } = await createUrl(replicas[0], 'busy')
  const { path: other } = await createUrl(replicas[0], 'other')
  await waitForTimeInMinute()
  const replies = await times(80, (index) => (replicas[index % 2] ?? replicas[0]).call(null, `GET ${path}`))
  const statuses = replies.map(({ statusCode }) => statusCode)
  t.equal(statuses.filter((status) => status === 200).length, 60)
  t.equal(statuses.filter((status) => status === 429).length, 20)
  const rejected = replies.find(({ statusCode }) => statusCode === 429)
  t.ok(Number(rejected?.headers['retry-after']) >= 1 && Number(rejected?.headers['retry-after']) <= 60)
  t.equal(rejected?.json.error.code, 'RATE_LIMIT_EXCEEDED')
  t.equal((await replicas[1].call(null, `GET ${other}`)).statusCode, 200, 'another URL is not affected')
  const next = await newPath(replicas[0], key, 'busy')
  t.equal((await replicas[1].call(null, `GET ${next}`)).statusCode, 200, 'a new URL starts from 0')
  const { json } = await replicas[0].call(key, 'POST /api/monitors/busy/heartbeat')
  t.match(json.data.url, /^https:\/\/status\.example\.com\/ext\/heartbeat\/busy\//, 'the base is SITE_URL')
})

await t.test('a locked row of one URL does not delay another URL', async (t) => {
  const replica = await share()
  const { path } = await createUrl(replica)
  const { path: other } = await createUrl(replica, 'other')
  let waiting: Promise<Reply> | undefined
  await replica.db.transaction().execute(async (trx) => {
    await trx.updateTable('heartbeats').set({ used: 0 }).where('monitor_id', '=', 1).execute()
    replica.statements.length = 0
    waiting = replica.call(null, `GET ${path}`)
    const attempts = () => replica.statements.filter((text) => text.includes('heartbeats as counter')).length
    let isDelayed = false
    await waitUntil(async () => {
      t.equal((await replica.call(null, `GET ${other}`)).statusCode, 200)
      isDelayed ||= await isWaitingForLock(replica.db)
      return attempts() >= 8
    })
    t.notOk(isDelayed, 'no statement waits for the lock')
  })
  t.equal((await waiting)?.statusCode, 200, 'it waits until its row is unlocked')
})
