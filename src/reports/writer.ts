import { type Kysely, sql, type Transaction } from 'kysely'
import type { MonitorHoursTable, StoredTotals, Tables } from '../database/schema.ts'
import type { ReportStatus } from '../enums.ts'
import {
  addTotals,
  emptyHour,
  emptyTotals,
  type Hour,
  readMinutes,
  type Totals,
  writeRange,
} from './hour-codec.ts'

/** The same report for the minutes [from, to), minutes since 1970. Without a place in time: the present minute. */
export type Report = {
  from?: number
  to?: number
  /** Of its minute, the one in which it was made; 0 unless told. Without a place in time: the present second. */
  second?: number
  status: ReportStatus
  /** One that differs by the minute is asked for it by the minute, and says the same of one each time. */
  latencyMs: number | null | ((minute: number) => number)
}

/** What one request reports about one monitor: all of it is written, or nothing. A later report wins over an earlier. */
export type MonitorReports = { tag: string; reports: Report[] }

export type Outcome = { written: number } | WriteError

export type WriteError = { error: 'unknown_monitor' } | { error: 'in_future'; index: number }

/** A reporter's clock may be ahead by this much. */
const maxClockSkewMinutes = 5

/**
 * Writes what several requests report, in one transaction of a fixed number of statements. The monitors' rows are
 * locked first, in the order of their ids: whoever writes minutes of a monitor waits for whoever does, so that sums
 * follow the minutes.
 *
 * @param whenLocked 'skip': a monitor that someone else writes to just now counts as one that is not there.
 */
export function writeReports(
  db: Kysely<Tables>,
  items: MonitorReports[],
  whenLocked: 'wait' | 'skip' = 'wait',
): Promise<Outcome[]> {
  return db.transaction().execute(async (trx) => {
    const tags = items.map(({ tag }) => tag)
    return writeLocked(trx, items, await lockMonitors(trx, tags, whenLocked))
  })
}

/** What was reported of a minute. */
export type Minute = { status: ReportStatus; latencyMs: number | null }

/** Writes one minute as `change` makes it from what was reported of it before. */
export function updateMinute(
  db: Kysely<Tables>,
  tag: string,
  minute: number,
  change: (before: Minute | undefined) => Minute,
): Promise<{ stored: Minute } | WriteError> {
  return db.transaction().execute(async (trx) => {
    const monitors = await lockMonitors(trx, [tag])
    const monitor = monitors.get(tag)
    if (!monitor) return { error: 'unknown_monitor' }
    const span = { from: minute, to: minute + 1 }
    const rows = await readHours(trx, [{ ...span, monitorId: monitor.id }])
    const [before] = [...rows.values()].flatMap(({ data }) =>
      readMinutes(data, minute % 60, (minute % 60) + 1),
    )
    const stored = change(before)
    const [outcome] = await writeLocked(trx, [{ tag, reports: [{ ...span, ...stored }] }], monitors)
    return outcome && 'error' in outcome ? outcome : { stored }
  })
}

async function writeLocked(
  trx: Transaction<Tables>,
  items: MonitorReports[],
  monitors: Map<string, LockedMonitor>,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const accepted: ResolvedReport[] = []
  for (const { tag, reports } of items) {
    const monitor = monitors.get(tag)
    const resolved = monitor && reports.map((report) => resolve(report, monitor))
    const futureIndex =
      resolved?.findIndex(({ to }) => to > (monitor?.minute ?? 0) + 1 + maxClockSkewMinutes) ?? -1
    if (!resolved) outcomes.push({ error: 'unknown_monitor' })
    else if (futureIndex >= 0) outcomes.push({ error: 'in_future', index: futureIndex })
    else {
      accepted.push(...resolved)
      outcomes.push({ written: countMinutes(resolved) })
    }
  }
  for (const chunk of toChunks(accepted)) await writeChunk(trx, chunk)
  if (accepted.length > 0) await upsertLatestReports(trx, accepted)
  return outcomes
}

/** With the present minute, and the present second of it. */
type LockedMonitor = { id: number; tag: string; minute: number; second: number }

type ResolvedReport = Required<Report> & { monitorId: number }

