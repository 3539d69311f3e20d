import { type Kysely, sql, type Transaction } from 'kysely'
import type { ReportStatus } from '../schemas/monitors.ts'
import { addSums, emptyHour, emptySums, type Hour, readMinutes, type Sums, writeStretch } from './minutes.ts'
import type { MonitorHoursTable, StoredSums, Tables } from './schema.ts'

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
export type Reports = { tag: string; reports: Report[] }

export type Outcome = { written: number } | Refusal

export type Refusal = { refused: 'no such monitor' } | { refused: 'too late'; index: number }

/** A reporter's clock may be ahead by this much. */
const aheadMinutes = 5

/**
 * Writes what several requests report, in one transaction of a fixed number of statements. The monitors' rows are
 * locked first, in the order of their ids: whoever writes minutes of a monitor waits for whoever does, so that sums
 * follow the minutes.
 *
 * @param heldMonitors 'skip': a monitor that someone else writes to just now counts as one that is not there.
 */
export function writeReports(
  db: Kysely<Tables>,
  asks: Reports[],
  heldMonitors: 'wait' | 'skip' = 'wait',
): Promise<Outcome[]> {
  return db.transaction().execute(async (trx) => {
    const tags = asks.map(({ tag }) => tag)
    return writeLocked(trx, asks, await lockMonitors(trx, tags, heldMonitors))
  })
}

/** What was reported of a minute. */
export type Minute = { status: ReportStatus; latencyMs: number | null }

/** Writes one minute as `change` makes it from what was reported of it before. */
export function changeMinute(
  db: Kysely<Tables>,
  tag: string,
  minute: number,
  change: (before: Minute | undefined) => Minute,
): Promise<{ stored: Minute } | Refusal> {
  return db.transaction().execute(async (trx) => {
    const monitors = await lockMonitors(trx, [tag])
    const monitor = monitors.get(tag)
    if (!monitor) return { refused: 'no such monitor' }
    const span = { from: minute, to: minute + 1 }
    const rows = await readHours(trx, [{ ...span, monitorId: monitor.id }])
    const [before] = [...rows.values()].flatMap(({ data }) =>
      readMinutes(data, minute % 60, (minute % 60) + 1),
    )
    const stored = change(before)
    const [outcome] = await writeLocked(trx, [{ tag, reports: [{ ...span, ...stored }] }], monitors)
    return outcome && 'refused' in outcome ? outcome : { stored }
  })
}

async function writeLocked(
  trx: Transaction<Tables>,
  asks: Reports[],
  monitors: Map<string, LockedMonitor>,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const stretches: PlacedReport[] = []
  for (const { tag, reports } of asks) {
    const monitor = monitors.get(tag)
    const placed = monitor && reports.map((report) => place(report, monitor))
    const tooLate = placed?.findIndex(({ to }) => to > (monitor?.minute ?? 0) + 1 + aheadMinutes) ?? -1
    if (!placed) outcomes.push({ refused: 'no such monitor' })
    else if (tooLate >= 0) outcomes.push({ refused: 'too late', index: tooLate })
    else {
      stretches.push(...placed)
      outcomes.push({ written: countMinutes(placed) })
    }
  }
  for (const bite of inBites(stretches)) await write(trx, bite)
  if (stretches.length > 0) await storeLast(trx, stretches)
  return outcomes
}

/** With the present minute, and the present second of it. */
type LockedMonitor = { id: number; tag: string; minute: number; second: number }

type PlacedReport = Required<Report> & { monitorId: number }

/** The first thing in a transaction that writes reports. */
async function lockMonitors(
  trx: Transaction<Tables>,
  tags: readonly string[],
  held: 'wait' | 'skip' = 'wait',
): Promise<Map<string, LockedMonitor>> {
  // A plan made while the table was small would read all of it, until PostgreSQL analyzes it.
  await sql`set local plan_cache_mode = auto`.execute(trx)
  const { rows } = await sql<LockedMonitor>`
    select id, tag, floor(extract(epoch from now()) / 60)::integer as minute,
      floor(extract(second from now()))::integer as second
    from monitors
    where tag = any(${[...new Set(tags)]}::text[]) order by id
    for no key update ${held === 'skip' ? sql`skip locked` : sql``}`.execute(trx)
  return new Map(rows.map((row) => [row.tag, row]))
}

function place({ from, to, status, latencyMs, ...report }: Report, monitor: LockedMonitor): PlacedReport {
  const first = from ?? monitor.minute
  const second = report.second ?? (from === undefined ? monitor.second : 0)
  return { monitorId: monitor.id, from: first, to: to ?? first + 1, second, status, latencyMs }
}

/** Two points of one minute are one minute. */
function countMinutes(placed: PlacedReport[]): number {
  if (placed.length === 1) return placed.reduce((count, { from, to }) => count + to - from, 0)
  return new Set(placed.map(({ from }) => from)).size
}

/** So many hours are written at a time: other requests have their turn in between, while a year goes in. */
const biteHours = 7 * 24

