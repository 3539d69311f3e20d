import { createServer } from 'node:http'
import { Writable } from 'node:stream'
import { sql } from 'kysely'
import t from 'tap'
import { connectToKener, parseKenerUrl } from '../src/kener/import/client.ts'
import { createProgress, quote } from '../src/kener/import/progress.ts'
import { OperatorError } from '../src/operator-error.ts'
import { sourceComment, sourceIncident, sourceMonitor, startFakeKener } from './fake-kener.ts'
import { createDatabase, isWaitingForLock, newKey, startReplica, waitUntil } from './helper.ts'
import { command, contentOf, fill, importInProcess, withoutLocalFields } from './kener-import.ts'
import { cli, start } from './process.ts'

await t.test('an import stores monitors, incidents and comments as they are at the source', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  const replica = await startReplica(t)
  const url = await createDatabase(t)
  const local = await startReplica(t, { url })
  const { code, stdout, stderr } = await cli(t, command(kener), {
    DATABASE_URL: url,
    KENER_SOURCE_API_KEY: kener.key,
  })
  t.equal(code, 0)
  t.equal(stdout, '')
  t.match(stderr, /^monitors: 2 new\nincidents: 1 new\ncomments: 2 new\n$/m)
  t.notOk(stderr.includes(kener.key))
  t.ok(kener.requests.every(({ authorization }) => authorization === `Bearer ${kener.key}`))

  const admin = (await newKey(local)).token
  const { json: v4 } = await local.call(admin, 'GET /api/v4/monitors')
  for (const expected of kener.content.monitors) {
    t.match(
      v4.monitors.find(({ tag }: { tag: string }) => tag === expected.tag),
      withoutLocalFields(expected),
      'including fields that are only stored',
    )
  }
  const { json: list } = await local.call(admin, 'GET /api/incidents')
  const { json } = await local.call(admin, `GET /api/incidents/${list.data[0].id}`)
  t.match(json.data, {
    title: 'Incident 7',
    state: 'RESOLVED',
    started_at: '2026-01-01T00:00:00Z',
    ended_at: '2026-01-01T01:00:00Z',
    monitors: [{ monitor_tag: 'earth', impact: 'DOWN' }],
    comments: [
      { comment: 'It is over', state: 'RESOLVED', timestamp: '2026-01-01T01:00:00Z' },
      { comment: 'We look into it', state: 'INVESTIGATING', timestamp: '2026-01-01T00:01:00Z' },
    ],
  })
  t.match(await contentOf(local.db), { affected: [{ impact: 'DOWN' }, { tag: 'moon', impact: 'UP' }] })
  t.same((await contentOf(replica.db)).monitors, [], 'other databases are not changed')
})

await t.test(
  'a second import does not write items that have not changed at the source, and keeps local edits',
  async (t) => {
    const kener = await startFakeKener(t)
    fill(kener)
    const { db } = await startReplica(t)
    await importInProcess(db, kener)
    await db.updateTable('monitors').set({ name: 'Mine' }).where('tag', '=', 'earth').execute()
    await db.updateTable('incidents').set({ title: 'Mine' }).execute()
    await db.updateTable('incident_comments').set({ comment: 'Mine' }).execute()
    const before = await contentOf(db)
    const { isComplete, output } = await importInProcess(db, kener)
    t.ok(isComplete)
    t.match(output, 'monitors: 2 unchanged\nincidents: 1 unchanged\ncomments: 2 unchanged\n')
    t.same(await contentOf(db), before)
  },
)

