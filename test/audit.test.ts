import type { RouteOptions } from 'fastify'
import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { removeExpiredAuditEvents } from '../src/audit/repository.ts'
import { auditedTransaction } from '../src/audit/transaction.ts'
import type { AuditVia } from '../src/enums.ts'
import { startFakeKener } from './fake-kener.ts'
import { createDatabase, isErrorReply, newKey, type Replica, startReplica } from './helper.ts'
import { fill, importInProcess } from './kener-import.ts'
import { inAnHour, iso } from './maintenances.ts'
import { cli } from './process.ts'
import { logIn } from './visitor.ts'

/** The audited tables, each with the changes that require an event. Others, such as the last use of a key, do not. */
const audited = {
  api_keys:
    'insert or delete or update of name, description, permissions, rate_limit, monitors, allowed_ips, expires_at, revoked_at, rotated_to',
  monitors: 'insert or delete or update',
  kener_monitors: 'insert or update',
  heartbeats: 'insert or delete or update of secret_digest',
  incidents: 'insert or delete or update',
  incident_monitors: 'insert or delete or update',
  incident_comments: 'insert or delete or update',
  maintenances:
    'insert or delete or update of title, description, starts_at, rrule, duration_seconds, enabled',
  maintenance_monitors: 'insert or delete or update',
  maintenance_events: 'delete or update of closed_as, starts_at, ends_at',
  admin_sessions: 'insert or delete',
  kener_imports: 'insert or update',
}

/** Makes each transaction fail that changes an audited row and contains no audit event. */
async function requireEvents(db: Replica['db']): Promise<void> {
  await sql`
    create function require_audit_event() returns trigger language plpgsql as $$
    begin
      if not exists (select from audit_events where xmin = pg_current_xact_id()::xid) then
        raise exception '% of % has no audit event', tg_op, tg_table_name;
      end if;
      return null;
    end $$`.execute(db)
  for (const [table, changes] of Object.entries(audited)) {
    await sql`
      create constraint trigger audited after ${sql.raw(changes)} on ${sql.table(table)}
      deferrable initially deferred for each row execute function require_audit_event()`.execute(db)
  }
}

/** Routes that only write reported data, which is not audited. */
const reporting = [
  'POST /api/monitors/:tag/data',
  'PUT /api/monitors/:tag/data',
  'PATCH /api/v4/monitors/:monitor_tag/data',
  'PATCH /api/v4/monitors/:monitor_tag/data/:timestamp',
]

