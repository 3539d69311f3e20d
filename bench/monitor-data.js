/**
 * Compares the layout of monitor data (60 minutes per row) with one row per minute, on ten million minutes. Run after `npm run build`: node bench/monitor-data.js
 */
import { sql } from 'kysely'
import { openDatabase } from '../dist/src/database/open.js'
import { removeOldMinutes } from '../dist/src/reports/retention.js'
import { writeReports } from '../dist/src/reports/repository.js'
import { startPostgres } from '../dist/test/postgres.js'
import { addMonitors, tagOf } from './stored.js'

const monitors = 80
const days = 90
const minutes = days * 1440
const now = Math.floor(Date.now() / 60_000)
const server = await startPostgres(['fsync=on', 'max_wal_size=4GB'])
const database = await openDatabase(
  { databaseUrl: server.url, databasePoolMax: 4, dataDir: '' },
  // Statements here may take longer than those of a request.
  { timeouts: { connectMs: 2_000, statementMs: 600_000 } },
)
const { db, close } = database

async function timed(name, run, times = 1) {
  const began = performance.now()
  for (let index = 0; index < times; index++) await run(index)
  const ms = (performance.now() - began) / times
  console.log(`${name.padEnd(64)} ${ms.toFixed(ms < 10 ? 2 : 0).padStart(8)} ms`)
  return ms
}

async function size(table) {
  const { rows } =
    await sql`select pg_size_pretty(pg_total_relation_size(${table}::regclass)) as size`.execute(db)
  console.log(`${`size of ${table}`.padEnd(64)} ${rows[0].size.padStart(11)}`)
}

await addMonitors(db, { monitors })

console.log(
  `${((monitors * minutes) / 1e6).toFixed(1)} million minutes of ${monitors} monitors, ${days} days each\n`,
)
const tag = (index) => tagOf(index + 1)
const fill = (index) =>
  writeReports(
    db,
    [{ tag: tag(index), reports: [{ from: now - minutes, to: now, status: 'UP', latency_ms: 100 + index }] }],
    'wait',
  )
await timed('60 per row: 90 days of one monitor (129,600 minutes)', fill, monitors)
await timed(
  '60 per row: one report',
  (index) => writeReports(db, [{ tag: tag(index % 80), reports: [{ status: 'UP', latency_ms: 5 }] }], 'wait'),
  500,
)
await size('monitor_hours')
await size('monitor_days')

await sql`create table plain (monitor_id integer, minute integer, status smallint, latency_ms integer,
  primary key (monitor_id, minute))`.execute(db)
await timed(
  '1 per row: 90 days of one monitor',
  (index) =>
    sql`insert into plain select ${index}::integer, minute, 1, 100 from generate_series(${now - minutes}::integer, ${now - 1}::integer) as minute`.execute(
      db,
    ),
  monitors,
)
await timed(
  '1 per row: one report',
  (index) =>
    sql`insert into plain values (${index % 80}::integer, ${now}::integer, 1, 5)
    on conflict (monitor_id, minute) do update set status = excluded.status`.execute(db),
  500,
)
await size('plain')
await sql`vacuum analyze`.execute(db)

await timed('60 per row: deleting the oldest day of all monitors', () => removeOldMinutes(db, days - 1))
await timed('1 per row: deleting the oldest day of all monitors', () =>
  sql`delete from plain where minute < ${now - minutes + 1440}::integer`.execute(db),
)
await timed(
  '60 per row: uptime of 90 days, from days',
  () => sql`select sum(up), sum(down) from monitor_days where monitor_id = 5`.execute(db),
  50,
)
await timed(
  '1 per row: uptime of 90 days',
  () => sql`select count(*) filter (where status = 1), count(*) from plain where monitor_id = 5`.execute(db),
  20,
)

await close()
await server.stop()