await t.test('items that have changed at the source are updated, each by its own updated_at', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  const { db } = await startReplica(t)
  await importInProcess(db, kener)
  const { monitors, incidents, comments } = kener.content
  const later = '2026-01-28 09:00:00'

  await t.test('a monitor, except the fields that Kener does not have', async (t) => {
    await db.updateTable('monitors').set({ stale_after_seconds: 180 }).execute()
    Object.assign(monitors[0] ?? {}, { name: 'Terra', cron: null, updated_at: later })
    Object.assign(monitors[1] ?? {}, { name: 'Luna' })
    t.match((await importInProcess(db, kener)).output, /monitors: 1 changed, 1 unchanged/)
    t.match((await contentOf(db)).monitors, [
      { tag: 'earth', name: 'Terra', stale_after_seconds: 180, fields: { cron: null, image: '/earth.png' } },
      { tag: 'moon', name: 'Monitor 2' },
    ])
  })

  await t.test('an edited comment, although its incident has not changed', async (t) => {
    Object.assign(comments.get(7)?.[0] ?? {}, { comment: 'Really over', updated_at: later })
    t.match(
      (await importInProcess(db, kener)).output,
      /incidents: 1 unchanged\ncomments: 1 changed, 1 unchanged/,
    )
    t.match((await contentOf(db)).comments, [{ comment: 'We look into it' }, { comment: 'Really over' }])
  })

  await t.test('an incident with a new comment, whose state does not change the incident', async (t) => {
    comments
      .get(7)
      ?.push(sourceComment(13, 7, { comment: 'Not over', state: 'IDENTIFIED', timestamp: 1_767_229_260 }))
    Object.assign(incidents[0] ?? {}, {
      title: 'Again',
      state: 'MONITORING',
      end_date_time: null,
      updated_at: later,
      monitors: [{ monitor_tag: 'moon', impact: 'DEGRADED' }],
    })
    t.match((await importInProcess(db, kener)).output, /incidents: 1 changed\ncomments: 1 new, 2 unchanged/)
    const { incidents: stored, affected, comments: timeline } = await contentOf(db)
    t.match(stored, [{ title: 'Again', state: 'MONITORING', ended_at: null }])
    t.same(affected, [{ title: 'Again', tag: 'moon', impact: 'DEGRADED' }])
    t.match(timeline[2], { comment: 'Not over', state: 'IDENTIFIED' })
  })

  await t.test('an item without updated_at, by its content', async (t) => {
    Object.assign(monitors[1] ?? {}, { updated_at: null })
    t.match((await importInProcess(db, kener)).output, /monitors: 1 changed, 1 unchanged/)
    t.match((await importInProcess(db, kener)).output, /monitors: 2 unchanged/)
    Object.assign(monitors[1] ?? {}, { name: 'Selene' })
    t.match((await importInProcess(db, kener)).output, /monitors: 1 changed, 1 unchanged/)
  })

  await t.test('items that were deleted at the source are kept', async (t) => {
    comments.get(7)?.splice(0, 1)
    monitors.splice(0, 1)
    const { output, isComplete } = await importInProcess(db, kener)
    t.match(
      output,
      /monitors: 1 unchanged, 1 deleted at the source\n.*\ncomments: 2 unchanged, 1 deleted at the source/,
    )
    t.ok(isComplete)
    t.match(await contentOf(db), { monitors: { length: 2 }, comments: { length: 3 } })
  })
})

await t.test('items that were deleted locally are not imported again', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  const { content } = kener
  content.incidents.push(sourceIncident(8))
  content.comments.set(8, [sourceComment(21, 8)])
  const { db } = await startReplica(t)
  await importInProcess(db, kener)
  await db.deleteFrom('monitors').where('tag', '=', 'earth').execute()
  await db.deleteFrom('incidents').where('title', '=', 'Incident 8').execute()
  await db.deleteFrom('incident_comments').where('comment', '=', 'It is over').execute()
  const before = await contentOf(db)
  // A change at the source makes no difference.
  const all = [...content.monitors, ...content.incidents, ...[...content.comments.values()].flat()]
  for (const each of all) each.updated_at = '2026-01-28T00:00:00.000Z'
  kener.requests.length = 0
  const { isComplete, output } = await importInProcess(db, kener)
  t.ok(isComplete)
  t.match(
    output,
    /monitors: 1 changed, 1 deleted locally\nincidents: 1 changed, 1 deleted locally\ncomments: 1 changed, 1 deleted locally\n/,
  )
  t.match(output, /incident 7 "Incident 7": monitor "earth" does not exist locally and is left out/)
  t.same(await contentOf(db), before)
  t.notOk(
    kener.requests.some(({ path }) => path.includes('/8/')),
    'comments of a deleted incident are not requested',
  )
})

await t.test(
  'a local monitor with the same tag is not changed, and incidents of the source affect it',
  async (t) => {
    const kener = await startFakeKener(t)
    fill(kener)
    const url = await createDatabase(t)
    const { call, db } = await startReplica(t, { url })
    const admin = (await newKey({ db })).token
    await call(admin, 'POST /api/monitors', { tag: 'earth', name: 'Mine' })
    const { code, stderr } = await cli(t, command(kener), {
      DATABASE_URL: url,
      KENER_SOURCE_API_KEY: kener.key,
    })
    t.equal(code, 0)
    t.match(
      stderr,
      /^monitor 1 "earth": a monitor with this tag already exists locally and is not changed\n/m,
    )
    t.match(stderr, /^monitors: 1 new, 1 already present\n/m)
    const { monitors, affected } = await contentOf(db)
    t.match(monitors[0], { tag: 'earth', name: 'Mine', fields: null })
    t.match(affected, [{ tag: 'earth', impact: 'DOWN' }, { tag: 'moon' }])
  },
)

