import t from 'tap'
import { Type } from 'typebox'
import { readList } from '../src/kener/import/items.ts'
import {
  sourceComment,
  sourceIncident,
  type SourceItem,
  sourceMonitor,
  startFakeKener,
} from './fake-kener.ts'
import { startReplica } from './helper.ts'
import { contentOf, importInProcess } from './kener-import.ts'

const nested = (levels: number) =>
  JSON.parse(`${'{"a":'.repeat(levels)}0${'}'.repeat(levels)}`) as Record<string, unknown>

await t.test('an invalid item is skipped with a line that names it, and the rest is imported', async (t) => {
  const kener = await startFakeKener(t)
  const { content } = kener
  content.monitors = [
    sourceMonitor(1, 'good', { type_data: { 'a\0': 'b\0' } }),
    sourceMonitor(2, 'deep', { type_data: nested(3_000) }),
    sourceMonitor(3, 'deep-elsewhere', { unknown: [nested(40)], updated_at: null }),
    sourceMonitor(4, 'image', { image: 'i'.repeat(70_000) }),
    sourceMonitor(5, 'type-data', {
      type_data: Object.fromEntries(Array.from({ length: 9_000 }, (_, i) => [i, {}])),
    }),
    sourceMonitor(6, 'huge', { image: 'i'.repeat(2 * 1024 * 1024) }),
    sourceMonitor(1, 'good-again'),
    sourceMonitor(2 ** 31, 'large-id'),
    ...([
      { id: '7', tag: 'text-id' },
      { tag: 'no-id' },
      { id: 8, tag: 9 },
      null,
      5,
      'text',
      [],
      {},
    ] as SourceItem[]),
    sourceMonitor(10, 'also-good', { image: ['x'], cron: {}, monitor_settings_json: [[]], name: nested(20) }),
  ]
  const affected = [{ monitor_tag: 'good' }]
  content.incidents = [
    sourceIncident(1, { monitors: affected, updated_at: 'u'.repeat(100_000) }),
    sourceIncident(2, { title: nested(3_000) }),
    sourceIncident(3, { start_date_time: 1e300 }),
    sourceIncident(4, { start_date_time: '2026-01-01' }),
    sourceIncident(5, { start_date_time: -1 }),
    sourceIncident(6, {
      monitors: [...affected, nested(20), [], 'x'],
      state: nested(10),
      end_date_time: [1],
    }),
    sourceIncident(7),
    sourceIncident(8),
    sourceIncident(9),
    sourceIncident(6, { title: 'repeated' }),
  ]
  content.comments = new Map([
    [1, [sourceComment(1, 1), sourceComment(1, 1), sourceComment(2, 1, { comment: nested(3_000) })]],
    [6, [sourceComment(1, 6), sourceComment(3, 6, { timestamp: 1e300 }), sourceComment(4, 6)]],
  ])
  kener.hooks.intercept = ({ url = '' }, response) => {
    if (url.includes('/7/')) response.end('{"comments":[{}')
    if (url.includes('/8/')) response.writeHead(400).end()
    if (url.includes('/9/')) response.writeHead(500).end()
    return response.writableEnded
  }
  const { db } = await startReplica(t)
  const { isComplete, output } = await importInProcess(db, kener)
  t.notOk(isComplete)
  const lines = new Set(output.split('\n'))
  const begin = (item: object) => JSON.stringify(item).slice(0, 60)
  for (const line of [
    `monitor ${begin(content.monitors[1] ?? {})}: skipped: it is nested more than 32 levels deep`,
    `monitor ${begin(content.monitors[2] ?? {})}: skipped: it is nested more than 32 levels deep`,
    'monitor 4 "image": skipped: The changed values of image, cron, monitor_type, type_data and monitor_settings_json must have at most 65536 characters together',
    'monitor 5 "type-data": skipped: The changed values of image, cron, monitor_type, type_data and monitor_settings_json must have at most 65536 characters together',
    `monitor ${begin(content.monitors[5] ?? {})}: skipped: it has ${JSON.stringify(content.monitors[5]).length} bytes, and at most 1048576 are read`,
    `monitor ${begin(content.monitors[6] ?? {})}: skipped: its id occurs more than once in the list`,
    `monitor ${begin(content.monitors[7] ?? {})}: skipped: /id must be from 1 to 2147483647`,
    'monitor {"id":"7","tag":"text-id"}: skipped: /id must be a whole number',
    'monitor {"tag":"no-id"}: skipped: /id is required',
    'monitor {"id":8,"tag":9}: skipped: /tag must be a string',
    'monitor null: skipped: it must be an object',
    'monitor 5: skipped: it must be an object',
    'monitor "text": skipped: it must be an object',
    'monitor []: skipped: it must be an object',
    'monitor {}: skipped: /id is required',
    'monitor 1 "good": characters that cannot be stored become \ufffd',
    'monitor 10 "also-good": image an array is not valid and becomes null',
    'incident 3 "Incident 3": skipped with 0 comments: start_date_time 1e+300 is not a time in seconds since 1970',
    'incident 4 "Incident 4": skipped with 0 comments: start_date_time "2026-01-01" is not a time in seconds since 1970',
    'incident 5 "Incident 5": skipped with 0 comments: start_date_time -1 is not a time in seconds since 1970',
    'incident 6 "Incident 6": state an object is not valid and becomes INVESTIGATING',
    'incident 6 "Incident 6": comment 1 skipped: its id is also that of a comment of another incident',
    'incident 6 "Incident 6": comment 3 skipped: timestamp 1e+300 is not a time in seconds since 1970',
    `incident 7 "Incident 7": skipped, because its comments cannot be read: ${kener.url} did not respond with a JSON object that contains the list comments: is it a Kener 4?`,
    `incident 8 "Incident 8": skipped, because its comments cannot be read: ${kener.url} responded with 400: is it a Kener 4?`,
    `incident 9 "Incident 9": skipped, because its comments cannot be read: ${kener.url} responded with 500, 5 times in a row. Run the import again later: it continues where it stopped.`,
    'monitors: 2 new, 15 skipped',
    'incidents: 2 new, 8 skipped',
    'comments: 2 new, 4 skipped',
  ]) {
    t.ok(lines.has(line), line)
  }
  t.equal(output.match(/ skipped[:, ]/g)?.length, 15 + 8 + 4)
  const { monitors, incidents, comments } = await contentOf(db)
  t.match(monitors, [{ tag: 'also-good' }, { tag: 'good', fields: { type_data: { 'a\ufffd': 'b\ufffd' } } }])
  t.match(incidents, [{ title: 'Incident 1' }, { title: 'Incident 6', ended_at: null }])
  t.match(comments, [{ comment: 'Comment 1' }, { comment: 'Comment 4' }])
  const versions = await db.selectFrom('kener_imports').select('updated_at').execute()
  t.ok(versions.every(({ updated_at }) => updated_at.length <= 64))
  t.match(
    (await importInProcess(db, kener)).output,
    /incidents: 2 unchanged, 8 skipped\ncomments: 2 unchanged, 4 skipped/,
  )
})