await t.test('every route that changes something writes an event in the same transaction', async (t) => {
  const writing: string[] = []
  const replica = await startReplica(t, {
    extend: (app) => {
      app.addHook('onRoute', ({ url, method }: RouteOptions) => {
        for (const each of [method].flat()) {
          if (url.startsWith('/api') && !['GET', 'HEAD', 'OPTIONS'].includes(each))
            writing.push(`${each} ${url.replace(/(.)\/$/, '$1')}`)
        }
      })
    },
  })
  const { call, db } = replica
  const admin = await newKey(replica)
  await requireEvents(db)
  const tested = new Set(reporting)

  /** Sends a request, and checks the event that it writes. Returns the response's data. */
  async function change(
    route: string,
    parameters: (string | number)[],
    body: object | undefined,
    action: string,
  ) {
    tested.add(route)
    const values = [...parameters]
    const path = route.replace(/:[a-z_]+/g, () => String(values.shift()))
    const reply = await call(admin.token, path as 'POST /', body)
    t.ok(reply.statusCode < 300, `${route}: ${reply.statusCode} ${reply.body}`)
    const events = await db
      .selectFrom('audit_events')
      .selectAll()
      .where('request_id', '=', String(reply.headers['x-request-id']))
      .execute()
    const event = events.find((each) => each.action === action)
    t.match(
      event,
      { via: 'api', actor_key_id: admin.id, actor_key_name: 'test', address: '127.0.0.1' },
      `${route}: ${action}`,
    )
    return reply.json?.data ?? Object.values((reply.json ?? {}) as object)[0]
  }

  const { id } = await change('POST /api/keys', [], { name: 'k', permissions: ['admin'] }, 'key.created')
  await change('PATCH /api/keys/:id', [id], { name: 'l' }, 'key.updated')
  await change('POST /api/keys/:id/rotate', [id], { overlap_seconds: 60 }, 'key.rotated')
  await change('POST /api/keys/:id/revoke', [id], {}, 'key.revoked')

  const monitors = [{ monitor_tag: 'm', impact: 'DOWN' }]
  await change('POST /api/monitors', [], { tag: 'm', name: 'M' }, 'monitor.created')
  await change('PUT /api/monitors/:tag', ['n'], { name: 'N' }, 'monitor.created')
  await change('PATCH /api/monitors/:tag', ['m'], { name: 'O' }, 'monitor.updated')
  await change('POST /api/monitors/:tag/heartbeat', ['m'], undefined, 'heartbeat.created')
  await change('POST /api/monitors/:tag/heartbeat', ['m'], undefined, 'heartbeat.created')
  await change('DELETE /api/monitors/:tag/heartbeat', ['m'], undefined, 'heartbeat.deleted')
  const incident = await change(
    'POST /api/incidents',
    [],
    { title: 'I', monitors, comment: 'C' },
    'incident.created',
  )
  await change('PATCH /api/incidents/:id', [incident.id], { title: 'J', monitors: [] }, 'incident.updated')
  const comments = [incident.id]
  const comment = await change(
    'POST /api/incidents/:id/comments',
    comments,
    { comment: 'D' },
    'comment.created',
  )
  const one = [incident.id, comment.id]
  await change('PATCH /api/incidents/:id/comments/:comment_id', one, { comment: 'E' }, 'comment.updated')
  await change('DELETE /api/incidents/:id/comments/:comment_id', one, undefined, 'comment.deleted')
  await change('DELETE /api/incidents/:id', [incident.id], undefined, 'incident.deleted')

  const weekly = { title: 'W', ...inAnHour(), rrule: 'FREQ=WEEKLY', monitors: [{ monitor_tag: 'm' }] }
  const maintenance = await change('POST /api/maintenances', [], weekly, 'maintenance.created')
  await change('PATCH /api/maintenances/:id', [maintenance.id], { title: 'X' }, 'maintenance.updated')
  const event = [maintenance.id, maintenance.next_event.id]
  const cancel = { state: 'CANCELLED' }
  await change('PATCH /api/maintenances/:id/events/:event_id', event, cancel, 'maintenance_event.updated')
  await change('DELETE /api/maintenances/:id/events/:event_id', event, undefined, 'maintenance_event.deleted')
  await change('DELETE /api/maintenances/:id', [maintenance.id], undefined, 'maintenance.deleted')
  await change('DELETE /api/monitors/:tag', ['n'], undefined, 'monitor.deleted')

  const minute = Math.floor(Date.now() / 60_000) * 60
  await change('POST /api/v4/monitors', [], { tag: 'v', name: 'V', type_data: { a: 1 } }, 'monitor.created')
  await change('PATCH /api/v4/monitors/:monitor_tag', ['v'], { type_data: { a: 2 } }, 'monitor.updated')
  const old = await change(
    'POST /api/v4/incidents',
    [],
    { title: 'I', start_date_time: minute },
    'incident.created',
  )
  await change('PATCH /api/v4/incidents/:incident_id', [old.id], { title: 'J' }, 'incident.updated')
  const newComment = { comment: 'C', state: 'IDENTIFIED' }
  const path = 'POST /api/v4/incidents/:incident_id/comments'
  const oldComment = await change(path, [old.id], newComment, 'comment.created')
  const two = [old.id, oldComment.id]
  await change(
    'PATCH /api/v4/incidents/:incident_id/comments/:comment_id',
    two,
    { comment: 'D' },
    'comment.updated',
  )
  await change(
    'DELETE /api/v4/incidents/:incident_id/comments/:comment_id',
    two,
    undefined,
    'comment.deleted',
  )
  await change('DELETE /api/v4/incidents/:incident_id', [old.id], undefined, 'incident.deleted')
  const planned = {
    title: 'M',
    start_date_time: minute + 7_200,
    rrule: 'FREQ=WEEKLY',
    duration_seconds: 3_600,
  }
  const window = await change('POST /api/v4/maintenances', [], planned, 'maintenance.created')
  await change(
    'PATCH /api/v4/maintenances/:maintenance_id',
    [window.id],
    { title: 'N' },
    'maintenance.updated',
  )
  const listed = await call(admin.token, `GET /api/v4/maintenances/${window.id}/events`)
  const first = [window.id, listed.json.events[0].id]
  const events = '/api/v4/maintenances/:maintenance_id/events/:event_id'
  await change(`PATCH ${events}`, first, { status: 'CANCELLED' }, 'maintenance_event.updated')
  await change(`DELETE ${events}`, first, undefined, 'maintenance_event.deleted')
  await change('DELETE /api/v4/maintenances/:maintenance_id', [window.id], undefined, 'maintenance.deleted')
  await change('DELETE /api/v4/monitors/:monitor_tag', ['v'], undefined, 'monitor.deleted')

  tested.add('POST /api/me/rotate').add('POST /api/me/revoke')
  const own = await call((await newKeyByApi()).key, 'POST /api/me/rotate', { overlap_seconds: 60 })
  t.equal(own.statusCode, 201)
  t.equal((await call(own.json.data.key, 'POST /api/me/revoke')).statusCode, 200)
  t.same(
    writing.filter((route) => !tested.has(route)),
    [],
    'every route is tested',
  )

  async function newKeyByApi() {
    const created = await call(admin.token, 'POST /api/keys', { name: 'own', permissions: ['read:monitors'] })
    return created.json.data as { key: string }
  }
})

