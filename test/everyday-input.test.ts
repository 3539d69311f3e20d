import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { isErrorReply, newKey, startReplica } from './helper.ts'

await t.test('input that common clients send, on one replica', async (t) => {
  const replica = await startReplica(t)
  const { app, call, db } = replica
  const { token: key } = await newKey(replica)
  const { id: keyId } = await newKey(replica)
  await call(key, 'POST /api/monitors', { tag: 'm', name: 'M', description: 'D' })
  await call(key, 'POST /api/incidents', { title: 'T', comment: 'C' })

  await t.test('a request without content is accepted whatever its Content-Type', async (t) => {
    const types = [
      ...['application/json', 'application/json; charset=latin1', 'application/x-www-form-urlencoded'],
      ...['text/plain', 'multipart/form-data; boundary=x', 'nonsense', ''],
    ]
    for (const type of [undefined, ...types]) {
      const send = (route: `${'POST' | 'PUT' | 'PATCH' | 'DELETE'} ${string}`) =>
        call(key, route, undefined, {
          headers: { 'content-length': '0', ...(type !== undefined && { 'content-type': type }) },
        })
      t.equal((await send(`POST /api/keys/${keyId}/revoke`)).statusCode, 200, `POST ${type}`)
      t.equal((await send('PATCH /api/monitors/m')).statusCode, 200, `PATCH ${type}`)
      t.equal((await send('PATCH /api/v4/monitors/m')).statusCode, 200, `PATCH /api/v4 ${type}`)
      isErrorReply(t, await send('DELETE /api/monitors/none'), 404, 'NOT_FOUND', `DELETE ${type}`)
      isErrorReply(t, await send('PUT /api/monitors/m'), 400, 'INVALID_REQUEST', `PUT ${type}`)
      const { json } = await send('POST /api/keys')
      t.same(
        json.error,
        {
          code: 'INVALID_REQUEST',
          message: 'Invalid body: /name is required',
          details: [
            { path: '/name', message: 'is required' },
            { path: '/permissions', message: 'is required' },
          ],
        },
        'the required fields are named',
      )
    }
  })

  await t.test('a chunked body without a byte is no content', async (t) => {
    await app.listen({ port: 0 })
    const { port } = app.server.address() as { port: number }
    const send = async (path: string, type: string) => {
      const socket = connect(port, 'localhost')
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${key}\r\n${type}` +
          'Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      )
      return text(socket)
    }
    const names = ['', 'json', 'application/json/x', 'application/json', 'text/plain']
    for (const type of ['', ...names.map((name) => `Content-Type: ${name}\r\n`)]) {
      t.match(await send(`/api/keys/${keyId}/revoke`, type), /^HTTP\/1.1 200 /, type)
      t.match(await send('/api/keys', type), /^HTTP\/1.1 400 [^]*"path":"\/permissions"/, type)
    }
  })

  await t.test('a body of null is an empty body', async (t) => {
    const send = (route: `${'POST' | 'PATCH'} ${string}`) =>
      call(key, route, undefined, { headers: { 'content-type': 'application/json' }, payload: 'null' })
    t.equal((await send(`POST /api/keys/${keyId}/revoke`)).statusCode, 200)
    t.equal((await send('PATCH /api/monitors/m')).statusCode, 200)
    t.equal((await send('PATCH /api/v4/monitors/m')).statusCode, 200)
    const { json } = await send('POST /api/incidents')
    t.equal(json.error.message, 'Invalid body: /title is required')
  })

  await t.test(
    'null in an optional field is as if the field were absent, unless it has a meaning',
    async (t) => {
      const incident = { title: 'N', started_at: null, state: null, monitors: null, comment: null }
      const created = await call(key, 'POST /api/incidents', incident)
      t.match(created.json.data, { title: 'N', state: 'INVESTIGATING', monitors: [], comments: [] })
      const monitor = { tag: 'n', name: 'N', enabled: null, hidden: null, default_status: null }
      t.match((await call(key, 'POST /api/monitors', monitor)).json.data, {
        enabled: true,
        hidden: false,
        default_status: 'NO_DATA',
      })
      const points = [{ status: 'UP', timestamp: null, latency_ms: null }]
      t.equal((await call(key, 'POST /api/monitors/n/data', { points })).json.data.written, 1)
      const report = { status: 'UP', points: null, timestamp: null }
      t.equal((await call(key, 'POST /api/monitors/n/data', report)).json.data.written, 1)

      const updated = await call(key, 'PATCH /api/monitors/m', { name: null, description: null })
      t.match(updated.json.data, { name: 'M', description: null }, 'null clears the description')
      t.equal((await call(key, 'PATCH /api/v4/monitors/m', { name: null })).json.monitor.name, 'M')
      isErrorReply(
        t,
        await call(key, 'PUT /api/monitors/m', { name: null }),
        400,
        'INVALID_REQUEST',
        'a required field',
      )
    },
  )

  await t.test('booleans in a query are true, false, 1 or 0, in any case', async (t) => {
    for (const [text, count] of Object.entries({
      true: 2,
      True: 2,
      TRUE: 2,
      1: 2,
      false: 0,
      FALSE: 0,
      0: 0,
    })) {
      const { json } = await call(key, `GET /api/monitors?enabled=${text}`)
      t.equal(json.data.length, count, text)
    }
    for (const text of ['yes', '', '01', '2', 'truee']) {
      const reply = await call(key, `GET /api/monitors?enabled=${text}`)
      isErrorReply(t, reply, 400, 'INVALID_REQUEST', text)
    }
  })

  await t.test('the + of a time in a query need not be encoded', async (t) => {
    await call(key, 'POST /api/incidents', { title: 'Old', started_at: '2020-01-01T00:00:00Z' })
    const titles = async (query: string) =>
      (await call(key, `GET /api/incidents?${query}`)).json.data.map(({ title }: { title: string }) => title)
    t.same(await titles('from=2020-01-01T02:00:00+02:00&to=2020-01-01T02:00:01+02:00'), ['Old'])
    t.same(await titles('from=2020-01-01T02:00:01+02:00&to=2020-01-01T02:00:02%2B02:00'), [])
    const unclear = await call(key, 'GET /api/incidents?from=2020-01-01+02:00:00')
    isErrorReply(t, unclear, 400, 'INVALID_REQUEST', 'another space')
  })

  await t.test('latency_ms is from 0 to a day, and rounded to whole milliseconds', async (t) => {
    const last = async () => (await call(key, 'GET /api/monitors/m')).json.data.last_report.latency_ms
    for (const [sent, stored] of [
      [12.5, 13],
      [0.4, 0],
      [86_400_000, 86_400_000],
    ] as const) {
      await call(key, 'POST /api/monitors/m/data', { status: 'UP', latency_ms: sent })
      t.equal(await last(), stored, String(sent))
    }
    const fill = { from: '2020-01-01T00:00:00Z', to: '2020-01-01T00:01:00Z', status: 'UP', latency_ms: 1.6 }
    await call(key, 'PUT /api/monitors/m/data', fill)
    const { json } = await call(key, 'GET /api/monitors/m/data?to=2020-01-02T00:00:00Z')
    t.equal(json.data[0].latency_ms, 2)
    for (const latency_ms of [-0.1, 86_400_000.5, 2_000_000_000]) {
      const reply = await call(key, 'POST /api/monitors/m/data', { status: 'UP', latency_ms })
      isErrorReply(t, reply, 400, 'INVALID_REQUEST', String(latency_ms))
      t.equal(reply.json.error.message, 'Invalid body: /latency_ms must be from 0 to 86400000')
    }
  })

  await t.test('PUT accepts what GET returned, and ignores its read-only fields', async (t) => {
    await call(key, 'POST /api/monitors/m/data', { status: 'DEGRADED', latency_ms: 5 })
    const { data } = (await call(key, 'GET /api/monitors/m')).json
    const replaced = await call(key, 'PUT /api/monitors/m', {
      ...data,
      name: 'Renamed',
      status: 'DOWN',
      created_at: null,
      uptime: 'x',
    })
    t.equal(replaced.statusCode, 200)
    const { updated_at } = replaced.json.data
    t.same(replaced.json.data, { ...data, name: 'Renamed', updated_at })
    const unknown = await call(key, 'PUT /api/monitors/m', { ...data, other: 1 })
    isErrorReply(t, unknown, 400, 'INVALID_REQUEST', 'an unknown field')
  })

  await t.test('a message names the field that is wrong', async (t) => {
    const future = '2999-01-01T00:00:00Z'
    const planned = { title: 'T', starts_at: future, duration_seconds: 60 }
    const maintenance = (await call(key, 'POST /api/maintenances', planned)).json.data
    const event = `PATCH /api/maintenances/${maintenance.id}/events/${maintenance.next_event.id}`
    const kenerEvent = event.replace('/api/', '/api/v4/')
    const time = 'must be a time like 2024-01-01T00:00:00Z, from 1970 to 9999'
    await call(key, 'PATCH /api/incidents/1', {
      started_at: '2026-01-01T00:00:00Z',
      ended_at: '2026-01-02T00:00:00Z',
    })
    const cases: [route: string, body: object, message: string][] = [
      [event, {}, 'must have either state, or starts_at and ends_at'],
      [event, { starts_at: future }, '/ends_at is required together with starts_at'],
      [event, { ends_at: future }, '/starts_at is required together with ends_at'],
      [event, { state: 'CANCELLED', ends_at: future }, '/ends_at is not allowed together with state'],
      [
        event,
        { state: 'CANCELLED', starts_at: future, ends_at: future },
        '/starts_at is not allowed together with state',
      ],
      [event, { state: 5 }, '/state must be one of COMPLETED, CANCELLED'],
      [event, { starts_at: future, ends_at: future }, '/ends_at must be after starts_at'],
      [event, [], 'must be an object'],
      [kenerEvent, {}, 'must have either status, or start_date_time and end_date_time'],
      [kenerEvent, { start_date_time: 5 }, '/end_date_time is required together with start_date_time'],
      [
        kenerEvent,
        { status: 'CANCELLED', end_date_time: 5 },
        '/end_date_time is not allowed together with status',
      ],
      ['POST /api/monitors/m/data', {}, 'must have either status or points'],
      ['POST /api/monitors/m/data', { latency_ms: 5 }, '/status is required together with latency_ms'],
      ['POST /api/monitors/m/data', { timestamp: future }, '/status is required together with timestamp'],
      [
        'POST /api/monitors/m/data',
        { status: 'UP', points: [{ status: 'UP' }] },
        '/points is not allowed together with status',
      ],
      [
        'POST /api/monitors/m/data',
        { latency_ms: 5, points: [{ status: 'UP' }] },
        '/latency_ms is not allowed together with points',
      ],
      ['POST /api/monitors/m/data', { points: [{ latency_ms: 5 }] }, '/points/0/status is required'],
      ['POST /api/monitors/m/data', { status: 'UP', timestamp: 1_700_000_000 }, `/timestamp ${time}`],
      [
        'POST /api/keys',
        { name: 'n', permissions: ['admin'], expires_at: 5 },
        `/expires_at ${time}, or null`,
      ],
      ['POST /api/keys', { name: '', permissions: ['admin'] }, '/name must not be empty'],
      ['PATCH /api/incidents/1', { started_at: future }, '/started_at must not be after ended_at'],
      [
        'PATCH /api/incidents/1',
        { ended_at: '2025-01-01T00:00:00Z' },
        '/ended_at must not be before started_at',
      ],
      [
        'PATCH /api/v4/incidents/1',
        { start_date_time: 1_900_000_000 },
        '/start_date_time must not be after end_date_time',
      ],
      [
        'POST /api/v4/incidents',
        { title: 'T', start_date_time: 5, monitors: [{ monitor_tag: 'm', impact: 5 }] },
        '/monitors/0/impact must be one of DOWN, DEGRADED, MAINTENANCE, UP or empty or null',
      ],
    ]
    for (const [route, body, message] of cases) {
      const reply = await call(key, route as 'POST /', body)
      t.equal(reply.statusCode, 400, `${route} ${JSON.stringify(body)}`)
      t.equal(reply.json.error.message, `Invalid body: ${message}`)
      t.equal(reply.json.error.details.length, 1, reply.body)
    }
    t.equal((await db.selectFrom('maintenances').select('id').execute()).length, 1)
  })
})
