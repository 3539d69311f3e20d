import t from 'tap'
import { sql } from 'kysely'
import { isErrorReply, newKey, startReplica, times, waitForTimeInMinute, waitUntil } from './helper.ts'

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

await t.test('what was hidden through a monitor stays hidden when the monitor is deleted', async (t) => {
  const replica = await startReplica(t)
  const { call, db } = replica
  const { token: key } = await newKey(replica)
  const create = (tag: string, more = {}) => call(key, 'POST /api/monitors', { tag, name: tag, ...more })
  await create('hidden', { hidden: true })
  await create('hidden-too', { hidden: true })
  await create('disabled', { enabled: false })
  await create('visible')
  await create('public')

  /** Creates an incident and a maintenance, each with the id `id`. */
  const affect = async (title: string, tags: string[]) => {
    const monitors = tags.map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' }))
    const incident = await call(key, 'POST /api/incidents', { title, monitors, comment: title })
    const starts_at = new Date(Date.now() + 3_600_000).toISOString()
    const maintenance = { title, monitors, starts_at, duration_seconds: 3_600 }
    t.equal((await call(key, 'POST /api/maintenances', maintenance)).json.data.id, incident.json.data.id)
    return incident.json.data.id as number
  }
  const shown = async () => {
    const { data } = (await call(null, 'GET /api/status')).json
    const titles = ({ title }: { title: string }) => title
    const incidents = data.incidents.map(titles).sort()
    t.same(data.maintenances.map(titles).sort(), incidents, 'maintenances as incidents')
    return incidents
  }
  const id = await affect('one hidden', ['hidden'])
  await affect('two hidden', ['hidden', 'hidden-too'])
  await affect('disabled', ['disabled'])
  await affect('hidden and visible', ['hidden', 'visible'])
  await affect('public', ['public'])
  await affect('none', [])
  const visible = ['hidden and visible', 'none', 'public']
  t.same(await shown(), visible)

  await t.test('also if two requests delete its last monitors at the same time', async (t) => {
    const deletions = db.transaction().execute(async (trx) => {
      await sql`select from incidents for no key update`.execute(trx)
      const replies = ['DELETE /api/monitors/hidden', 'DELETE /api/v4/monitors/hidden-too'].map((route) =>
        call(key, route as 'DELETE /'),
      )
      await waitUntil(async () => {
        // A transaction does not see connections that were opened after its first look.
        await sql`select pg_stat_clear_snapshot()`.execute(trx)
        const { rows } = await sql`
          select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`.execute(
          trx,
        )
        return rows.length === replies.length
      })
      return { replies }
    })
    for (const reply of (await deletions).replies) t.match((await reply).statusCode, /20[04]/)
    t.same(await shown(), visible)
  })

  for (const tag of ['disabled', 'visible', 'public']) await call(key, `DELETE /api/monitors/${tag}`)
  t.same(await shown(), visible, 'a visible monitor hides nothing')
  await create('hidden')
  t.same(await shown(), visible, 'a new monitor with the tag of the deleted one')
  const replace = async (monitors: object[]) => {
    for (const list of ['incidents', 'maintenances'])
      await call(key, `PATCH /api/${list}/${id}`, { monitors })
  }
  await replace([])
  t.same(await shown(), visible, 'an update that keeps it without monitors')
  await create('draft', { hidden: true })
  await replace([{ monitor_tag: 'draft', impact: 'DOWN' }])
  await replace([])
  t.same(await shown(), visible, 'an update that removes its hidden monitor')
  await replace([{ monitor_tag: 'hidden', impact: 'DOWN' }])
  t.same(await shown(), [...visible.slice(0, 2), 'one hidden', 'public'], 'it now affects a visible monitor')
  await replace([])
  t.same(await shown(), [...visible.slice(0, 2), 'one hidden', 'public'], 'and then none')
})

await t.test('the public status is limited per address, with a key or without', async (t) => {
  const replica = await startReplica(t, { config: { publicRateLimitMax: 60 } })
  await waitForTimeInMinute()
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

await t.test('the text of the public status is reused, but never after a write', async (t) => {
  const replica = await startReplica(t)
  const other = await startReplica(t, { url: replica.app.config.databaseUrl as string })
  const { token: key } = await newKey(replica)
  const names = async ({ call }: typeof replica) =>
    (await call(null, 'GET /api/status')).json.data.monitors.map(({ name }: { name: string }) => name)
  await replica.call(key, 'POST /api/monitors', { tag: 'api', name: 'first' })

  replica.statements.length = 0
  for (let reads = 0; reads < 20; reads++) await replica.call(null, 'GET /api/status')
  t.ok(replica.statements.length < 20, `${replica.statements.length} statements for 20 requests`)

  t.same(await names(other), ['first'])
  for (const name of ['second', 'third']) {
    await replica.call(key, 'PATCH /api/monitors/api', { name })
    t.same(await names(replica), [name], 'of the same replica')
  }
  await waitUntil(async () => String(await names(other)) === 'third')
})

await t.test('the public status has an ETag, and a request with the same ETag gets 304', async (t) => {
  const replica = await startReplica(t)
  const { token: key } = await newKey(replica)
  const read = (etag?: string) =>
    replica.call(null, 'GET /api/status', undefined, { headers: etag ? { 'if-none-match': etag } : {} })
  const { headers } = await read()
  t.equal(headers['cache-control'], 'public, max-age=30')
  const etag = String(headers.etag)
  for (const sent of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
    const reply = await read(sent)
    t.equal(reply.statusCode, 304, sent)
    t.equal(reply.body, '')
    t.equal(reply.headers.etag, etag)
    t.equal(reply.headers['cache-control'], 'public, max-age=30')
  }
  await replica.call(key, 'POST /api/monitors', { tag: 'api', name: 'API' })
  const changed = await read(etag)
  t.equal(changed.statusCode, 200)
  t.not(changed.headers.etag, etag)
})