/** The first thing in a transaction that writes reports. */
async function lockMonitors(
  trx: Transaction<Tables>,
  tags: readonly string[],
  whenLocked: 'wait' | 'skip' = 'wait',
): Promise<Map<string, LockedMonitor>> {
  // A plan made while the table was small would read all of it, until PostgreSQL analyzes it.
  await sql`set local plan_cache_mode = auto`.execute(trx)
  const { rows } = await sql<LockedMonitor>`
    select id, tag, floor(extract(epoch from now()) / 60)::integer as minute,
      floor(extract(second from now()))::integer as second
    from monitors
    where tag = any(${[...new Set(tags)]}::text[]) order by id
    for no key update ${whenLocked === 'skip' ? sql`skip locked` : sql``}`.execute(trx)
  return new Map(rows.map((row) => [row.tag, row]))
}

function resolve({ from, to, status, latencyMs, ...report }: Report, monitor: LockedMonitor): ResolvedReport {
  const first = from ?? monitor.minute
  const second = report.second ?? (from === undefined ? monitor.second : 0)
  return { monitorId: monitor.id, from: first, to: to ?? first + 1, second, status, latencyMs }
}

/** Two points of one minute are one minute. */
function countMinutes(resolved: ResolvedReport[]): number {
  if (resolved.length === 1) return resolved.reduce((count, { from, to }) => count + to - from, 0)
  return new Set(resolved.map(({ from }) => from)).size
}

/** So many hours are written at a time: other requests have their turn in between, while a year goes in. */
const hoursPerChunk = 7 * 24

/** The same reports in the same order, cut at the hours. */
function toChunks(resolved: ResolvedReport[]): ResolvedReport[][] {
  const chunks: ResolvedReport[][] = []
  let hours = new Set<string>()
  for (const report of resolved) {
    for (let { from } = report, to: number; from < report.to; from = to) {
      const hour = Math.floor(from / 60)
      to = Math.min(report.to, (hour + 1) * 60)
      if (chunks.length === 0 || hours.size === hoursPerChunk) {
        chunks.push([])
        hours = new Set()
      }
      hours.add(`${report.monitorId}:${hour}`)
      chunks.at(-1)?.push({ ...report, from, to })
    }
  }
  return chunks
}

type Row = { monitorId: number; hour: number; data: Hour }

async function writeChunk(trx: Transaction<Tables>, resolved: ResolvedReport[]): Promise<void> {
  const rows = await readHours(trx, resolved)
  const days = new Map<string, { monitorId: number; day: number; totals: Totals }>()
  const before = new Map([...rows].map(([key, { data }]) => [key, { ...data.totals }]))
  for (const { monitorId, from, to, status, latencyMs } of resolved) {
    for (let hour = Math.floor(from / 60); hour * 60 < to; hour++) {
      const row = rows.get(`${monitorId}:${hour}`)
      if (!row) throw new Error('An hour that is written was not read')
      const start = hour * 60
      const first = Math.max(from - start, 0)
      const latency =
        typeof latencyMs === 'function' ? (minute: number) => latencyMs(start + minute) : latencyMs
      writeRange(row.data, { first, end: Math.min(to - start, 60), status, latencyMs: latency })
    }
  }
  for (const [key, { monitorId, hour, data }] of rows) {
    const day = Math.floor(hour / 24)
    const change = days.get(`${monitorId}:${day}`) ?? { monitorId, day, totals: emptyTotals() }
    days.set(`${monitorId}:${day}`, change)
    addTotals(change.totals, data.totals)
    addTotals(change.totals, before.get(key) ?? emptyTotals(), -1)
  }
  await storeHours(trx, [...rows.values()])
  await addToDays(trx, [...days.values()])
}

/** All hours that the reports touch, as they are, or empty. */
async function readHours(
  trx: Transaction<Tables>,
  resolved: Pick<ResolvedReport, 'monitorId' | 'from' | 'to'>[],
): Promise<Map<string, Row>> {
  const rows = new Map<string, Row>()
  for (const { monitorId, from, to } of resolved) {
    for (let hour = Math.floor(from / 60); hour * 60 < to; hour++) {
      rows.set(`${monitorId}:${hour}`, { monitorId, hour, data: emptyHour() })
    }
  }
  const wanted = [...rows.values()]
  const stored = await sql<MonitorHoursTable>`
    select * from monitor_hours
    join unnest(${wanted.map(({ monitorId }) => monitorId)}::integer[], ${wanted.map(({ hour }) => hour)}::integer[])
      as wanted (monitor_id, hour) using (monitor_id, hour)`.execute(trx)
  for (const row of stored.rows) {
    const { monitor_id: monitorId, hour, statuses, latencies } = row
    rows.set(`${monitorId}:${hour}`, {
      monitorId,
      hour,
      data: { totals: toTotals(row), statuses, latencies },
    })
  }
  return rows
}