await t.test('the panel, the command line and an import write events too', async (t) => {
  const url = await createDatabase(t)
  const replica = await startReplica(t, { url })
  const admin = await newKey(replica, { name: 'boss' })
  await requireEvents(replica.db)
  const actions = async (via: AuditVia) =>
    (
      await replica.db
        .selectFrom('audit_events')
        .select('action')
        .where('via', '=', via)
        .orderBy('id')
        .execute()
    ).map(({ action }) => action)

  const keys = '/manage/settings/api-keys'
  const visitor = await logIn(replica.app, admin.token)
  const fields = { name: 'n', permissions: 'read:monitors', expiry: 'never' }
  t.equal((await visitor.submit(`${keys}/new`, fields)).statusCode, 201)
  const { id = '' } =
    (await replica.db.selectFrom('api_keys').select('id').where('name', '=', 'n').executeTakeFirst()) ?? {}
  t.equal((await visitor.submit(`${keys}/${id}`, { ...fields, name: 'o' })).statusCode, 303)
  t.equal(
    (await visitor.submit(`${keys}/${id}/rotate`, { overlap_seconds: '0', expiry: 'latest' })).statusCode,
    201,
  )
  t.equal((await visitor.submit(`${keys}/${id}/revoke`, {})).statusCode, 303)
  t.match((await visitor.get(`${keys}/${id}`)).body, /Key revoked.*Key rotated.*Key updated.*Key created/s)
  t.match((await visitor.get(`/manage/audit?actor=${admin.id}&action=key.revoked`)).body, /Key revoked/)
  t.match((await visitor.get('/manage/audit?target=none')).body, 'No audit events match these filters')
  t.equal((await visitor.submit('/manage/settings/api-keys', {}, '/manage/logout')).statusCode, 303)
  t.same(await actions('panel'), [
    'panel.logged_in',
    'key.created',
    'key.updated',
    'key.rotated',
    'key.created',
    'key.revoked',
    'panel.logged_out',
  ])

  const env = { DATABASE_URL: url }
  const created = await cli(t, ['keys', 'create', '--name', 'c', '--permissions', 'admin'], env)
  const cliId = created.stdout.slice(6, 22)
  const rotated = await cli(t, ['keys', 'rotate', cliId], env)
  t.equal((await cli(t, ['keys', 'revoke', rotated.stdout.slice(6, 22)], env)).code, 0)
  // newKey is the first of them.
  t.same(await actions('cli'), ['key.created', 'key.created', 'key.rotated', 'key.created', 'key.revoked'])

  const kener = await startFakeKener(t)
  fill(kener)
  await importInProcess(replica.db, kener)
  const imported = await actions('import')
  t.equal(imported.at(-1), 'import.completed')
  for (const action of ['monitor.created', 'incident.created', 'comment.created'] as const)
    t.ok(imported.includes(action), action)
})