await t.test(
  'an item and the record of its import are stored together, even if the import is killed',
  async (t) => {
    const kener = await startFakeKener(t)
    fill(kener)
    const url = await createDatabase(t)
    const { db } = await startReplica(t, { url })
    const env = { DATABASE_URL: url, KENER_SOURCE_API_KEY: kener.key }
    await cli(t, command(kener), env)
    for (const table of ['monitors', 'incidents'] as const) await db.deleteFrom(table).execute()
    await db.deleteFrom('kener_imports').execute()
    const killed = await db.transaction().execute(async (trx) => {
      // Starting the process takes longer than the timeout.
      await sql`set local idle_in_transaction_session_timeout = 0`.execute(trx)
      await sql`lock table kener_imports in share mode`.execute(trx)
      const running = start(t, 'cli', command(kener), env)
      await waitUntil(() => isWaitingForLock(db))
      running.child.kill('SIGKILL')
      return running.ended
    })
    t.equal(killed.signal, 'SIGKILL')
    t.match(await contentOf(db), { monitors: [], incidents: [] })
    t.match((await importInProcess(db, kener)).output, 'monitors: 2 new\nincidents: 1 new\ncomments: 2 new\n')
  },
)

await t.test('two imports at the same time import each item once', async (t) => {
  const kener = await startFakeKener(t)
  for (let id = 1; id <= 40; id++) {
    kener.content.monitors.push(sourceMonitor(id, `monitor-${id}`))
    kener.content.incidents.push(sourceIncident(id))
    kener.content.comments.set(id, [sourceComment(id, id)])
  }
  const { db } = await startReplica(t)
  const both = await Promise.allSettled([importInProcess(db, kener), importInProcess(db, kener)])
  for (const outcome of both) {
    if (outcome.status === 'rejected')
      t.match(outcome.reason, { message: /^Another import from .* is running/ })
  }
  t.match(
    (await importInProcess(db, kener)).output,
    'monitors: 40 unchanged\nincidents: 40 unchanged\ncomments: 40 unchanged\n',
  )
  t.match(await contentOf(db), {
    monitors: { length: 40 },
    incidents: { length: 40 },
    comments: { length: 40 },
  })
})

await t.test('incidents beyond the 1000 that Kener lists are imported', async (t) => {
  const kener = await startFakeKener(t)
  const client = connectToKener(kener.url, kener.key)
  const list = async (starts: number[]) => {
    kener.content.incidents = starts.map((start, index) =>
      sourceIncident(index + 1, { start_date_time: start }),
    )
    kener.requests.length = 0
    const { incidents, truncatedAt } = await client.incidents()
    return { ids: incidents.map(({ id }) => id), truncatedAt, requests: kener.requests.length }
  }
  const every = (count: number, start: (index: number) => number) =>
    Array.from({ length: count }, (_, i) => start(i))
  const minute = 1_767_225_600
  const shapes: [name: string, starts: number[]][] = [
    ['none', []],
    ['999', every(999, (i) => minute + i * 60)],
    ['1000', every(1000, (i) => minute + i * 60)],
    ['one a minute', every(3500, (i) => minute + i * 60)],
    ['stored in the order of neither', every(3500, (i) => minute + ((i * 7919) % 3500) * 60)],
    ['newest first', every(3500, (i) => minute - i * 60)],
    ['999 in each of four minutes', every(3996, (i) => minute + (i % 4) * 60)],
    ['one years after the others', every(1500, (i) => (i === 0 ? 4_000_000_000 : minute + i))],
    ['in milliseconds, or at the beginning of time', every(1500, (i) => (i < 700 ? 0 : minute * 1000 + i))],
  ]
  for (const [name, starts] of shapes) {
    const { ids, truncatedAt, requests } = await list(starts)
    t.same(
      ids,
      every(starts.length, (i) => i + 1),
      name,
    )
    t.same(truncatedAt, [], name)
    t.ok(requests <= 70, `${name}: ${requests} requests`)
  }

  for (const shared of [minute, 1, 0]) {
    const { ids, truncatedAt } = await list([
      ...every(700, (i) => minute + 60 + i),
      ...every(1400, () => shared),
    ])
    t.same(
      ids,
      every(1700, (i) => (i < 700 ? i : i + 400) + 1),
      'only the newest of those with the same start',
    )
    t.same(truncatedAt, [Math.max(shared, 1)])
  }
  kener.content.incidents = every(2000, (i) => i).map((i) => sourceIncident(i + 1))
  kener.hooks.intercept = (_request, response) => {
    response.end(JSON.stringify({ incidents: kener.content.incidents.slice(0, 1000) }))
    return true
  }
  await t.rejects(client.incidents(), { message: /ignores start_ts and end_ts/ })
})

