import { type CompiledQuery, type Kysely, sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { openDatabase } from '../src/database/open.ts'
import type { Tables } from '../src/database/schema.ts'
import { listIncidentPages, listIncidents, listIncidentTexts } from '../src/incidents/list.ts'
import { listMonitorPages, listMonitors, listMonitorTexts } from '../src/monitors/list.ts'
import { findMonitors } from '../src/monitors/repository.ts'
import { type MonitorReports, writeReports } from '../src/reports/repository.ts'
import { createDatabase } from './helper.ts'

const monitors = 5_000

await t.test(
  'the work for a page or a report does not depend on the number of monitors and incidents',
  async (t) => {
    const queries: CompiledQuery[] = []
    const { db, close } = await openDatabase(
      { databaseUrl: await createDatabase(t), databasePoolMax: 1, dataDir: '' },
      { onStatement: ({ query }) => queries.push(query) },
    )
    t.teardown(close)
    await fill(db)

    const at = new Date(Date.now() - 1_000_000_000)
    const filters: [name: string, filter: object, limit?: number][] = [
      ['a page', { after: 'm1500' }],
      ['the longest page', {}, 101],
      ['a category', { category_name: 'Category 7' }],
      ['a rare status', { status: 'DOWN' }],
      ['a frequent status', { status: 'UP' }],
      ['an impact', { status: 'MAINTENANCE' }],
      ['hidden monitors', { hidden: true }],
      ['disabled monitors', { enabled: false }],
    ]
    const monitorPage = (after: string) => ({ after, limit: 51 })
    const cursor = { at, id: 1 }
    const incidentPage = { cursor, limit: 51 }
    const lists: [name: string, list: () => Promise<unknown>, pages?: number][] = [
      ...filters.flatMap(([name, filter, limit = 51]): [string, () => Promise<unknown>][] => [
        [name, () => listMonitors(db, { scope: null, ...filter }, limit)],
        [`${name}, as texts`, () => listMonitorTexts(db, { scope: null, ...filter }, limit)],
      ]),
      ['pages', () => listMonitorPages(db, [monitorPage('m1500'), monitorPage('m2500')]), 2],
      ['one monitor', () => findMonitors(db, ['m0100'])],
      ['incidents', () => listIncidents(db, { scope: null, cursor }, 51)],
      ['open incidents', () => listIncidents(db, { scope: null, open: true }, 51)],
      ['open incidents, as texts', () => listIncidentTexts(db, { scope: null, open: true }, 51)],
      ['pages of incidents', () => listIncidentPages(db, [incidentPage, incidentPage]), 2],
    ]
    for (const [name, list, pages = 1] of lists) {
      queries.length = 0
      await list()
      const [query] = queries
      if (!query || queries.length > 1) throw new Error(`${name}: ${queries.length} statements`)
      const plan = await explain(db, query)
      t.ok(mostRows(plan) < 900 * pages, `${name}: a part of the plan reads ${mostRows(plan)} rows`)
      t.ok(plan['Shared Hit Blocks'] < 900 * pages, `${name}: ${plan['Shared Hit Blocks']} buffers`)
    }

    const items = Array.from({ length: 20 }, (_, index): MonitorReports => {
      const from = Math.floor(Date.now() / 60_000)
      return { tag: `m${1501 + index}`, reports: [{ from, status: 'UP', latency_ms: 1 }] }
    })
    queries.length = 0
    await writeReports(db, items, 'skip')
    const [, lock, read, ...more] = [...queries]
    if (!lock || !read) throw new Error('reports: no statements')
    t.same(more.length, 2, 'a batch of reports is begin, three statements and commit')
    for (const query of [lock, read]) {
      const plan = await explain(db, query)
      t.ok(mostRows(plan) < 100, `reports: a part of the plan reads ${mostRows(plan)} rows`)
      t.ok(plan['Shared Hit Blocks'] < 500, `reports: ${plan['Shared Hit Blocks']} buffers`)
    }
  },
)

/** Every monitor has reported, 15 are DOWN, and a few are affected by open incidents. */
async function fill(db: Kysely<Tables>): Promise<void> {
  const now = Math.floor(Date.now() / 60_000)
  await sql`
    insert into monitors (tag, name, category_name, enabled, hidden, default_status, degraded_counts_as_down)
    select 'm' || lpad(n::text, 4, '0'), 'm', 'Category ' || n % 100, n % 500 <> 0, n % 400 = 0, 'NO_DATA', false
    from generate_series(1, ${sql.lit(monitors)}) as n`.execute(db)
  await sql`
    insert into last_reports (monitor_id, minute, reported_at, status)
    select id, ${now}::integer, ${now * 60}::bigint, case when id % 200 = 0 then 'DOWN' else 'UP' end from monitors
    `.execute(db)
  // 90 days of a page of monitors.
  await sql`
    insert into monitor_days
    select id, ${Math.floor(now / 1440)}::integer - days, 1, 0, 0, 0, 0, 0
    from monitors, generate_series(0, 89) as days where tag between 'm1500' and 'm1560'`.execute(db)
  await sql`
    insert into incidents (title, state, started_at)
    select 'i', case when n % 500 = 0 then 'IDENTIFIED' else 'RESOLVED' end, now() - n * interval '1 hour'
    from generate_series(1, ${sql.lit(monitors)}) as n`.execute(db)
  await sql`insert into incident_monitors select id, id, 'MAINTENANCE' from incidents`.execute(db)
  await sql`analyze`.execute(db)
}

type Plan = {
  'Node Type': string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  'Shared Hit Blocks': number
  Plans?: Plan[]
}

/** Explains the plan that is made without the values of parameters, as for requests. */
async function explain(db: Kysely<Tables>, { sql: text, parameters }: CompiledQuery): Promise<Plan> {
  const toText = (value: unknown) => (value instanceof Date ? value.toISOString() : String(value))
  const toLiteral = (value: unknown) =>
    pg.escapeLiteral(Array.isArray(value) ? `{${value.map(toText).join(',')}}` : toText(value))
  // In a transaction, in which the hour does not end.
  return db.transaction().execute(async (connection) => {
    await sql`
      update last_reports
      set totals_hour = floor(extract(epoch from now()) / 3600), totals = array_fill(0, array[16])
      where monitor_id in (select monitor_id from monitor_days)`.execute(connection)
    await sql.raw(`prepare explained as ${text}`).execute(connection)
    const { rows } = await sql
      .raw<{ 'QUERY PLAN': [{ Plan: Plan }] }>(
        `explain (analyze, buffers, timing off, format json) execute explained (${parameters.map(toLiteral).join(', ')})`,
      )
      .execute(connection)
    await sql`deallocate explained`.execute(connection)
    const [row] = rows
    if (!row) throw new Error('EXPLAIN returned no row')
    return row['QUERY PLAN'][0].Plan
  })
}

/** The most rows that one part of the plan reads, with those that it filters out. */
function mostRows(plan: Plan): number {
  const own = (plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0)) * plan['Actual Loops']
  return Math.max(own, ...(plan.Plans ?? []).map(mostRows))
}