export function toTotals({
  up,
  degraded,
  down,
  maintenance,
  latency_count,
  latency_sum,
}: StoredTotals): Totals {
  return { up, degraded, down, maintenance, latencyCount: latency_count, latencySum: Number(latency_sum) }
}

/** As arrays, a column each; the minutes as one text of bytes, cut up by the database. */
async function storeHours(trx: Transaction<Tables>, rows: Row[]): Promise<void> {
  const statuses = Buffer.concat(rows.map(({ data }) => data.statuses))
  const latencies = Buffer.concat(rows.map(({ data }) => data.latencies))
  await sql`
    insert into monitor_hours
      (monitor_id, hour, up, degraded, down, maintenance, latency_count, latency_sum, statuses, latencies)
    select monitor_id, hour, up, degraded, down, maintenance, latency_count, latency_sum,
      substring(${statuses}::bytea from (position::integer - 1) * 60 + 1 for 60),
      substring(${latencies}::bytea from (position::integer - 1) * 240 + 1 for 240)
    from unnest(
      ${rows.map(({ monitorId }) => monitorId)}::integer[], ${rows.map(({ hour }) => hour)}::integer[],
      ${column(rows, 'up')}::smallint[], ${column(rows, 'degraded')}::smallint[], ${column(rows, 'down')}::smallint[],
      ${column(rows, 'maintenance')}::smallint[], ${column(rows, 'latencyCount')}::smallint[],
      ${column(rows, 'latencySum')}::bigint[]
    ) with ordinality
      as row (monitor_id, hour, up, degraded, down, maintenance, latency_count, latency_sum, position)
    on conflict (monitor_id, hour) do update set
      up = excluded.up, degraded = excluded.degraded, down = excluded.down, maintenance = excluded.maintenance,
      latency_count = excluded.latency_count, latency_sum = excluded.latency_sum,
      statuses = excluded.statuses, latencies = excluded.latencies`.execute(trx)
}

function column(rows: { data: { totals: Totals } }[], name: keyof Totals): number[] {
  return rows.map(({ data }) => data.totals[name])
}

/** Adds what has changed, so that days keep what their minutes said after those are gone. */
async function addToDays(
  trx: Transaction<Tables>,
  days: { monitorId: number; day: number; totals: Totals }[],
): Promise<void> {
  const rows = days.map(({ totals }) => ({ data: { totals } }))
  await sql`
    insert into monitor_days as stored (monitor_id, day, up, degraded, down, maintenance, latency_count, latency_sum)
    select * from unnest(
      ${days.map(({ monitorId }) => monitorId)}::integer[], ${days.map(({ day }) => day)}::integer[],
      ${column(rows, 'up')}::integer[], ${column(rows, 'degraded')}::integer[], ${column(rows, 'down')}::integer[],
      ${column(rows, 'maintenance')}::integer[], ${column(rows, 'latencyCount')}::integer[],
      ${column(rows, 'latencySum')}::bigint[])
    on conflict (monitor_id, day) do update set
      up = stored.up + excluded.up, degraded = stored.degraded + excluded.degraded,
      down = stored.down + excluded.down, maintenance = stored.maintenance + excluded.maintenance,
      latency_count = stored.latency_count + excluded.latency_count,
      latency_sum = stored.latency_sum + excluded.latency_sum`.execute(trx)
}

/** The newest minute of each monitor; of two reports for it the later one. */
async function upsertLatestReports(trx: Transaction<Tables>, resolved: ResolvedReport[]): Promise<void> {
  const newest = new Map<number, ResolvedReport>()
  for (const report of resolved) {
    const newer = newest.get(report.monitorId)
    if (!newer || report.to >= newer.to) newest.set(report.monitorId, report)
  }
  const latest = [...newest.values()]
  await sql`
    insert into last_reports as stored (monitor_id, minute, second, status, latency_ms)
    select * from unnest(
      ${latest.map(({ monitorId }) => monitorId)}::integer[], ${latest.map(({ to }) => to - 1)}::integer[],
      ${latest.map(({ second }) => second)}::smallint[],
      ${latest.map(({ status }) => status)}::text[], ${latest.map(latencyAtEnd)}::integer[])
    on conflict (monitor_id) do update set
      minute = excluded.minute, second = excluded.second, status = excluded.status, latency_ms = excluded.latency_ms
    where excluded.minute >= stored.minute`.execute(trx)
}

function latencyAtEnd({ to, latencyMs }: ResolvedReport): number | null {
  return typeof latencyMs === 'function' ? latencyMs(to - 1) : latencyMs
}

/** A year, and a leap day. */
export const maxFillMinutes = 366 * 1440
