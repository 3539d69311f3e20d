import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, type QueryExecutorProvider, type RawBuilder, sql } from 'kysely'
import { pipelineTransaction } from '../database/pipeline.ts'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { ReportStatus, Status } from '../enums.ts'
import { applyReports, newestReports } from './apply-reports.ts'
import { hourKey, type ResolvedReport, toChunks } from './chunks.ts'
import { type Latency, readMinutes } from './hour-codec.ts'
import { forceKeyLookups, list, readHours, upsertRows } from './stored-hours.ts'

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
export const maxClockSkewMinutes = 5

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
  return whenLocked === 'wait' ? writeInOrder(db, items) : writeInPipeline(db, items, whenLocked)
}

/** Writes reports of any length, a chunk at a time. */
function writeInOrder(db: Kysely<Tables>, items: MonitorReports[]): Promise<WriteResult[]> {
  return db.transaction().execute(async (trx) => {
    await forceKeyLookups.execute(trx)
    const monitors = await lockMonitors(trx, items, 'wait')
    const { results, accepted } = resolveItems(items, monitors)
    await storeReports(trx, accepted, monitors)
    // None is locked by another transaction, because this one has waited.
    return results as WriteResult[]
  })
}

/**
 * Writes short reports in two round trips. The hours are read in the first one, after the locks of their monitors, and
 * written in the second.
 */
function writeInPipeline(
  db: Kysely<Tables>,
  items: MonitorReports[],
  whenLocked: 'skip' | 'skip_rows',
): Promise<(WriteResult | Locked)[]> {
  return pipelineTransaction(db, async (trx) => {
    const wanted = hoursOfItems(items)
    const [monitors, lockedIds, stored] = await Promise.all([
      lockMonitors(trx, items, 'skip'),
      whenLocked === 'skip_rows' ? lockRows(trx, wanted) : new Set<number>(),
      readHours(trx, wanted),
    ])
    for (const monitor of monitors.values()) monitor.is_locked &&= !lockedIds.has(monitor.id)
    const { results, accepted } = resolveItems(items, monitors)
    const newest = newestReports(accepted, currentHour(monitors))
    const pending = Array.from(toChunks(accepted), (chunk) =>
      upsertRows(trx, applyReports(chunk, stored, newest)),
    )
    return { result: results, pending: Promise.all(pending) }
  })
}

/** Returns the result of each item, and the reports that are to be written. */
function resolveItems(items: MonitorReports[], monitors: Map<string, Monitor>) {
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
  return { results, accepted }
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
    await forceKeyLookups.execute(trx)
    const monitors = await lockMonitors(trx, [{ tag }], 'wait')
    const monitor = monitors.get(tag)
    if (!monitor) return { outcome: 'unknown' }
    const hours = await readHours(trx, rowsOf([{ monitor_id: monitor.id, hour: Math.floor(minute / 60) }]))
    const [before] = [...hours.values()].flatMap((hour) => readMinutes(hour, minute % 60, (minute % 60) + 1))
    const report = { ...change(before, monitor.default_status), minute }
    const resolved = resolve({ from: minute, ...report }, monitor)
    if (isInFuture(resolved, monitor)) return { outcome: 'in_future', index: 0 }
    await storeReports(trx, [resolved], monitors)
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

/** Returns the hour of the database, as of the locks. */
function currentHour(monitors: Map<string, Monitor>): number {
  const [monitor] = monitors.values()
  return Math.floor((monitor?.minute ?? 0) / 60)
}

/** Locks monitors until commit. With 'skip', `is_locked` is false for a monitor that another transaction locks. */
async function lockMonitors(
  trx: QueryExecutorProvider,
  items: { tag: string }[],
  whenLocked: 'wait' | 'skip',
): Promise<Map<string, Monitor>> {
  const tags = items.map(({ tag }) => tag)
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
 * Locks the rows of these hours that are updated, until commit. Returns the ids of the monitors of which another
 * transaction locks one.
 */
async function lockRows(trx: QueryExecutorProvider, wanted: RawBuilder<unknown>): Promise<Set<number>> {
  const lockedIn = (table: string, condition: RawBuilder<unknown>) => sql`
    select monitor_id from ${sql.table(table)} where ${condition}
    and ctid not in (select ctid from ${sql.table(table)} where ${condition} for no key update skip locked)`
  const hours = sql`(select monitor_id, hour from ${wanted} as wanted (monitor_id, hour))`
  const days = sql`(select monitor_id, floor(hour / 24.0)::integer from ${wanted} as wanted (monitor_id, hour))`
  const ids = sql`(select monitor_id from ${wanted} as wanted (monitor_id, hour))`
  const { rows } = await sql<{ monitor_id: number }>`
    ${lockedIn('monitor_hours', sql`(monitor_id, hour) in ${hours}`)} union all
    ${lockedIn('monitor_days', sql`(monitor_id, day) in ${days}`)} union all
    ${lockedIn('last_reports', sql`monitor_id in ${ids}`)}`.execute(trx)
  return new Set(rows.map(({ monitor_id }) => monitor_id))
}

/** SQL for the hours of reports, by the tags of their monitors: their ids, and the time of the database, are not known yet. */
function hoursOfItems(items: MonitorReports[]): RawBuilder<unknown> {
  const distinct = new Map<string, { tag: string; hour: number | null }>()
  for (const { tag, reports } of items)
    for (const hour of reports.flatMap(hoursOf)) distinct.set(`${tag}:${hour}`, { tag, hour })
  const wanted = [...distinct.values()]
  return sql`(
    select id, coalesce(hour, floor(extract(epoch from now()) / 3600)::integer)
    from unnest(${wanted.map(({ tag }) => tag)}::text[], ${list(wanted.map(({ hour }) => hour))}::integer[])
      as item (tag, hour)
    join monitors using (tag)
  )`
}

/** Null is the current hour. */
function hoursOf({ from, to }: Report): (number | null)[] {
  if (from === undefined) return [null]
  const first = Math.floor(from / 60)
  const last = Math.floor(((to ?? from + 1) - 1) / 60)
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

/** SQL for hours. */
function rowsOf(hours: { monitor_id: number; hour: number }[]): RawBuilder<unknown> {
  const distinct = [...new Map(hours.map((hour) => [hourKey(hour), hour])).values()]
  const column = (name: 'monitor_id' | 'hour') => list(distinct.map((hour) => hour[name]))
  return sql`(select * from unnest(${column('monitor_id')}::integer[], ${column('hour')}::integer[]))`
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

/** Pause between the chunks of a long write, in milliseconds, in which other requests use the processor. */
const chunkPauseMs = 1

/** Stores reports, a chunk at a time. */
async function storeReports(
  trx: QueryExecutorProvider,
  reports: ResolvedReport[],
  monitors: Map<string, Monitor>,
): Promise<void> {
  const newest = newestReports(reports, currentHour(monitors))
  let isFirst = true
  for (const chunk of toChunks(reports)) {
    if (!isFirst) await delay(chunkPauseMs)
    isFirst = false
    const stored = await readHours(trx, rowsOf(chunk))
    await upsertRows(trx, applyReports(chunk, stored, newest))
  }
}