await t.test('an event says what was changed, by which key, from where', async (t) => {
  const replica = await startReplica(t)
  const { call } = replica
  const admin = await newKey(replica)
  const { data: key } = (await call(admin.token, 'POST /api/keys', { name: 'ci', permissions: ['admin'] }))
    .json
  const narrowed = { permissions: ['write:monitors'], monitors: ['a-*'], name: 'ci' }
  const reply = await call(admin.token, `PATCH /api/keys/${key.id}`, narrowed)
  await call(admin.token, `PATCH /api/keys/${key.id}`, narrowed)
  const { data } = (await call(admin.token, `GET /api/audit?target=${key.id}`)).json
  t.equal(data.length, 2, 'an update that changes nothing has no event')
  t.match(data[0], {
    actor: { key_id: admin.id, key_name: 'test', via: 'api' },
    action: 'key.updated',
    target: { type: 'key', id: key.id, name: 'ci' },
    address: '127.0.0.1',
    request_id: reply.headers['x-request-id'],
  })
  t.same(data[0].changes, { permissions: [['admin'], ['write:monitors']], monitors: [null, ['a-*']] })
  t.same(data[1].changes, { name: [null, 'ci'], permissions: [null, ['admin']] })

  const { data: incident } = (await call(admin.token, 'POST /api/incidents', { title: 'I' })).json
  const resolved = { comment: `${'x'.repeat(1_999)}😀${'x'.repeat(999)}`, state: 'RESOLVED' }
  await call(admin.token, `POST /api/incidents/${incident.id}/comments`, resolved)
  const events = (await call(admin.token, `GET /api/audit?target=${incident.id}`)).json.data
  t.match(events, [
    { action: 'comment.created' },
    { action: 'incident.updated' },
    { action: 'incident.created' },
  ])
  t.same(events[1].changes.state, ['INVESTIGATING', 'RESOLVED'])
  const shortened = `${'x'.repeat(1_999)}… (3000 characters)`
  t.equal(events[0].changes.comment[1], shortened, 'long texts are shortened between characters')
  t.equal(events[0].target.id, incident.id)
})

await t.test('without its event, a change is not stored', async (t) => {
  const replica = await startReplica(t)
  const { call, db } = replica
  const admin = await newKey(replica)
  const key = await newKey(replica, { name: 'before' })
  await call(admin.token, 'PUT /api/monitors/m', { name: 'before' })
  await sql`alter table audit_events add constraint none check (false) not valid`.execute(db)
  for (const [route, body] of [
    [`PATCH /api/keys/${key.id}`, { name: 'after' }],
    [`POST /api/keys/${key.id}/revoke`, {}],
    [`POST /api/keys/${key.id}/rotate`, {}],
    ['PATCH /api/monitors/m', { name: 'after' }],
    ['DELETE /api/monitors/m', undefined],
    ['POST /api/incidents', { title: 'I' }],
    ['POST /api/maintenances', { title: 'M', ...inAnHour() }],
  ] as const) {
    isErrorReply(t, await call(admin.token, route, body), 500, 'INTERNAL_ERROR', route)
  }
  t.match((await call(admin.token, `GET /api/keys/${key.id}`)).json.data, {
    name: 'before',
    status: 'active',
    rotated_to: null,
  })
  t.equal((await call(admin.token, 'GET /api/monitors/m')).json.data.name, 'before')
  t.same((await call(admin.token, 'GET /api/incidents')).json.data, [])
  t.same((await call(admin.token, 'GET /api/maintenances')).json.data, [])
})