await t.test('more than 1000 incidents with the same start are reported, and have exit code 1', async (t) => {
  const kener = await startFakeKener(t)
  for (let id = 1; id <= 1001; id++)
    kener.content.incidents.push(sourceIncident(id, { start_date_time: 1_767_225_600 }))
  const { db } = await startReplica(t)
  const { isComplete, output } = await importInProcess(db, kener, { dryRun: true })
  t.notOk(isComplete)
  t.match(
    output,
    /incidents that start at 2026-01-01T00:00:00Z: only the newest 1000 are imported and the others are skipped/,
  )
  t.match(output, /^incidents: 1000 new, 1 skipped$/m)
})

await t.test('invalid data is converted to the nearest valid value, and reported', async (t) => {
  const kener = await startFakeKener(t)
  const { content } = kener
  content.monitors = [
    sourceMonitor(1, 'My Site.com', { name: ' ', updated_at: '2026-01-27 16:07:19' }),
    sourceMonitor(2, 'nulls', {
      ...{ description: null, cron: null, default_status: null, status: null, category_name: null },
      ...{ type_data: null, monitor_settings_json: null, confirmation_threshold: null, is_hidden: null },
      ...{ include_degraded_in_downtime: null, monitor_type: null, created_at: null, updated_at: null },
    }),
    sourceMonitor(3, 'wrong', {
      ...{
        default_status: 'NONE',
        external_url: 'example.com',
        category_name: '',
        monitor_type: 'TELEPATHY',
      },
      ...{
        description: 'd'.repeat(10_001),
        name: '\u{1f30d}'.repeat(300),
        confirmation_threshold: 0,
        extra: { a: 1 },
      },
    }),
    sourceMonitor(4, '...', { name: 'bell\u0000\u001b[31m\ud800' }),
    sourceMonitor(5, 'my-site-com'),
    sourceMonitor(6, 'MY SITE COM'),
  ]
  const monitors = [
    { monitor_tag: 'My Site.com', impact: 'DOWN' },
    { monitor_tag: 'nulls', impact: null },
    { monitor_tag: 'wrong', impact: 'NONE' },
    { monitor_tag: 'gone', impact: 'DOWN' },
    { monitor_tag: 'my-site-com', impact: 'SEVERE' },
    'nonsense',
  ]
  content.incidents = [
    sourceIncident(1, { title: 't'.repeat(256), state: 'OPEN', monitors }),
    sourceIncident(2, { title: '', end_date_time: 1, monitors: null, state: null }),
    sourceIncident(3, { start_date_time: 1_767_225_600_000 }),
    sourceIncident(4, {
      end_date_time: 1e15,
      monitors: [
        { monitor_tag: 'nulls', impact: 'DEGRADED' },
        { monitor_tag: 'nulls', impact: 'DOWN' },
      ],
    }),
    sourceIncident(5, { state: 'RESOLVED', end_date_time: 0, start_date_time: 1_767_225_661 }),
  ]
  content.comments = new Map([
    [
      1,
      [
        sourceComment(1, 1, { comment: 'c'.repeat(10_001), state: 'CLOSED' }),
        sourceComment(2, 1, { comment: null }),
      ],
    ],
    [2, [sourceComment(3, 2, { timestamp: null })]],
    [3, [sourceComment(4, 3)]],
  ])
  const url = await createDatabase(t)
  const local = await startReplica(t, { url })
  const env = { DATABASE_URL: url, KENER_SOURCE_API_KEY: kener.key }
  const { code, stderr } = await cli(t, command(kener), env)
  t.equal(code, 1)
  const warnings = [
    `monitor 1 "My Site.com": skipped: its tag would become "my-site-com", which another monitor has. Change one of the two tags.`,
    `monitor 3 "wrong": name of 300 characters is truncated to 255`,
    `monitor 3 "wrong": description of 10001 characters is truncated to 10000`,
    `monitor 3 "wrong": default_status "NONE" is not valid and becomes "NO_DATA"`,
    `monitor 3 "wrong": external_url "example.com" is not valid and becomes null`,
    `monitor 3 "wrong": monitor_type "TELEPATHY" is not valid and becomes null`,
    `monitor 3 "wrong": confirmation_threshold 0 is not valid and becomes null`,
    `monitor 4 "...": tag becomes "monitor-4"`,
    `monitor 4 "...": characters that cannot be stored become \ufffd`,
    `monitor 6 "MY SITE COM": skipped: its tag would become "my-site-com", which another monitor has. Change one of the two tags.`,
    `incident 1 "${'t'.repeat(79)}…": title of 256 characters is truncated to 255`,
    `incident 1 "${'t'.repeat(79)}…": state "OPEN" is not valid and becomes INVESTIGATING`,
    `incident 1 "${'t'.repeat(79)}…": monitor "My Site.com" does not exist locally and is left out`,
    `incident 1 "${'t'.repeat(79)}…": monitor "gone" does not exist locally and is left out`,
    `incident 1 "${'t'.repeat(79)}…": impact "NONE" on "wrong" is not valid and becomes UP`,
    `incident 1 "${'t'.repeat(79)}…": impact "SEVERE" on "my-site-com" is not valid and becomes DOWN`,
    `incident 1 "${'t'.repeat(79)}…": monitors entry "nonsense" has no monitor_tag and is left out`,
    `incident 1 "${'t'.repeat(79)}…": comment 1: text of 10001 characters is truncated to 10000`,
    `incident 1 "${'t'.repeat(79)}…": comment 1: state "CLOSED" is not valid and becomes INVESTIGATING`,
    `incident 1 "${'t'.repeat(79)}…": comment 2: text is empty and becomes "(no text)"`,
    `incident 2 "": title is empty and becomes "Incident 2"`,
    `incident 2 "": state null is not valid and becomes INVESTIGATING`,
    `incident 2 "": end 1970-01-01T00:00:01Z is before the start and becomes the start`,
    `incident 2 "": comment 3 skipped: timestamp null is not a time in seconds since 1970`,
    `incident 3 "Incident 3": skipped with 1 comments: start_date_time 1767225600000 is not a time in seconds since 1970`,
    `incident 4 "Incident 4": end 1000000000000000 is not a time in seconds since 1970 and is left out`,
    `incident 4 "Incident 4": monitor "nulls" is listed twice: the more severe impact is used`,
  ]
  const summary = ['monitors: 4 new, 2 skipped', 'incidents: 4 new, 1 skipped', 'comments: 2 new, 2 skipped']
  const lines = stderr
    .trimEnd()
    .split('\n')
    .filter((line) => !line.startsWith('Reading '))
  t.same(
    lines.filter((line) => !/^(monitors|incidents): 0 of/.test(line)).sort(),
    [...warnings, ...summary].sort(),
  )

  const admin = (await newKey(local)).token
  t.equal((await local.call(admin, 'GET /api/v4/monitors')).statusCode, 200)
  const { json } = await local.call(admin, 'GET /api/monitors')
  t.match(json.data, [
    { tag: 'monitor-4', name: 'bell\ufffd\u001b[31m\ufffd' },
    { tag: 'my-site-com', name: 'Monitor 5' },
    { tag: 'nulls', default_status: 'NO_DATA', enabled: true, hidden: false, category_name: null },
    { tag: 'wrong', name: '\u{1f30d}'.repeat(255), default_status: 'NO_DATA', external_url: null },
  ])
  const { incidents, affected } = await contentOf(local.db)
  t.match(incidents, [
    { title: 'Incident 2', ended_at: new Date((1_767_225_600 + 2 * 3600) * 1000) },
    { title: 'Incident 4', ended_at: null },
    { title: 'Incident 5', state: 'RESOLVED', ended_at: null, started_at: new Date(1_767_225_661_000) },
    { title: 't'.repeat(255) },
  ])
  t.match(affected, [
    { title: 'Incident 4', tag: 'nulls', impact: 'DOWN' },
    { tag: 'my-site-com', impact: 'DOWN' },
    { tag: 'nulls', impact: 'DOWN' },
    { tag: 'wrong', impact: 'UP' },
  ])

  const again = await cli(t, command(kener), env)
  t.equal(again.code, 1, 'skipped items are reported by each import')
  t.equal(again.stderr.match(/ skipped(:| with)/g)?.length, 4)
  t.match(again.stderr, /^incidents: 4 unchanged, 1 skipped$/m)
})