await t.test('lines of one kind are limited, and the others are counted', async (t) => {
  const kener = await startFakeKener(t)
  const monitors = Array.from({ length: 1_250 }, (_, index) => ({ monitor_tag: `gone-${index}` }))
  kener.content.incidents = [sourceIncident(1, { monitors, state: 'OPEN' })]
  const { db } = await startReplica(t)
  const { output } = await importInProcess(db, kener)
  t.equal(output.match(/does not exist locally/g)?.length, 101)
  t.match(output, /^and 1150 more: monitor … does not exist locally and is left out\nmonitors: none$/m)
  t.match(output, 'state "OPEN" is not valid and becomes INVESTIGATING')

  await db
    .insertInto('monitors')
    .values(
      monitors.map(({ monitor_tag }) => ({
        tag: monitor_tag,
        name: 'n',
        enabled: true,
        hidden: false,
        default_status: 'UP' as const,
        degraded_counts_as_down: false,
      })),
    )
    .execute()
  kener.content.incidents[0] = sourceIncident(1, { monitors, updated_at: 'later' })
  t.match((await importInProcess(db, kener)).output, 'affects 1250 monitors, of which 1000 are kept')
  t.match(await contentOf(db), { affected: { length: 1_000 } })
})

await t.test('the items of a list are found without parsing the list', (t) => {
  const read = (text: string, max = 100) => {
    const list = readList(
      Buffer.from(text),
      'a',
      Type.Object({ id: Type.Integer() }, { additionalProperties: Type.Unknown() }),
      max,
    )
    return (
      list && {
        items: list.items.map(({ read }) => read()),
        rejected: list.rejected.length,
        omitted: list.omitted,
      }
    )
  }
  const items = [
    { id: 2, a: ['"]}', '\\', '\\"', [[]], {}] },
    { id: 3, '"a":[': '\u00e9\u{1f30d}\n' },
  ]
  const found = { items, rejected: 0, omitted: 0 }
  t.same(read(JSON.stringify({ b: { a: [1] }, c: 'a', a: items, d: [[{ id: 4 }]] })), found)
  t.same(read(JSON.stringify({ a: items.toReversed() }, null, '\t')), found, 'sorted by id, with white space')
  t.same(read('{"a":[]}'), { items: [], rejected: 0, omitted: 0 })
  t.same(read('{"a":[{"id":1},{"id":2},{"id":3}]}', 2), {
    items: [{ id: 1 }, { id: 2 }],
    rejected: 0,
    omitted: 1,
  })
  t.same(read('{"a":[{"id":1},{id:2},[[]],tru,{"id":3}]}'), {
    items: [{ id: 1 }, { id: 3 }],
    rejected: 3,
    omitted: 0,
  })
  for (const text of [
    '',
    'x',
    '[]',
    '{}',
    '{"a":1}',
    '{"a":"x"}',
    '{"a":{}}',
    '{"b":"a"}',
    '{"a":[',
    '{"a":[]',
    '{"a":["]}',
    '"a":[]',
    '<a>',
  ]) {
    t.equal(read(text), undefined, text)
  }
  t.end()
})