await t.test('an event has the time of the change, also if its transaction waited for a lock', async (t) => {
  const { db } = await startReplica(t)
  const actor = { key: null, via: 'cli', address: null, request_id: null } as const
  await auditedTransaction({ db, actor, auditRetentionDays: 1 }, async ({ trx, record }) => {
    record({ action: 'monitor.deleted', target: { type: 'monitor', id: 'm', name: null } })
    await sql`
      do $$ begin
        while date_trunc('second', clock_timestamp()) <= now() loop perform pg_sleep(0.01); end loop;
      end $$`.execute(trx)
    return sql`create table started as select now() as at`.execute(trx)
  })
  const { rows } = await sql`select from audit_events, started where audit_events.at > started.at`.execute(db)
  t.equal(rows.length, 1)
})

await t.test('events are filtered, in pages or as one stream of lines', async (t) => {
  const replica = await startReplica(t)
  const { app, call } = replica
  const [admin, other] = [await newKey(replica), await newKey(replica)]
  for (let index = 0; index < 30; index++) {
    await call(index % 3 === 0 ? other.token : admin.token, `PUT /api/monitors/m${index % 10}`, {
      name: `n${index}`,
    })
  }
  const read = async (query: string) => (await call(admin.token, `GET /api/audit?${query}`)).json
  const count = async (query: string) => (await read(`limit=100&${query}`)).data.length
  t.equal(await count(''), 32)
  t.equal(await count(`actor=${other.id}`), 10)
  t.equal(await count('action=monitor.created'), 10)
  t.equal(await count(`actor=${admin.id}&action=monitor.updated&target=m0`), 2)
  t.equal(await count(`from=${iso(Date.now() - 60_000)}`), 32)
  t.equal(await count(`from=${iso(Date.now() + 60_000)}`), 0)
  t.equal(await count(`to=${iso(Date.now() - 60_000)}`), 0)

  const ids: number[] = []
  for (let cursor: string | null = ''; cursor !== null;) {
    const page = await read(`limit=7${cursor && `&cursor=${cursor}`}`)
    ids.push(...page.data.map(({ id }: { id: number }) => id))
    cursor = page.pagination.next_cursor
  }
  t.same(
    ids,
    [...new Set(ids)].sort((a, b) => b - a),
    'newest first, each once',
  )
  t.equal(ids.length, 32)

  const headers = { authorization: `Bearer ${admin.token}`, accept: 'application/x-ndjson' }
  const lines = await app.inject({ url: `/api/audit?actor=${admin.id}&limit=1`, headers })
  t.match(lines.headers['content-type'], /^application\/x-ndjson/)
  const events = lines.body
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object)
  t.equal(events.length, 20)
  t.match(events[0], { action: 'monitor.updated', target: { type: 'monitor', id: 'm9' } })
  const none = await app.inject({ url: '/api/audit?actor=none', headers })
  t.match([none.statusCode, none.body], [200, ''])

  for (const query of [
    'action=key.renamed',
    'from=today',
    'cursor=x',
    'unknown=1',
    'from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z',
  ]) {
    isErrorReply(t, await call(admin.token, `GET /api/audit?${query}`), 400, 'INVALID_REQUEST', query)
  }
  const weak = await newKey(replica, { permissions: ['read:monitors'] })
  isErrorReply(t, await call(weak.token, 'GET /api/audit'), 403, 'FORBIDDEN', 'without admin')
})