await t.test('a dry run reports what an import would do, and writes nothing', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  const url = await createDatabase(t)
  const { db } = await startReplica(t, { url })
  const env = { DATABASE_URL: url, KENER_SOURCE_API_KEY: kener.key }
  const dry = await cli(t, command(kener, '--dry-run'), env)
  t.equal(dry.code, 0)
  t.match(dry.stderr, /^monitor 1 "earth": new\nmonitor 2 "moon": new\n/m)
  t.match(dry.stderr, /^incident 7 "Incident 7": new\nincident 7 "Incident 7": comments: 2 new\n/m)
  t.match(dry.stderr, /^monitors: 2 new\nincidents: 1 new\ncomments: 2 new\nDry run: nothing was written\n$/m)
  t.same(await contentOf(db), { monitors: [], incidents: [], affected: [], comments: [] })
  t.same(await db.selectFrom('kener_imports').selectAll().execute(), [])

  await cli(t, command(kener), env)
  const before = [await contentOf(db), await db.selectFrom('kener_imports').selectAll().execute()]
  const all = [
    ...kener.content.monitors,
    ...kener.content.incidents,
    ...(kener.content.comments.get(7) ?? []),
  ]
  for (const each of all) Object.assign(each, { name: 'n', title: 't', comment: 'c', updated_at: 'later' })
  t.match(
    (await cli(t, command(kener, '--dry-run'), env)).stderr,
    /^monitors: 2 changed\nincidents: 1 changed\ncomments: 2 changed\n/m,
  )
  t.same([await contentOf(db), await db.selectFrom('kener_imports').selectAll().execute()], before)
})

