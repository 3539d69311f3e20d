import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { ReportStatus, Status } from '../enums.ts'
import { addToSpans, spanTotalsLength, sumSpans } from '../monitors/uptime.ts'
import { hourKey, type MonitorHourReport, type ResolvedReport, toChunks } from './chunks.ts'
import { addTotals, emptyTotals, type Latency, readMinutes, writeReport } from './hour-codec.ts'
import { type DayTotals, type LatestReport, readHours, type ReportRows, upsertRows } from './stored-hours.ts'

/** One status for the minutes [from, to), in minutes since 1970. */
export type Report = {
  /** Default: the current minute of the database. */
  from?: number
  /** Default: the minute after `from`. */
  to?: number
  /** Second of its minute in which the report was made, 0-59. Default: 0, or the current second if `from` is omitted. */
  second?: number
  status: ReportStatus
  latency_ms: Latency
}

/** Reports about one monitor, which are written together or not at all. A later report overwrites an earlier one. */
export type MonitorReports = { tag: string; reports: Report[] }

/** `index` is the position of the first report that is too far ahead. */
type WriteError = { outcome: 'unknown' } | { outcome: 'in_future'; index: number }

export type WriteResult = { outcome: 'written'; minutes: number } | WriteError

/** The monitor, or one of its rows, is locked by another transaction, and nothing was written. */
export type Locked = { outcome: 'locked' }

/** Clocks of clients may be ahead by this many minutes. */
const maxClockSkewMinutes = 5

/**
 * Writes reports about several monitors in one transaction. Locks the rows of the monitors first, ordered by id, so
 * that transactions about the same monitor are serialized and the totals match the minutes.
 *
 * @param whenLocked 'wait' for the transactions that lock a monitor, 'skip' the monitors that are locked, or 'skip_rows':
 * also those of which a stored hour, day or last report is locked, which takes another statement.
 */
export function writeReports(
  db: Kysely<Tables>,
  items: MonitorReports[],
  whenLocked: 'wait',
): Promise<WriteResult[]>
export function writeReports(
  db: Kysely<Tables>,
  items: MonitorReports[],
  whenLocked: 'skip' | 'skip_rows',
): Promise<(WriteResult | Locked)[]>
export function writeReports(
  db: Kysely<Tables>,
  items: MonitorReports[],
  whenLocked: 'wait' | 'skip' | 'skip_rows',
): Promise<(WriteResult | Locked)[]> {
  return db.transaction().execute(async (trx) => {
    // A generic plan made while the tables were small reads all of them, until PostgreSQL analyzes them. Short writes do
    // without, because this is one of six round trips.
    if (whenLocked === 'wait') await sql`set local plan_cache_mode = auto`.execute(trx)
    const tags = items.map(({ tag }) => tag)
    const monitors = await lockMonitors(trx, tags, whenLocked === 'wait' ? 'wait' : 'skip')
    const accepted: ResolvedReport[] = []
    const results = items.map(({ tag, reports }): WriteResult | Locked => {
      const monitor = monitors.get(tag)
      if (!monitor) return { outcome: 'unknown' }
      if (!monitor.is_locked) return { outcome: 'locked' }
      const resolved = reports.map((report) => resolve(report, monitor))
      const index = resolved.findIndex((report) => isInFuture(report, monitor))
      if (index >= 0) return { outcome: 'in_future', index }
      accepted.push(...resolved)
      return { outcome: 'written', minutes: countMinutes(resolved) }
    })
    const locked = whenLocked === 'skip_rows' ? await lockRows(trx, accepted) : new Set<number>()
    const [{ minute } = { minute: 0 }] = monitors.values()
    await storeReports(
      trx,
      accepted.filter(({ monitor_id }) => !locked.has(monitor_id)),
      minute,
    )
    return results.map((result, index) => {
      const { id = 0 } = monitors.get(tags[index] ?? '') ?? {}
      return result.outcome === 'written' && locked.has(id) ? { outcome: 'locked' } : result
    })
  })
}

export type ReportedMinute = { minute: number; status: ReportStatus; latency_ms: number | null }

/** Updates one minute. @param change returns the new report, given the stored one and the monitor's default status */
export function updateMinute(
  db: Kysely<Tables>,
  tag: string,
  minute: number,
  change: (before: ReportedMinute | undefined, defaultStatus: Status) => Omit<ReportedMinute, 'minute'>,
): Promise<{ outcome: 'written'; report: ReportedMinute } | WriteError> {
  return db.transaction().execute(async (trx) => {
    const monitor = (await lockMonitors(trx, [tag], 'wait')).get(tag)
    if (!monitor) return { outcome: 'unknown' }
    const hours = await readHours(trx, [{ monitor_id: monitor.id, hour: Math.floor(minute / 60) }])
    const [before] = [...hours.values()].flatMap((hour) => readMinutes(hour, minute % 60, (minute % 60) + 1))
    const report = { ...change(before, monitor.default_status), minute }
    const resolved = resolve({ from: minute, ...report }, monitor)
    if (isInFuture(resolved, monitor)) return { outcome: 'in_future', index: 0 }
    await storeReports(trx, [resolved], monitor.minute)
    return { outcome: 'written', report }
  })
}

/** `minute` and `second` are the current time of the database. */
type Monitor = {
  id: number
  tag: string
  default_status: Status
  is_locked: boolean
  minute: number
  second: number
}

