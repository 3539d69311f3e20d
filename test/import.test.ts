import { Writable } from 'node:stream'
import { sql } from 'kysely'
import t from 'tap'
import { createProgress } from '../src/kener/import/progress.ts'
import { quote } from '../src/terminal.ts'
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

await t.test('a monitor that was hidden locally stays hidden, and the import says so', async (t) => {
  const kener = await startFakeKener(t)
  const { content } = kener
  content.monitors = [sourceMonitor(1, 'secret'), sourceMonitor(2, 'web')]
  const replica = await startReplica(t)
  await importInProcess(replica.db, kener)
  await replica.db.updateTable('monitors').set({ hidden: true }).where('tag', '=', 'secret').execute()
  for (const each of content.monitors) Object.assign(each, { name: 'Changed', updated_at: '2026-01-28' })
  const { output } = await importInProcess(replica.db, kener)
  t.match(output, 'monitor 1 "secret": stays hidden, as it is locally\n')
  t.notMatch(output, /monitor 2/)
  const { monitors } = (await replica.call(null, 'GET /api/status')).json.data
  t.match(monitors, [{ tag: 'web', name: 'Changed' }])
  t.equal(monitors.length, 1)
})

await t.test('secrets that the source masks are not imported, and do not replace stored ones', async (t) => {
  const kener = await startFakeKener(t)
  const { content } = kener
  const headers = (value: string) => [{ key: 'Authorization', value }]
  const program = "/*** a comment\n *** */ return [...bodies].filter('*.*')"
  const clear = {
    ...{ url: 'https://e.test', headers: headers('Bearer 1234567890'), secretString: 'a-secret', timeout: 5 },
    ...{ connectionString: 'postgres://u:p@db/db', eval: '/*** a comment ***/ return 1', body: program },
  }
  const masked = {
    ...clear,
    ...{ headers: headers('Bearer ******7890'), secretString: '[REDACTED]', timeout: 6 },
    connectionString: 'postgres://u:•••••@db/db',
  }
  content.monitors = [
    sourceMonitor(1, 'known', { type_data: clear }),
    sourceMonitor(2, 'new', { type_data: masked, monitor_type: 'HEARTBEAT' }),
  ]
  const { db } = await startReplica(t)
  const { output, isComplete } = await importInProcess(db, kener)
  t.ok(isComplete)
  t.match(
    output,
    /^monitor 2 "new": type_data "headers" is masked at the source, and is not imported$/m,
    'it is reported',
  )
  t.match(
    output,
    /^monitor 2 "new": its heartbeat URL is not imported: create one with POST .*new\/heartbeat$/m,
  )
  t.notMatch(output, /monitor 1/)

  const [known] = content.monitors
  Object.assign(known ?? {}, { type_data: masked, updated_at: '2026-01-28 09:00:00' })
  await importInProcess(db, kener)
  const stored = await db.selectFrom('kener_monitors').select('fields').orderBy('monitor_id').execute()
  const { url, eval: kept, body } = clear
  t.same(
    stored.map(({ fields }) => fields.type_data),
    [
      { ...clear, timeout: 6 },
      { url, timeout: 6, eval: kept, body },
    ],
    'the stored secrets are kept',
  )
})

await t.test('an incident whose monitors do not exist locally is not public', async (t) => {
  const kener = await startFakeKener(t)
  const { content } = kener
  content.monitors = [sourceMonitor(1, 'secret', { is_hidden: 'YES' }), sourceMonitor(2, 'web')]
  const replica = await startReplica(t)
  const { token } = await newKey(replica)
  await importInProcess(replica.db, kener)
  await replica.call(token, 'DELETE /api/monitors/secret')
  const affected = (...tags: string[]) => tags.map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' }))
  const open = { start_date_time: 1_767_225_600, end_date_time: null, state: 'INVESTIGATING' }
  content.incidents = [
    sourceIncident(1, { ...open, monitors: affected('secret') }),
    sourceIncident(2, { ...open, monitors: affected('secret', 'web') }),
    sourceIncident(3, { ...open, monitors: [] }),
  ]
  await importInProcess(replica.db, kener)
  const { incidents } = (await replica.call(null, 'GET /api/status')).json.data
  t.same(incidents.map(({ title }: { title: string }) => title).sort(), ['Incident 2', 'Incident 3'])
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

await t.test(
  'a usage error has exit code 2, and an invalid key is reported without printing it',
  async (t) => {
    const env = { DATABASE_URL: 'postgres://127.0.0.1:1/x' }
    const wrong: [args: string[], message: RegExp][] = [
      [['import'], /import kener/],
      [['import', 'other'], /Unknown command "import other"/],
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