await t.test('an error of the source is reported in one line, without the key', async (t) => {
  const { db } = await startReplica(t)
  const kener = await startFakeKener(t, { base: '/status' })
  const answer = (status: number, body: string, headers = {}) => {
    kener.hooks.intercept = (_request, response) => {
      response.writeHead(status, headers).end(body)
      return true
    }
  }
  const failsWith = async (message: RegExp, url = kener.url, key = kener.key) => {
    const error = await importInProcess(db, { url, key }).then(
      () => undefined,
      (error: unknown) => error,
    )
    t.type(error, OperatorError)
    t.match(error, { message })
    t.notOk(String(error).includes(kener.key))
  }
  await failsWith(
    /^http\S+\/status rejected the API key \(401\): set KENER_SOURCE_API_KEY \(or KENER_API_KEY, [^\n]*$/,
    kener.url,
    'another',
  )
  await failsWith(
    /^http\S+\/elsewhere has no Kener 4 API: check --url$/,
    kener.url.replace('/status', '/elsewhere'),
  )
  answer(200, `<html>${kener.key}</html>`)
  await failsWith(/^http\S+ did not respond with JSON: is it a Kener 4\?$/)
  answer(200, '{"monitors":[{"id":"1","tag":"a"}]}')
  await failsWith(/^http\S+ did not respond like a Kener 4: \/monitors\/0\/id must be a whole number$/)
  answer(200, '[]')
  await failsWith(/^http\S+ did not respond like a Kener 4: the response must be an object$/)
  answer(418, kener.key)
  await failsWith(/^http\S+ responded with 418: is it a Kener 4\?$/)
  answer(200, ' '.repeat(65 * 1024 * 1024))
  await failsWith(/^http\S+ responded with more than 64 MiB: is it a Kener 4\?$/)
  answer(500, kener.key)
  await failsWith(
    /^http\S+ responded with 500, 5 times in a row\. Run the import again later: it continues where it stopped\.$/,
  )
  kener.hooks.intercept = ({ socket }) => Boolean(socket.destroy())
  await failsWith(/^http\S+ cannot be reached \(UND_ERR_SOCKET\), 5 times in a row/)
  kener.hooks.intercept = (_request, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{', () => response.destroy())
    return true
  }
  await failsWith(/^http\S+ cannot be reached \(\w+\), 5 times in a row/)
  t.same((await contentOf(db)).monitors, [])
})

await t.test(
  'redirects are followed within the same server, and the key is not sent to another one',
  async (t) => {
    const kener = await startFakeKener(t)
    fill(kener)
    const { db } = await startReplica(t)
    const received: unknown[] = []
    const other = createServer(({ headers }, response) => {
      received.push(headers)
      response.end('{"monitors":[]}')
    })
    other.listen(0, '127.0.0.1')
    t.teardown(() => other.close())
    await waitUntil(() => other.listening)
    const { port } = other.address() as { port: number }
    const redirect = (toLocation: (path: string) => string | undefined) => {
      kener.hooks.intercept = ({ url = '' }, response) => {
        const location = toLocation(url)
        if (location !== undefined) response.writeHead(308, { location }).end()
        return location !== undefined
      }
    }
    redirect((path) => `http://127.0.0.1:${port}${path}`)
    await t.rejects(importInProcess(db, kener), {
      message: `${kener.url} redirects to another server, "http://127.0.0.1:${port}", and the API key is not sent there. If that server is the Kener, pass its address as --url.`,
    })
    t.same(received, [])
    redirect((path) => (path.endsWith('?moved') ? undefined : '?moved'))
    t.match((await importInProcess(db, kener)).output, /monitors: 2 new/)
    redirect((path) => path)
    await t.rejects(importInProcess(db, kener), { message: /redirects more than 5 times/ })
  },
)

await t.test('retries wait as long as Retry-After says, or longer each time without it', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  const waits: number[] = []
  const wait = (ms: number) => Promise.resolve(waits.push(ms))
  const shown: string[] = []
  const options = { wait, onRetry: (reason: string) => shown.push(reason) }
  const client = connectToKener(kener.url, kener.key, options)
  const fail = (times: number, status: number, headers = {}) => {
    let left = times
    kener.hooks.intercept = (_request, response) => {
      if (left-- > 0) response.writeHead(status, headers).end()
      return left >= 0
    }
  }
  const assertWaits = async (expected: number[]) => {
    waits.length = 0
    t.equal((await client.monitors()).length, 2)
    t.same(waits, expected)
  }
  fail(2, 429, { 'retry-after': '7' })
  await assertWaits([7_000, 7_000])
  fail(1, 429, { 'retry-after': '86400' })
  await assertWaits([60_000])
  fail(1, 503, { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() })
  await assertWaits([60_000])
  fail(1, 503, { 'retry-after': 'Thu, 01 Jan 1970 00:00:00 GMT' })
  await assertWaits([1_000])
  fail(4, 502, { 'retry-after': 'soon' })
  await assertWaits([1_000, 2_000, 4_000, 8_000])
  t.equal(shown.at(-1), `${kener.url} responded with 502`)
  let left = 1
  kener.hooks.intercept = () => left-- > 0
  const impatient = connectToKener(kener.url, kener.key, { ...options, timeoutMs: 500 })
  t.equal((await impatient.monitors()).length, 2)
  t.equal(shown.at(-1), `${kener.url} did not respond in time`)
})

await t.test('the command waits for Retry-After of a 429 and continues', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  let rejections = 1
  kener.hooks.intercept = (_request, response) => {
    if (rejections-- > 0) response.writeHead(429, { 'retry-after': '1' }).end()
    return rejections >= 0
  }
  const env = { DATABASE_URL: await createDatabase(t), KENER_SOURCE_API_KEY: kener.key }
  const { code, stderr } = await cli(t, command(kener), env)
  t.equal(code, 0)
  t.match(stderr, `${kener.url} responded with 429: retrying in 1 s\nmonitors: 2 new\n`)
})