await t.test('the audit command prints events from the database and over HTTP', async (t) => {
  const url = await createDatabase(t)
  const replica = await startReplica(t, { url })
  const origin = await replica.app.listen({ port: 0, host: '127.0.0.1' })
  const admin = await newKey(replica)
  await replica.call(admin.token, 'PUT /api/monitors/m', { name: 'one\nline' })
  for (const [env, more] of [
    [{ DATABASE_URL: url }, []],
    [{ KENER_API_KEY: admin.token }, ['--url', origin]],
  ] as const) {
    const { stdout, code } = await cli(t, ['audit', '--since', '7d', ...more], env)
    t.equal(code, 0)
    t.match(
      stdout,
      new RegExp(
        `^\\S+Z {2}monitor.created {2}monitor m "one[^"]*" {2}by ${admin.id} "test" via api from 127.0.0.1 {2}name: null -> "one`,
      ),
    )
    t.match(stdout.trim().split('\n').length, 2)
    const json = JSON.parse((await cli(t, ['audit', '--json', ...more], env)).stdout) as object[]
    t.match(json, [
      { action: 'monitor.created' },
      { action: 'key.created', actor: { via: 'cli', key_id: null } },
    ])
    t.match(await cli(t, ['audit', '--json', '--since', '2999-01-01T00:00:00Z', ...more], env), {
      code: 0,
      stdout: '[]\n',
    })
    t.match(await cli(t, ['audit', '--since', 'yesterday', ...more], env), { code: 2 })
  }
})

await t.test(
  'a role with the documented rights serves requests, but cannot change or delete events',
  async (t) => {
    const url = await createDatabase(t)
    const owner = await startReplica(t, { url })
    const role = new URL(url).pathname.slice(1)
    const serving = await createServingRole(t, owner, url, role)
    const replica = await startReplica(t, { url: serving, config: { auditRetentionDays: 1 } })
    const admin = await newKey(replica)
    t.equal((await replica.call(admin.token, 'PUT /api/monitors/m', { name: 'M' })).statusCode, 201)
    t.equal((await replica.call(admin.token, 'POST /api/monitors/m/data', { status: 'UP' })).statusCode, 200)
    t.equal((await replica.call(admin.token, 'GET /api/audit')).json.data.length, 2)
    const visitor = await logIn(replica.app, admin.token)
    t.equal((await visitor.get('/manage')).statusCode, 200)

    const client = new pg.Client({ connectionString: serving })
    await client.connect()
    t.teardown(() => client.end())
    for (const statement of [
      'delete from audit_events',
      "update audit_events set action = 'x'",
      'truncate audit_events',
      'drop table audit_events',
      'alter table audit_events disable trigger all',
    ]) {
      await t.rejects(client.query(statement), { code: '42501' }, statement)
    }
    await sql`update audit_events set retained_until = now() - interval '1 day' where action = 'monitor.created'`.execute(
      owner.db,
    )
    t.equal(await removeExpiredAuditEvents(replica.db), 1, 'only events whose retention has ended')
    t.match(await owner.db.selectFrom('audit_events').select('action').orderBy('id').execute(), [
      { action: 'key.created' },
      { action: 'panel.logged_in' },
    ])
  },
)

/** Creates a role with the rights of docs/operations.md. Returns the URL with which it connects. */
async function createServingRole(t: Test, { db }: Replica, url: string, role: string): Promise<string> {
  const name = sql.id(role)
  await sql`create role ${name} login`.execute(db)
  t.teardown(async () => {
    await sql`drop owned by ${name}`.execute(db)
    await sql`drop role ${name}`.execute(db)
  })
  await sql`grant usage on schema public to ${name}`.execute(db)
  await sql`grant select, insert, update, delete on all tables in schema public to ${name}`.execute(db)
  await sql`revoke update, delete on audit_events from ${name}`.execute(db)
  const serving = new URL(url)
  serving.username = role
  return serving.href
}
