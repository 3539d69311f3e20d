import t from 'tap'
import { isErrorReply, shareReplica } from './helper.ts'
import { newYear, start, thisMinute } from './kener.ts'

const share = shareReplica(t)

await t.test('invalid input is rejected with 400, and nothing is stored', async (t) => {
  const { kener, call, key, db } = await start(await share())
  await kener.createMonitor({ tag: 'm', name: 'M', type_data: { a: 1 } })
  await kener.fillData('m', { start_ts: newYear, end_ts: newYear + 60, status: 'UP', latency: 1 })
  const { id } = await kener.createIncident({ title: 'T', start_date_time: newYear })
  await kener.createComment(id, { comment: 'C', state: 'IDENTIFIED' })
  // In the future, so that its event has not ended, whatever the day of the test.
  const weekly = {
    ...{ title: 'T', start_date_time: Date.UTC(2999, 0) / 1000, rrule: 'FREQ=WEEKLY;BYDAY=SU' },
    duration_seconds: 60,
  }
  const planned = await kener.createMaintenance(weekly)
  const [event] = (await kener.listEvents(planned.id)).events
  const count = async () => {
    const tables = [
      ...(['monitors', 'kener_monitors', 'monitor_hours', 'incidents', 'incident_comments'] as const),
      ...(['maintenances', 'maintenance_monitors', 'maintenance_events'] as const),
    ]
    return Promise.all(tables.map((table) => db.selectFrom(table).selectAll().execute()))
  }
  const before = await count()

  const monitor = { tag: 'n', name: 'N' }
  const incident = { title: 'T', start_date_time: newYear }
  const fill = { start_ts: newYear, end_ts: newYear + 60, status: 'UP', latency: 1 }
  const comment = { comment: 'C', state: 'IDENTIFIED' }
  const deep = JSON.parse('['.repeat(40) + ']'.repeat(40)) as unknown
  const cases: [route: 'POST /monitors', bodies: unknown[]][] = (
    [
      [
        'POST /monitors',
        [
          ...[null, [], 'x', 1, {}, { tag: 'n' }, { name: 'N' }, { ...monitor, tag: 'm' }],
          ...['', ' ', 'N', 'é', '-n', 'a b', '../m', 5, null, 'x'.repeat(256)].map((tag) => ({
            ...monitor,
            tag,
          })),
          ...['', '  ', null, 5, 'x'.repeat(256)].map((name) => ({ ...monitor, name })),
          ...['JUNK', 'active', '', 1, true].map((status) => ({ ...monitor, status })),
          ...['NONE', 'up', 0].map((default_status) => ({ ...monitor, default_status })),
          ...['yes', true, 1].map((is_hidden) => ({ ...monitor, is_hidden })),
          ...['no', false].map((value) => ({ ...monitor, include_degraded_in_downtime: value })),
          ...[0, 61, 1.5, '5', true].map((value) => ({ ...monitor, confirmation_threshold: value })),
          ...['{}', [], 1, deep, { a: deep }, { 'a\0': 1 }, { a: 'b\0' }, { '\ud800': 1 }].map(
            (type_data) => ({
              ...monitor,
              type_data,
            }),
          ),
          ...[5, {}].map((monitor_type) => ({ ...monitor, monitor_type })),
          ...['javascript:alert(1)', 'x', 5].map((external_url) => ({ ...monitor, external_url })),
          ...[5, {}].map((cron) => ({ ...monitor, cron })),
        ],
      ],
      [
        'PATCH /monitors/m',
        [[], { name: '' }, { status: 'JUNK' }, { type_data: 'x' }, { type_data: { a: deep } }],
      ],
      [
        'PATCH /monitors/m/data',
        [
          ...[
            null,
            {},
            { ...fill, start_ts: undefined },
            { ...fill, status: undefined },
            { ...fill, latency: null },
          ],
          ...[newYear, newYear - 1, '1', null, 1e300].map((end_ts) => ({ ...fill, end_ts })),
          ...['MAINTENANCE', 'NO_DATA', 'up', null].map((status) => ({ ...fill, status })),
          ...[-1, '5', 1e12].map((latency) => ({ ...fill, latency })),
          ...[-1, '5'].map((deviation) => ({ ...fill, deviation })),
          { ...fill, start_ts: newYear - 3 * 366 * 86_400 },
          { ...fill, end_ts: thisMinute() + 3_600 },
        ],
      ],
      [`PATCH /monitors/m/data/${newYear}`, [{ status: 'JUNK' }, { latency: -1 }, { latency: '1' }]],
      [`PATCH /monitors/m/data/${thisMinute() + 3_600}`, [{ status: 'UP' }]],
      ['PATCH /monitors/m/data/1abc', [{ status: 'UP' }]],
      [
        'POST /incidents',
        [
          ...[null, [], {}, { title: 'T' }, { start_date_time: newYear }],
          ...['', ' ', null, 5].map((title) => ({ ...incident, title })),
          ...['1', null, -1, 1e300].map((start_date_time) => ({ ...incident, start_date_time })),
          ...[newYear - 60, '5', -1].map((end_date_time) => ({ ...incident, end_date_time })),
          ...[
            {},
            'm',
            ['m'],
            [null],
            [{}],
            [{ monitor_tag: 'unknown' }],
            [{ monitor_tag: 'm' }, { monitor_tag: 'unknown' }],
            [{ monitor_tag: 'm' }, { monitor_tag: 'm' }],
            [{ monitor_tag: 'm', impact: 'JUNK' }],
          ].map((monitors) => ({ ...incident, monitors })),
        ],
      ],
      [
        `PATCH /incidents/${id}`,
        [
          ...[[], { title: '' }, { start_date_time: '5' }],
          ...[
            { end_date_time: newYear - 60 },
            { start_date_time: newYear + 120, end_date_time: newYear + 60 },
          ],
          { title: 'New', monitors: [{ monitor_tag: 'unknown' }] },
        ],
      ],
      ['PATCH /incidents/1abc', [{ title: 'T' }]],
      [
        `POST /incidents/${id}/comments`,
        [
          ...[null, {}, { comment: 'C' }, { state: 'RESOLVED' }],
          ...['', ' ', null, 5].map((text) => ({ ...comment, comment: text })),
          ...['JUNK', 'resolved', null, 5].map((state) => ({ ...comment, state })),
          ...['1', -1, 1e300].map((timestamp) => ({ ...comment, timestamp })),
        ],
      ],
      [`PATCH /incidents/${id}/comments/1`, [{ comment: '' }, { state: 'JUNK' }, { timestamp: 'x' }]],
      [`PATCH /incidents/${id}/comments/1abc`, [{ comment: 'C' }]],
      [
        'POST /maintenances',
        [
          ...[null, [], {}, { title: 'T' }],
          ...['', ' ', null, 5].map((title) => ({ ...weekly, title })),
          ...['1', null, -1, 1e300].map((start_date_time) => ({ ...weekly, start_date_time })),
          ...[
            '',
            ' ',
            'JUNK',
            'FREQ=ONCE',
            'BYDAY=MO',
            'FREQ=WEEKLY;BYDAY=',
            'FREQ=DAILY;JUNK=1',
            null,
            5,
          ].map((rrule) => ({ ...weekly, rrule })),
          ...[
            'FREQ=SECONDLY',
            'FREQ=MINUTELY',
            'FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30',
            'FREQ=DAILY\nEXDATE:20260101',
          ].map((rrule) => ({ ...weekly, rrule })),
          ...[0, -1, 1.5, '60', null, 1e300].map((duration_seconds) => ({ ...weekly, duration_seconds })),
          ...[{}, ['m'], [{ monitor_tag: 'unknown' }], [{ monitor_tag: 'm', impact: 'JUNK' }]].map(
            (monitors) => ({
              ...weekly,
              monitors,
            }),
          ),
          { ...weekly, monitors: [{ monitor_tag: 'm' }, { monitor_tag: 'm' }] },
        ],
      ],
      [
        `PATCH /maintenances/${planned.id}`,
        [
          ...[{ title: '' }, { rrule: 'JUNK' }, { status: 'JUNK' }, { duration_seconds: 0 }],
          ...[{ start_date_time: 'x' }, { title: 'New', monitors: [{ monitor_tag: 'unknown' }] }],
        ],
      ],
      ['PATCH /maintenances/1abc', [{ title: 'T' }]],
      [
        `PATCH /maintenances/${planned.id}/events/${event?.id}`,
        [
          ...[null, {}, { status: 'JUNK' }, { status: 'ONGOING' }, { status: 'COMPLETED' }],
          ...[
            { start_date_time: newYear },
            { end_date_time: newYear },
            { start_date_time: newYear, end_date_time: newYear },
          ],
          ...[
            { start_date_time: newYear + 1, end_date_time: newYear + 59 },
            { start_date_time: 'x', end_date_time: 5 },
          ],
          { status: 'CANCELLED', start_date_time: newYear, end_date_time: newYear + 60 },
        ],
      ],
      [`PATCH /maintenances/${planned.id}/events/1abc`, [{ status: 'CANCELLED' }]],
    ] as [string, unknown[]][]
  ).map(([route, bodies]) => [route as 'POST /monitors', bodies])
  for (const [route, bodies] of cases) {
    const [method, path] = route.split(' ') as ['POST', string]
    for (const body of bodies) {
      const reply = await call(key, `${method} /api/v4${path}`, undefined, {
        headers: { 'content-type': 'application/json' },
        payload: JSON.stringify(body),
      })
      isErrorReply(t, reply, 400, 'BAD_REQUEST', `${route} ${JSON.stringify(body).slice(0, 100)}`)
      t.ok(reply.json.error.message.length > 5, 'has a message')
    }
  }
  for (const path of [
    'incidents/1abc',
    'incidents/0',
    'incidents/-1',
    'incidents/1.5',
    'incidents/1/comments/x',
    'maintenances/1abc',
    'maintenances/1/events/x',
  ]) {
    isErrorReply(t, await call(key, `GET /api/v4/${path}`), 400, 'BAD_REQUEST', path)
    isErrorReply(t, await call(key, `DELETE /api/v4/${path}`), 400, 'BAD_REQUEST', path)
  }
  for (const query of [
    '',
    '?start_ts=1',
    '?end_ts=1',
    '?start_ts=x&end_ts=1',
    '?start_ts=60&end_ts=60',
    '?start_ts=-1&end_ts=60',
  ]) {
    isErrorReply(t, await call(key, `GET /api/v4/monitors/m/data${query}`), 400, 'BAD_REQUEST', query)
  }
  t.same(await count(), before, 'nothing was stored')
})
