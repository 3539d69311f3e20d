import t from 'tap'
import { shareReplica } from './helper.ts'
import { fails, newYear, start, thisMinute } from './kener.ts'

const share = shareReplica(t)

await t.test('incidents: a Kener client can create, read, update and delete them', async (t) => {
  const { kener } = await start(await share())
  for (const tag of ['a', 'b']) await kener.createMonitor({ tag, name: tag })
  const created = await kener.createIncident({
    title: ' Slow ',
    start_date_time: newYear + 59,
    monitors: [{ monitor_tag: 'b' }, { monitor_tag: 'a', impact: 'UP' }],
  })
  t.match(created, {
    title: 'Slow',
    start_date_time: newYear,
    end_date_time: null,
    state: 'INVESTIGATING',
    incident_type: 'INCIDENT',
    incident_source: 'API',
    monitors: [
      { monitor_tag: 'a', impact: 'UP' },
      { monitor_tag: 'b', impact: 'DOWN' },
    ],
  })
  t.same(await kener.getIncident(created.id), created)
  t.equal(new URL(created.url).pathname, `/incidents/${created.id}`, 'the url is that of the public page')

  const changed = await kener.updateIncident(created.id, {
    title: 'Slower',
    monitors: [{ monitor_tag: 'a', impact: null }],
  })
  t.match(changed, {
    title: 'Slower',
    start_date_time: newYear,
    monitors: [{ monitor_tag: 'a', impact: 'DOWN' }],
  })
  t.match(await kener.updateIncident(created.id, { end_date_time: newYear + 3_659 }), {
    ...{ end_date_time: newYear + 3_600, state: 'INVESTIGATING' },
  })
  t.equal((await kener.updateIncident(created.id, { end_date_time: null })).end_date_time, null)
  t.same((await kener.updateIncident(created.id, { monitors: [] })).monitors, [])
  const planned = { title: 'P', start_date_time: newYear, end_date_time: newYear + 60 }
  t.match(await kener.createIncident(planned), { end_date_time: newYear + 60, state: 'INVESTIGATING' })
  t.equal(
    (await kener.createIncident({ ...planned, end_date_time: 0 })).end_date_time,
    null,
    '0 means no end',
  )

  t.equal(await kener.deleteIncident(created.id), `Incident with id '${created.id}' deleted successfully`)
  await fails(t, kener.deleteIncident(created.id), 404, 'NOT_FOUND', 'again')
  await fails(t, kener.getIncident(created.id), 404, 'NOT_FOUND', 'reading')
  await fails(t, kener.updateIncident(created.id, { title: 'T' }), 404, 'NOT_FOUND', 'updating')
  await fails(t, kener.listComments(created.id), 404, 'NOT_FOUND', 'listing comments')
  await fails(
    t,
    kener.createComment(created.id, { comment: 'C', state: 'RESOLVED' }),
    404,
    'NOT_FOUND',
    'commenting',
  )
})

await t.test('incidents are filtered by start and by monitor', async (t) => {
  const { kener } = await start(await share())
  for (const tag of ['a', 'b', 'c']) await kener.createMonitor({ tag, name: tag })
  for (const [index, tags] of [...[['a'], ['b'], ['a', 'b'], []].entries()].reverse()) {
    const monitors = tags.map((monitor_tag) => ({ monitor_tag, impact: 'DEGRADED' }))
    await kener.createIncident({ title: String(index), start_date_time: newYear + index * 3_600, monitors })
  }
  const titles = async (filter: Record<string, string | number>) =>
    (await kener.listIncidents(filter)).map(({ title }) => title).join('')
  t.equal(await titles({}), '0123', 'newest first')
  t.equal(await titles({ start_ts: newYear + 3_600 }), '123')
  t.equal(await titles({ end_ts: newYear + 3_600 }), '01', 'the end is inclusive')
  t.equal(await titles({ start_ts: newYear + 1, end_ts: newYear + 7_200 }), '12')
  t.equal(await titles({ monitor_tags: 'a' }), '02')
  t.equal(await titles({ monitor_tags: 'a, b' }), '012')
  t.equal(await titles({ monitor_tags: 'c,unknown' }), '')
  t.equal(await titles({ start_ts: '', end_ts: '', monitor_tags: '' }), '0123', 'empty filters are ignored')
  await fails(t, kener.listIncidents({ start_ts: '1abc' }), 400, 'BAD_REQUEST', 'not a number')
})

await t.test('comments: a new comment sets the state of the incident, an update does not', async (t) => {
  const { kener } = await start(await share())
  const { id } = await kener.createIncident({ title: 'T', start_date_time: newYear })
  const first = await kener.createComment(id, {
    comment: ' C ',
    state: 'IDENTIFIED',
    timestamp: newYear + 119,
  })
  t.match(first, { incident_id: id, comment: 'C', state: 'IDENTIFIED', timestamp: newYear + 60 })
  t.equal((await kener.getIncident(id)).state, 'IDENTIFIED')
  const before = thisMinute()
  const second = await kener.createComment(id, { comment: 'D', state: 'RESOLVED', timestamp: null })
  t.ok([before, thisMinute()].includes(second.timestamp), 'the default time is the current minute')
  t.match(await kener.getIncident(id), { state: 'RESOLVED', end_date_time: second.timestamp })
  t.same(await kener.listComments(id), [second, first], 'newest first')

  const updated = await kener.updateComment(id, first.id, {
    comment: 'E',
    state: 'MONITORING',
    timestamp: newYear + 1,
  })
  t.match(updated, { id: first.id, comment: 'E', state: 'MONITORING', timestamp: newYear })
  t.ok(updated.updated_at > first.updated_at)
  t.equal(updated.created_at, first.created_at)
  t.same(await kener.getComment(id, first.id), updated)
  t.equal((await kener.getIncident(id)).state, 'RESOLVED')

  await kener.createComment(id, { comment: 'Again', state: 'INVESTIGATING' })
  t.match(
    await kener.getIncident(id),
    { state: 'INVESTIGATING', end_date_time: null },
    'the incident is open again',
  )
  const other = await kener.createIncident({ title: 'O', start_date_time: newYear })
  await fails(t, kener.getComment(other.id, first.id), 404, 'NOT_FOUND', 'of another incident')
  t.equal(await kener.deleteComment(id, first.id), `Comment with id '${first.id}' deleted successfully`)
  await fails(t, kener.deleteComment(id, first.id), 404, 'NOT_FOUND', 'again')
  await fails(t, kener.getComment(id, first.id), 404, 'NOT_FOUND', 'reading')
  await fails(t, kener.updateComment(id, first.id, { comment: 'F' }), 404, 'NOT_FOUND', 'updating')
})

await t.test('RESOLVED ends an incident that has a planned end', async (t) => {
  const { kener } = await start(await share())
  const planned = { title: 'T', start_date_time: newYear, end_date_time: thisMinute() + 86_400 }
  const { id } = await kener.createIncident(planned)
  await kener.createComment(id, { comment: 'Over', state: 'RESOLVED', timestamp: newYear + 600 })
  t.equal((await kener.getIncident(id)).end_date_time, newYear + 600)
})
