import t from 'tap'
import { isErrorReply, newKey, startReplica, times, waitForRoomInMinute } from './helper.ts'

await t.test('the public status needs no key, and contains no hidden or disabled monitor', async (t) => {
  const replica = await startReplica(t)
  const { call } = replica
  const { token: key } = await newKey(replica)
  const status = async () => (await call(null, 'GET /api/status')).json
  t.same(await status(), {
    success: true,
    data: { status: 'NO_DATA', monitors: [], incidents: [], maintenances: [] },
  })

  const create = (tag: string, more = {}) =>
    call(key, 'POST /api/monitors', { tag, name: tag.toUpperCase(), ...more })
  await create('api', { category_name: 'Core' })
  await create('web')
  await create('secret', { hidden: true })
  await create('retired', { enabled: false })
  for (const tag of ['api', 'web']) await call(key, `POST /api/monitors/${tag}/data`, { status: 'UP' })
  for (const tag of ['secret', 'retired'])
    await call(key, `POST /api/monitors/${tag}/data`, { status: 'DOWN' })
  const up = [
    { tag: 'api', name: 'API', category_name: 'Core', status: 'UP' },
    { tag: 'web', name: 'WEB', category_name: null, status: 'UP' },
  ]
  t.same((await status()).data, { status: 'UP', monitors: up, incidents: [], maintenances: [] })

  const incident = (title: string, tags: string[], more = {}) =>
    call(key, 'POST /api/incidents', {
      title,
      monitors: tags.map((monitor_tag) => ({ monitor_tag, impact: 'DEGRADED' })),
      ...more,
    })
  await incident('affects both', ['web', 'secret'], { comment: 'first' })
  await call(key, 'POST /api/incidents/1/comments', { comment: 'newest', state: 'MONITORING' })
  await incident('affects hidden monitors', ['secret', 'retired'])
  await incident('affects none', [])
  await incident('resolved', ['api'], { state: 'RESOLVED' })
  const { data } = await status()
  t.equal(data.status, 'DEGRADED')
  t.same(data.monitors[1].status, 'DEGRADED')
  t.same(data.incidents.map(({ title }: { title: string }) => title).sort(), ['affects both', 'affects none'])
  const both = data.incidents.find(({ title }: { title: string }) => title === 'affects both')
  t.match(both, {
    state: 'MONITORING',
    newest_comment: { comment: 'newest', state: 'MONITORING', timestamp: /Z$/ },
  })
  t.same(both.monitors, [{ monitor_tag: 'web', impact: 'DEGRADED' }], 'without hidden monitors')
  t.notMatch(JSON.stringify(data), /secret|retired/)
})

await t.test('the public status is limited per address, with a key or without', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 60 } })
  await waitForRoomInMinute()
  const replies = await times(200, () => replica.call(null, 'GET /api/status'))
  const passed = replies.filter(({ statusCode }) => statusCode === 200).length
  t.equal(passed, 60, 'passed requests')
  const rejected = replies.find(({ statusCode }) => statusCode === 429)
  if (!rejected) throw new Error('No request was rejected')
  isErrorReply(t, rejected, 429, 'RATE_LIMIT_EXCEEDED', 'over the limit')
  t.match(rejected.headers['retry-after'], /^\d+$/)
})

await t.test('concurrent requests share one read of the public status', async (t) => {
  const replica = await startReplica(t)
  await times(100, () => replica.call(null, 'GET /api/status'))
  t.ok(replica.statements.length <= 8, `${replica.statements.length} statements for 100 requests`)
})