await t.test('an incident that is deleted at the source during the import is not imported', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  kener.hooks.intercept = ({ url }, response) => {
    if (url?.endsWith('/comments')) response.writeHead(404).end()
    return response.writableEnded
  }
  const { db } = await startReplica(t)
  const { isComplete, output } = await importInProcess(db, kener)
  t.ok(isComplete)
  t.match(output, /monitors: 2 new\nincidents: 1 deleted at the source\ncomments: none\n/)
})

await t.test(
  'a usage error has exit code 2, and an invalid key is reported without printing it',
  async (t) => {
    const env = { DATABASE_URL: 'postgres://127.0.0.1:1/x' }
    const wrong: [args: string[], message: RegExp][] = [
      [['import'], /import kener/],
      [['import', 'other'], /Unknown command import other/],
      [['import', 'kener'], /--url/],
      [['import', 'kener', '--url', 'nonsense'], /--url must be an http or https URL/],
      [['import', 'kener', '--url', 'ftp://status.example.com'], /--url must be an http or https URL/],
      [
        ['import', 'kener', '--url', 'https://name:word@status.example.com'],
        /--url must be an http or https URL/,
      ],
      [['import', 'kener', '--url', 'https://status.example.com', '--key', 'k'], /--key/],
      [['import', 'kener', '--url', 'https://status.example.com', 'extra'], /extra/],
    ]
    for (const [args, message] of wrong) {
      const { code, stderr } = await cli(t, args, env)
      t.equal(code, 2, args.join(' '))
      t.match(stderr.split('\n')[0], message)
      t.match(stderr, /Usage:/)
    }
    const database = { DATABASE_URL: await createDatabase(t) }
    for (const key of ['', 'two words', 'ends with a line\n', 'schlüssel']) {
      const { code, stderr } = await cli(t, command({ url: 'http://127.0.0.1:1' }), {
        ...database,
        KENER_SOURCE_API_KEY: key,
      })
      t.equal(code, 1)
      t.match(
        stderr,
        /^kener-api: KENER_SOURCE_API_KEY must be set to an API key of the Kener [^\n]*\(or KENER_API_KEY, [^\n]*\n$/,
      )
    }
  },
)

await t.test('a key of this service is not sent to the source', async (t) => {
  const kener = await startFakeKener(t)
  const replica = await startReplica(t, { url: await createDatabase(t) })
  const { token } = await newKey(replica)
  for (const variable of ['KENER_SOURCE_API_KEY', 'KENER_API_KEY']) {
    const { code, stderr } = await cli(t, command(kener), {
      DATABASE_URL: replica.app.config.databaseUrl ?? '',
      [variable]: token,
    })
    t.equal(code, 1)
    t.match(
      stderr,
      new RegExp(
        `^kener-api: ${variable} contains a key of this service: set KENER_SOURCE_API_KEY [^\\n]*\\n$`,
      ),
    )
    t.notOk(stderr.includes(token))
  }
  t.same(kener.requests, [], 'the source receives no request')
})

await t.test('KENER_SOURCE_API_KEY takes precedence over KENER_API_KEY, which is the fallback', async (t) => {
  const kener = await startFakeKener(t)
  const replica = await startReplica(t, { url: await createDatabase(t) })
  const env = { DATABASE_URL: replica.app.config.databaseUrl ?? '' }
  const ownKey = (await newKey(replica)).token
  for (const keys of [
    { KENER_SOURCE_API_KEY: kener.key, KENER_API_KEY: ownKey },
    { KENER_API_KEY: kener.key },
    { KENER_SOURCE_API_KEY: '', KENER_API_KEY: kener.key },
  ]) {
    t.equal((await cli(t, command(kener), { ...env, ...keys })).code, 0, Object.keys(keys).join())
  }
  t.ok(kener.requests.every(({ authorization }) => authorization === `Bearer ${kener.key}`))
})

await t.test('the URL of a source is normalized: trailing slashes and /api/v4 make no difference', (t) => {
  for (const text of ['https://Example.com', 'https://example.com/', 'https://example.com:443/api/v4/']) {
    t.equal(parseKenerUrl(text), 'https://example.com')
  }
  t.equal(parseKenerUrl('https://example.com/status//'), 'https://example.com/status')
  t.equal(parseKenerUrl('https://example.com/?a=1'), undefined)
  t.end()
})

await t.test('an import from another kener-api makes both the same', async (t) => {
  const source = await startReplica(t)
  const admin = (await newKey(source)).token
  for (const tag of ['a', 'b']) {
    const body = {
      tag,
      name: tag,
      image: '/x.png',
      monitor_type: 'TCP',
      type_data: { hosts: ['h'] },
      is_hidden: 'YES',
    }
    await source.call(admin, 'POST /api/v4/monitors', body)
  }
  for (let day = 1; day <= 9; day++) {
    const { json } = await source.call(admin, 'POST /api/v4/incidents', {
      title: `Day ${day}`,
      start_date_time: day * 86_400,
      monitors: [
        { monitor_tag: 'a', impact: 'DOWN' },
        { monitor_tag: 'b', impact: 'UP' },
      ],
    })
    for (const [minute, state] of ['IDENTIFIED', 'RESOLVED'].entries()) {
      const comment = { comment: state, state, timestamp: day * 86_400 + minute * 60 }
      await source.call(admin, `POST /api/v4/incidents/${json.incident.id}/comments`, comment)
    }
  }
  const url = await source.app.listen({ port: 0, host: '127.0.0.1' })
  const database = await createDatabase(t)
  const local = await startReplica(t, { url: database })
  const env = { DATABASE_URL: database, KENER_SOURCE_API_KEY: admin }
  const first = await cli(t, command({ url }), env)
  t.match(first.stderr, /monitors: 2 new\nincidents: 9 new\ncomments: 18 new\n/)
  const [localContent, sourceContent] = [await contentOf(local.db), await contentOf(source.db)]
  t.same({ ...localContent, monitors: [] }, { ...sourceContent, monitors: [] })
  const monitorsOf = async ({ call }: typeof local, key: string) => {
    const { json } = await call(key, 'GET /api/v4/monitors')
    return json.monitors.map((monitor: object) => ({ ...monitor, created_at: '', updated_at: '' }))
  }
  t.same(await monitorsOf(local, (await newKey(local)).token), await monitorsOf(source, admin))
  t.match(
    (await cli(t, command({ url }), env)).stderr,
    /monitors: 2 unchanged\nincidents: 9 unchanged\ncomments: 18 unchanged\n/,
  )
})

await t.test('progress is one line on a terminal, and few lines elsewhere', (t) => {
  const write = (isTTY: boolean) => {
    let text = ''
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        text += chunk.toString()
        done()
      },
    })
    const progress = createProgress(Object.assign(stream, { isTTY, columns: 20 }))
    for (let index = 0; index < 1000; index++) progress.update(`incidents: ${index} of a thousand`)
    progress.print('done')
    progress.clear()
    return text
  }
  t.equal(write(false), 'incidents: 0 of a thousand\ndone\n')
  t.match(write(true), /^(\r\u001b\[K[^\r\n]{1,19})+\r\u001b\[Kdone\n\r\u001b\[K$/)
  t.end()
})

await t.test('untrusted text cannot send control sequences to the terminal', (t) => {
  t.equal(quote('a\u001b[31m\r\n"'), '"a\\u001b[31m\\r\\n\\""')
  t.equal(quote('\u009b31m\u007f\u202e\u2066'), '"\\u009b31m\\u007f\\u202e\\u2066"')
  t.equal(quote('x'.repeat(81)), `"${'x'.repeat(79)}…"`)
  t.equal(quote(undefined), 'null')
  t.end()
})
