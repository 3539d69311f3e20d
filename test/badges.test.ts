import { SaxesParser } from 'saxes'
import t from 'tap'
import { newKey, type Replica, shareReplica } from './helper.ts'

const fresh = shareReplica(t)

async function create(replica: Replica) {
  const { token } = await newKey(replica)
  const put = (tag: string, body: object) => replica.call(token, `PUT /api/monitors/${tag}`, body)
  const report = (tag: string, status: string) =>
    replica.call(token, `POST /api/monitors/${tag}/data`, { status })
  return { put, report, token }
}

const endpoint = async ({ app }: Replica, path: string) => {
  const { body } = await app.inject(`/badge/${path}?format=json`)
  return JSON.parse(body) as object
}

await t.test('badges show the status and uptime of a monitor, and the overall status', async (t) => {
  const replica = await fresh()
  const { put, report, token } = await create(replica)
  t.same(await endpoint(replica, '_/status'), {
    schemaVersion: 1,
    label: 'Status',
    message: 'no data',
    color: 'lightgrey',
  })
  await put('web', { name: 'Web' })
  const status = (message: string, color: string) => ({ schemaVersion: 1, label: 'Web', message, color })
  t.same(await endpoint(replica, 'web/status'), status('no data', 'lightgrey'))
  t.same(await endpoint(replica, 'web/uptime'), { ...status('no data', 'lightgrey'), label: 'Web uptime' })
  for (const [reported, message, color] of [
    ['UP', 'up', 'brightgreen'],
    ['DEGRADED', 'degraded', 'yellow'],
    ['MAINTENANCE', 'maintenance', 'blue'],
  ] as const) {
    await report('web', reported)
    t.same(await endpoint(replica, 'web/status'), status(message, color))
    t.same(await endpoint(replica, '_/status'), { ...status(message, color), label: 'Status' })
  }
  await report('web', 'DOWN')
  t.same(await endpoint(replica, 'web/status'), { ...status('down', 'red'), isError: true })
  t.same(await endpoint(replica, 'web/uptime'), { ...status('0%', 'red'), label: 'Web uptime' })

  // One of 3,000 minutes: 99.9666 %.
  const to = new Date(Math.floor(Date.now() / 60_000) * 60_000)
  const from = new Date(to.getTime() - 2_999 * 60_000)
  await replica.call(token, 'PUT /api/monitors/web/data', { from, to, status: 'UP', latency_ms: 1 })
  t.match(await endpoint(replica, 'web/uptime'), { message: '99.96%', color: 'brightgreen' })
})

await t.test('a badge is an image by default, in which names are escaped', async (t) => {
  const replica = await fresh()
  const { put, report } = await create(replica)
  await put('web', { name: 'A <script>&"\u0001' })
  await report('web', 'UP')
  for (const url of ['/badge/web/status', '/badge/web/status?format=svg&cache=1', '/badge/_/status']) {
    const { statusCode, headers, body } = await replica.app.inject(url)
    t.equal(statusCode, 200)
    t.match(headers, {
      'content-type': 'image/svg+xml; charset=utf-8',
      'cache-control': 'public, max-age=30',
      etag: /"/,
      'access-control-allow-origin': '*',
    })
    // No header keeps other sites from showing the image.
    t.equal(headers['cross-origin-resource-policy'], undefined)
    const parser = new SaxesParser({ xmlns: true })
    let title = ''
    parser.on('error', (error) => {
      throw error
    })
    parser.on('text', (text) => (title ||= text))
    parser.write(body).close()
    t.match(title, /^(A <script>&"|Status): up$/)
    t.notMatch(body, '<script')
  }
  t.equal((await replica.app.inject('/badge/web/status?format=gif')).statusCode, 400)
})

await t.test('a tag that cannot exist, and one that does not, have no badge', async (t) => {
  const replica = await fresh()
  const answers = new Set<string>()
  for (const tag of ['none', '_', '%00', '%F0%9F%98%80', '..%2F..', 'x'.repeat(500)]) {
    const { statusCode, body } = await replica.app.inject(`/badge/${tag}/uptime`)
    answers.add(`${statusCode} ${body}`)
  }
  t.same(
    [...answers],
    ['404 {"success":false,"error":{"code":"NOT_FOUND","message":"There is no monitor with this tag"}}'],
  )
})