/** The same reports in the same order, cut at the hours. */
function inBites(placed: PlacedReport[]): PlacedReport[][] {
  const bites: PlacedReport[][] = []
  let hours = new Set<string>()
  for (const report of placed) {
    for (let { from } = report, to: number; from < report.to; from = to) {
      const hour = Math.floor(from / 60)
      to = Math.min(report.to, (hour + 1) * 60)
      if (bites.length === 0 || hours.size === biteHours) {
        bites.push([])
        hours = new Set()
      }
      hours.add(`${report.monitorId}:${hour}`)
      bites.at(-1)?.push({ ...report, from, to })
    }
  }
  return bites
}

type Row = { monitorId: number; hour: number; data: Hour }

async function write(trx: Transaction<Tables>, placed: PlacedReport[]): Promise<void> {
  const rows = await readHours(trx, placed)
  const days = new Map<string, { monitorId: number; day: number; sums: Sums }>()
  const before = new Map([...rows].map(([key, { data }]) => [key, { ...data.sums }]))
  for (const { monitorId, from, to, status, latencyMs } of placed) {
    for (let hour = Math.floor(from / 60); hour * 60 < to; hour++) {
      const row = rows.get(`${monitorId}:${hour}`)
      if (!row) throw new Error('An hour that is written was not read')
      const start = hour * 60
      const first = Math.max(from - start, 0)
      const latency =
        typeof latencyMs === 'function' ? (minute: number) => latencyMs(start + minute) : latencyMs
      writeStretch(row.data, { first, end: Math.min(to - start, 60), status, latencyMs: latency })
    }
  }
  for (const [key, { monitorId, hour, data }] of rows) {
    const day = Math.floor(hour / 24)
    const change = days.get(`${monitorId}:${day}`) ?? { monitorId, day, sums: emptySums() }
    days.set(`${monitorId}:${day}`, change)
    addSums(change.sums, data.sums)
    addSums(change.sums, before.get(key) ?? emptySums(), -1)
  }
  await storeHours(trx, [...rows.values()])
  await addToDays(trx, [...days.values()])
}

/** All hours that the reports touch, as they are, or empty. */
async function readHours(
  trx: Transaction<Tables>,
  placed: Pick<PlacedReport, 'monitorId' | 'from' | 'to'>[],
): Promise<Map<string, Row>> {
  const rows = new Map<string, Row>()
  for (const { monitorId, from, to } of placed) {
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
      data: { sums: toSums(row), statuses, latencies },
    })
  }
  return rows
}

export function toSums({ up, degraded, down, maintenance, latency_count, latency_sum }: StoredSums): Sums {
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
      substring(${statuses}::bytea from (place::integer - 1) * 60 + 1 for 60),
      substring(${latencies}::bytea from (place::integer - 1) * 240 + 1 for 240)
    from unnest(
      ${rows.map(({ monitorId }) => monitorId)}::integer[], ${rows.map(({ hour }) => hour)}::integer[],
      ${column(rows, 'up')}::smallint[], ${column(rows, 'degraded')}::smallint[], ${column(rows, 'down')}::smallint[],
      ${column(rows, 'maintenance')}::smallint[], ${column(rows, 'latencyCount')}::smallint[],
      ${column(rows, 'latencySum')}::bigint[]
    ) with ordinality
      as row (monitor_id, hour, up, degraded, down, maintenance, latency_count, latency_sum, place)
    on conflict (monitor_id, hour) do update set
      up = excluded.up, degraded = excluded.degraded, down = excluded.down, maintenance = excluded.maintenance,
      latency_count = excluded.latency_count, latency_sum = excluded.latency_sum,
      statuses = excluded.statuses, latencies = excluded.latencies`.execute(trx)
}

function column(rows: { data: { sums: Sums } }[], name: keyof Sums): number[] {
  return rows.map(({ data }) => data.sums[name])
}

/** Adds what has changed, so that days keep what their minutes said after those are gone. */
async function addToDays(
  trx: Transaction<Tables>,
  days: { monitorId: number; day: number; sums: Sums }[],
): Promise<void> {
  const rows = days.map(({ sums }) => ({ data: { sums } }))
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
async function storeLast(trx: Transaction<Tables>, placed: PlacedReport[]): Promise<void> {
  const newest = new Map<number, PlacedReport>()
  for (const report of placed) {
    const known = newest.get(report.monitorId)
    if (!known || report.to >= known.to) newest.set(report.monitorId, report)
  }
  const last = [...newest.values()]
  await sql`
    insert into last_reports as stored (monitor_id, minute, second, status, latency_ms)
    select * from unnest(
      ${last.map(({ monitorId }) => monitorId)}::integer[], ${last.map(({ to }) => to - 1)}::integer[],
      ${last.map(({ second }) => second)}::smallint[],
      ${last.map(({ status }) => status)}::text[], ${last.map(latencyAtEnd)}::integer[])
    on conflict (monitor_id) do update set
      minute = excluded.minute, second = excluded.second, status = excluded.status, latency_ms = excluded.latency_ms
    where excluded.minute >= stored.minute`.execute(trx)
}

function latencyAtEnd({ to, latencyMs }: PlacedReport): number | null {
  return typeof latencyMs === 'function' ? latencyMs(to - 1) : latencyMs
}
