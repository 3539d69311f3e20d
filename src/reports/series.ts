import { type Kysely, sql } from 'kysely'
import type { StoredTotals, Tables } from '../database/schema.ts'
import type { ReportStatus } from '../enums.ts'
import { addMinutes, addTotals, emptyTotals, type Hour, readMinutes, type Totals } from './hour-codec.ts'
import { toTotals } from './writer.ts'

export type Interval = 'minute' | 'hour' | 'day'

/** What was reported of one minute, hour or day (of UTC) that begins at `minute`, counted since 1970. */
export type Bucket = { minute: number; totals: Totals }

/** [from, to), in minutes since 1970. */
export type Span = { from: number; to: number }

/** The buckets in which something was reported, ascending; those at the ends hold just what lies within the span. */
export async function readBuckets(
  db: Kysely<Tables>,
  monitorId: number,
  interval: Interval,
  span: Span,
  limit: number,
): Promise<Bucket[]> {
  if (interval === 'minute') return readByMinute(db, monitorId, span, limit)
  if (interval === 'hour') return readByHour(db, monitorId, span, limit)
  return readByDay(db, monitorId, span, limit)
}

/** No more hours than the limit needs: those before which fewer minutes were reported. */
async function readByMinute(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit: number,
): Promise<Bucket[]> {
  const { rows } = await sql<HourRow>`
    select hour, statuses, latencies from (
      select hour, statuses, latencies,
        sum(up + degraded + down + maintenance) over (order by hour rows between unbounded preceding and 1 preceding)
          as reported_before
      from monitor_hours
      where monitor_id = ${monitorId} and hour >= ${hourOf(span.from)} and hour < ${hourAfter(span.to)}
    ) as hours
    where coalesce(reported_before, 0) < ${limit + 60}
    order by hour`.execute(db)
  const buckets = rows.flatMap((row) => {
    const hour = toHour(row)
    return minutesWithin(span, row).map(({ minute }) => {
      const totals = emptyTotals()
      addMinutes(totals, hour, minute % 60, (minute % 60) + 1)
      return { minute, totals }
    })
  })
  return buckets.slice(0, limit)
}

/** A week at a time: less than anyone would wait for. */
const pageHours = 7 * 24

/** The minutes that were reported of, ascending; as many as there are, so page by page. */
export async function* readAllMinutes(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
): AsyncGenerator<ReportedMinute[], void> {
  for (let first = hourOf(span.from); ;) {
    const { rows } = await sql<HourRow>`
      select hour, statuses, latencies from monitor_hours
      where monitor_id = ${monitorId} and hour >= ${first} and hour < ${hourAfter(span.to)}
      order by hour limit ${pageHours}`.execute(db)
    yield rows.flatMap((row) => minutesWithin(span, row))
    const last = rows.at(-1)
    if (!last || rows.length < pageHours) return
    first = last.hour + 1
  }
}

/** `minute` is counted since 1970. */
export type ReportedMinute = { minute: number; status: ReportStatus; latencyMs: number | null }

function minutesWithin(span: Span, row: HourRow): ReportedMinute[] {
  return readMinutes(toHour(row), ...within(span, row.hour)).map(({ minute, ...report }) => ({
    minute: row.hour * 60 + minute,
    ...report,
  }))
}

function toHour({ statuses, latencies }: HourRow): Hour {
  return { totals: emptyTotals(), statuses, latencies }
}

/** The minutes are read for the two ends alone, where an hour may lie within the span in part. */
async function readByHour(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit: number,
): Promise<Bucket[]> {
  // Two more, since an hour at either end may turn out to have nothing within the span.
  const hours = await readHours(db, monitorId, span, limit + 2)
  return hours.filter(isReported).slice(0, limit)
}

async function readHours(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit?: number,
): Promise<Bucket[]> {
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
    addMinutes(totals, { totals, statuses: row.statuses, latencies: row.latencies }, start, stop)
    return { minute: row.hour * 60, totals }
  })
}

/** Whole days from their sums, which outlive the minutes; what lies within the span of the two at the ends, from hours. */
async function readByDay(
  db: Kysely<Tables>,
  monitorId: number,
  span: Span,
  limit: number,
): Promise<Bucket[]> {
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

type HourRow = Omit<Hour, 'sums'> & { hour: number }

const hourOf = (minute: number) => Math.floor(minute / 60)
const hourAfter = (minute: number) => Math.ceil(minute / 60)

/** The minutes of an hour that lie within the span. */
function within(span: Span, hour: number): [first: number, end: number] {
  return [Math.max(span.from - hour * 60, 0), Math.min(span.to - hour * 60, 60)]
}

function isReported({ totals }: Bucket): boolean {
  return totals.up + totals.degraded + totals.down + totals.maintenance > 0
}