/** Locks monitors until commit. With 'skip', `is_locked` is false for a monitor that another transaction locks. */
async function lockMonitors(
  trx: Transaction<Tables>,
  tags: string[],
  whenLocked: 'wait' | 'skip',
): Promise<Map<string, Monitor>> {
  const [skipLocked, join] = whenLocked === 'skip' ? [sql`skip locked`, sql`left join`] : [sql``, sql`join`]
  const { rows } = await prepared(sql<Monitor>`
    with locked as (
      select id, default_status from monitors where tag = any(${tags}::text[]) order by id for no key update ${skipLocked}
    )
    select id, tag, locked.default_status, locked.id is not null as is_locked,
      floor(extract(epoch from now()) / 60)::integer as minute, floor(extract(second from now()))::integer as second
    from monitors ${join} locked using (id)
    where tag = any(${tags}::text[])`).execute(trx)
  return new Map(rows.map((row) => [row.tag, row]))
}

/**
 * Locks the rows that storeReports updates, until commit. Returns the ids of the monitors of which another transaction
 * locks one.
 */
async function lockRows(trx: Transaction<Tables>, reports: ResolvedReport[]): Promise<Set<number>> {
  const wanted = toChunks(reports).flat()
  const hours = sql`(select * from unnest(
    ${wanted.map(({ monitor_id }) => monitor_id)}::integer[], ${wanted.map(({ hour }) => hour)}::integer[]
  ) as wanted (monitor_id, hour))`
  const lockedIn = (table: string, condition: RawBuilder<unknown>) => sql`
    select monitor_id from ${sql.table(table)} where ${condition}
    and ctid not in (select ctid from ${sql.table(table)} where ${condition} for no key update skip locked)`
  const { rows } = await sql<{ monitor_id: number }>`
    ${lockedIn('monitor_hours', sql`(monitor_id, hour) in ${hours}`)} union all
    ${lockedIn('monitor_days', sql`(monitor_id, day) in (select monitor_id, floor(hour / 24.0)::integer from ${hours} as hours)`)} union all
    ${lockedIn('last_reports', sql`monitor_id in (select monitor_id from ${hours} as hours)`)}`.execute(trx)
  return new Set(rows.map(({ monitor_id }) => monitor_id))
}

function resolve({ from, to, second, status, latency_ms }: Report, monitor: Monitor): ResolvedReport {
  const first = from ?? monitor.minute
  return {
    monitor_id: monitor.id,
    from: first,
    to: to ?? first + 1,
    second: second ?? (from === undefined ? monitor.second : 0),
    status,
    latency_ms,
  }
}

function isInFuture({ to }: ResolvedReport, monitor: Monitor): boolean {
  return to > monitor.minute + 1 + maxClockSkewMinutes
}

/** Counts a minute once, however many reports it has. */
function countMinutes(reports: ResolvedReport[]): number {
  const [first] = reports
  if (first && reports.length === 1) return first.to - first.from
  const minutes = new Set<number>()
  for (const { from, to } of reports) for (let minute = from; minute < to; minute++) minutes.add(minute)
  return minutes.size
}

/** @param minute the current one */
async function storeReports(
  trx: Transaction<Tables>,
  reports: ResolvedReport[],
  minute: number,
): Promise<void> {
  const currentHour = Math.floor(minute / 60)
  const latest = latestReports(reports, currentHour)
  const chunks = toChunks(reports)
  for (const [index, chunk] of chunks.entries()) {
    const rows = await applyChunk(trx, chunk, latest)
    const isLast = index === chunks.length - 1
    const outdated = await upsertRows(trx, { ...rows, latest: isLast ? [...latest.values()] : [] })
    if (outdated.length > 0) await sumTotals(trx, outdated)
  }
}

/** Returns the report about the newest minute of each monitor, with empty totals. */
function latestReports(reports: ResolvedReport[], hour: number): Map<number, LatestReport> {
  const latest = new Map<number, LatestReport>()
  for (const { monitor_id, to, second, status, latency_ms: latency } of reports) {
    const minute = to - 1
    if (minute < (latest.get(monitor_id)?.minute ?? minute)) continue
    const latency_ms = latency instanceof Uint32Array ? (latency.at(-1) ?? null) : latency
    const totals = Array<number>(spanTotalsLength).fill(0)
    latest.set(monitor_id, { monitor_id, minute, second, status, latency_ms, totals, hour })
  }
  return latest
}

/** Returns the changed hours and the changes of days, and adds the changes to the totals of `latest`. */
async function applyChunk(
  trx: Transaction<Tables>,
  reports: MonitorHourReport[],
  latest: Map<number, LatestReport>,
): Promise<Pick<ReportRows, 'hours' | 'days'>> {
  const hours = await readHours(trx, reports)
  const before = new Map([...hours].map(([key, { totals }]) => [key, { ...totals }]))
  for (const report of reports) {
    const hour = hours.get(hourKey(report))
    if (!hour) throw new Error('An hour that is written was not read')
    if (!hour.is_removed) writeReport(hour, report)
  }
  const days = new Map<string, DayTotals>()
  for (const [key, { monitor_id, hour, totals }] of hours) {
    const change = { ...totals }
    addTotals(change, before.get(key) ?? emptyTotals(), -1)
    const day = Math.floor(hour / 24)
    const ofDay = days.get(`${monitor_id}:${day}`) ?? { monitor_id, day, totals: emptyTotals() }
    days.set(`${monitor_id}:${day}`, ofDay)
    addTotals(ofDay.totals, change)
    const ofMonitor = latest.get(monitor_id)
    if (ofMonitor) addToSpans(ofMonitor.totals, hour, change, ofMonitor.hour)
  }
  return { hours: [...hours.values()].filter((hour) => !hour.is_removed), days: [...days.values()] }
}

/** Stores the totals that uptime is calculated from, so that lists do not sum them. */
async function sumTotals(trx: Transaction<Tables>, monitorIds: number[]): Promise<void> {
  await prepared(sql`
    update last_reports set totals = ${sumSpans(sql`monitor_id`, sql`totals_hour`)}
    where monitor_id = any(${monitorIds}::integer[])`).execute(trx)
}
