import { type Kysely, sql } from 'kysely'
import type { StoredTotals, Tables } from '../database/schema.ts'
import { getMonitorId } from '../monitors/repository.ts'
import { toUptime } from '../monitors/uptime.ts'
import {
  addMinutes,
  addTotals,
  emptyTotals,
  type HourMinutes,
  readMinutes,
  type Totals,
  toTotals,
} from './hour-codec.ts'
import type { ReportedMinute } from './repository.ts'

export const intervals = ['minute', 'hour', 'day'] as const
type Interval = (typeof intervals)[number]

const intervalMinutes = { minute: 1, hour: 60, day: 1440 }

/** [from, to), in minutes since 1970. */
type Span = { from: number; to: number }

/** Totals of the reports of a minute, an hour or a UTC day. */
export type Bucket = Omit<Totals, 'latency_count' | 'latency_sum'> & {
  /** Start of the bucket, in minutes since 1970. */
  minute: number
  uptime: number | null
  /** Mean of the reported latencies. */
  latency_ms: number | null
}

type SeriesQuery = Span & {
  interval: Interval
  /** `minute` of the last bucket of the previous page. */
  after?: number | undefined
  limit: number
}

/**
 * Returns the buckets with reports in the span, ascending. The first and the last bucket cover only what lies within
 * the span. @throws ApiError 404 if the monitor does not exist.
 */
export async function readSeries(
  db: Kysely<Tables>,
  tag: string,
  { interval, from, to, after, limit }: SeriesQuery,
): Promise<Bucket[]> {
  const { id, degraded_counts_as_down } = await getMonitorId(db, tag)
  const length = intervalMinutes[interval]
  // The next page starts with a whole bucket, so that no bucket is split between pages.
  const start = after === undefined ? from : Math.max(from, (Math.floor(after / length) + 1) * length)
  const buckets = await readers[interval](db, id, { from: start, to }, limit)
  return buckets.map(({ minute, totals: { latency_count, latency_sum, ...counts } }) => ({
    minute,
    ...counts,
    uptime: toUptime(counts, degraded_counts_as_down),
    latency_ms: latency_count > 0 ? latency_sum / latency_count : null,
  }))
}

type BucketTotals = { minute: number; totals: Totals }

const readers = { minute: readByMinute, hour: readByHour, day: readByDay }

/** Reads the hours page by page, so that it reads few more than the limit needs, whether each has one report or 60. */
async function readByMinute(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit: number,
): Promise<BucketTotals[]> {
  const buckets: BucketTotals[] = []
  for await (const rows of readPages(db, monitorId, span, Math.ceil(limit / 60) + 1)) {
    for (const row of rows) {
      for (const { minute } of minutesWithin(span, row)) {
        const totals = emptyTotals()
        addMinutes(totals, row, minute % 60, (minute % 60) + 1)
        buckets.push({ minute, totals })
      }
    }
    if (buckets.length >= limit) break
  }
  return buckets.slice(0, limit)
}

async function readByHour(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit: number,
): Promise<BucketTotals[]> {
  // Two more, because the first and the last hour may have no reports within the span.
  const hours = await readHours(db, monitorId, span, limit + 2)
  return hours.filter(isReported).slice(0, limit)
}

/** Reads minutes only for the first and the last hour, which may lie partly within the span. */
async function readHours(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit?: number,
): Promise<BucketTotals[]> {
  const [first, end] = [hourOf(span.from), hourAfter(span.to)]
  const { rows } = await sql<HourRow & StoredTotals>`
    select hour, up, degraded, down, maintenance, latency_count, latency_sum,
      case when hour in (${first}, ${end - 1}) then statuses end as statuses,
      case when hour in (${first}, ${end - 1}) then latencies end as latencies
    from monitor_hours
    where monitor_id = ${monitorId} and hour >= ${first} and hour < ${end}
    order by hour limit ${limit ?? null}`.execute(db)
  return rows.map((row) => {
    const [start, stop] = within(span, row.hour)
    if (start === 0 && stop === 60) return { minute: row.hour * 60, totals: toTotals(row) }
    const totals = emptyTotals()
    addMinutes(totals, row, start, stop)
    return { minute: row.hour * 60, totals }
  })
}

/** Reads whole days from their totals, which outlive the minutes, and partial days from hours. */
async function readByDay(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit: number,
): Promise<BucketTotals[]> {
  const firstWhole = Math.ceil(span.from / 1440)
  const endWhole = Math.floor(span.to / 1440)
  const { rows } = await sql<{ day: number } & StoredTotals>`
    select * from monitor_days
    where monitor_id = ${monitorId} and day >= ${firstWhole} and day < ${endWhole}
      and up + degraded + down + maintenance > 0
    order by day limit ${limit}`.execute(db)
  const days = rows.map((row) => ({ minute: row.day * 1440, totals: toTotals(row) }))
  const parts =
    firstWhole > endWhole
      ? [span]
      : [
          { from: span.from, to: firstWhole * 1440 },
          { from: endWhole * 1440, to: span.to },
        ]
  for (const part of parts) {
    if (part.from >= part.to) continue
    const totals = emptyTotals()
    for (const hour of await readHours(db, monitorId, part)) addTotals(totals, hour.totals)
    days.push({ minute: Math.floor(part.from / 1440) * 1440, totals })
  }
  return days
    .filter(isReported)
    .sort((a, b) => a.minute - b.minute)
    .slice(0, limit)
}

/** Yields the reported minutes of the span, ascending, in pages. */
export async function* readAllMinutes(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
): AsyncGenerator<ReportedMinute[], void> {
  for await (const rows of readPages(db, monitorId, span))
    yield rows.flatMap((row) => minutesWithin(span, row))
}

/** Hours per statement, so that a long span never exceeds the statement timeout. */
const maxPageHours = 7 * 24

/**
 * Yields the stored hours of the span, ascending.
 * @param pageHours number of hours on the first page; it doubles with each page, up to the maximum
 */
async function* readPages(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  pageHours = maxPageHours,
): AsyncGenerator<HourRow[], void> {
  for (let first = hourOf(span.from), limit = pageHours; ; limit *= 2) {
    limit = Math.min(limit, maxPageHours)
    const { rows } = await sql<HourRow>`
      select hour, statuses, latencies from monitor_hours
      where monitor_id = ${monitorId} and hour >= ${first} and hour < ${hourAfter(span.to)}
      order by hour limit ${limit}`.execute(db)
    yield rows
    const last = rows.at(-1)
    if (!last || rows.length < limit) return
    first = last.hour + 1
  }
}

type HourRow = HourMinutes & { hour: number }

const hourOf = (minute: number) => Math.floor(minute / 60)
const hourAfter = (minute: number) => Math.ceil(minute / 60)

/** Returns the minutes of an hour that lie within the span. */
function within(span: Span, hour: number): [first: number, end: number] {
  return [Math.max(span.from - hour * 60, 0), Math.min(span.to - hour * 60, 60)]
}

function minutesWithin(span: Span, row: HourRow): ReportedMinute[] {
  return readMinutes(row, ...within(span, row.hour)).map((report) => ({
    ...report,
    minute: row.hour * 60 + report.minute,
  }))
}

function isReported({ totals }: BucketTotals): boolean {
  return totals.up + totals.degraded + totals.down + totals.maintenance > 0
}
