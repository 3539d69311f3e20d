import t from 'tap'
import { sourceComment, sourceIncident, sourceMonitor, startFakeKener } from './fake-kener.ts'
import { createDatabase, newKey, startReplica } from './helper.ts'
import { command, contentOf } from './kener-import.ts'
import { cli } from './process.ts'

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
