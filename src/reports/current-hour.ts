import { type Kysely, type RawBuilder, sql } from 'kysely'
import { pipelineTransaction } from '../database/pipeline.ts'
import { precompiled } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { reportStatuses, statusColumns } from '../enums.ts'
import { spanTotalsLength } from '../monitors/uptime.ts'
import { maxClockSkewMinutes, type MonitorReports, type Report, type WriteResult } from './repository.ts'
import { list } from './stored-hours.ts'

/**
 * Writes reports about one minute of the current hour, which are nearly all reports, in one round trip: the database
 * itself changes the minute and the totals. Other reports must be read, changed and written here, which takes two round
 * trips and twice as much CPU time per report (docs/decisions/0009).
 *
 * @returns undefined for the items that were not written: those about other minutes, or several of them, and those about
 * monitors that do not exist or are locked by another transaction
 */
export async function writeCurrentReports(
  db: Kysely<Tables>,
  items: MonitorReports[],
): Promise<(WriteResult | undefined)[]> {
  const reports = singleReports(items)
  if (reports.size === 0) return items.map(() => undefined)
  const tags = [...reports.keys()]
  const values = [...reports.values()]
  const [row] = await pipelineTransaction(db, (trx) => {
    const locked = lockMonitorsOrSkip(trx, [tags])
    const written = writeMinutes(trx, [
      list(values.map(({ from }) => from ?? null)),
      list(values.map(({ second }) => second ?? 0)),
      list(values.map(({ status }) => reportStatuses.indexOf(status) + 1)),
      list(values.map(({ latency_ms }) => latency_ms)),
    ])
    return Promise.resolve({ result: written, pending: Promise.all([locked, written]) })
  })
  const written = new Set(row?.positions.map((position) => tags[position - 1]))
  return items.map(({ tag }) => (written.has(tag) ? { outcome: 'written', minutes: 1 } : undefined))
}

type SingleReport = Report & { to?: undefined; latency_ms: number | null }

/** Returns the last report about each monitor whose reports are all about the same minute. */
function singleReports(items: MonitorReports[]): Map<string, SingleReport> {
  const single = new Map<string, SingleReport>()
  const others = new Set<string>()
  for (const { tag, reports } of items) {
    const [report] = reports
    const isSame = !single.has(tag) || single.get(tag)?.from === report?.from
    if (report && reports.length === 1 && isSame && isSingle(report)) single.set(tag, report)
    else others.add(tag)
  }
  for (const tag of others) single.delete(tag)
  return single
}

function isSingle(report: Report): report is SingleReport {
  return report.to === undefined && !(report.latency_ms instanceof Uint32Array)
}

/** Setting of a transaction: the ids of the locked monitors, in the order of the reports. */
const lockedIds = sql.lit('kener_api.locked_monitors')

/**
 * Locks the monitors with the tags $1 until commit, except those that another transaction locks: so it never waits, and the
 * order does not matter.
 *
 * The statement that writes is sent before there is a result, so the ids are passed to it within the database. It is a
 * statement of its own, so that it sees what was written before the monitors were locked.
 */
const lockMonitorsOrSkip = precompiled(sql`
  select set_config(${lockedIds}, array(
    select (select id from monitors where monitors.tag = item.tag for no key update skip locked)
    from unnest($1::text[]) as item (tag)
  )::text, true)`)

const changes = statusColumns.map((status) => sql.ref(`change_${status}`))

/** SQL for the latency of a minute, as in src/reports/hour-codec.ts. Its first byte is at most 5; 255 means that there is none. */
const storedLatency = sql`case when get_byte(hours.latencies, at * 4) <> 255 then
  (get_byte(hours.latencies, at * 4) << 24) + (get_byte(hours.latencies, at * 4 + 1) << 16)
  + (get_byte(hours.latencies, at * 4 + 2) << 8) + get_byte(hours.latencies, at * 4 + 3) end`

const addToTotals = sql`${sql.join(
  statusColumns.map((name) => sql`${sql.ref(name)} = stored.${sql.ref(name)} + ${sql.ref(`change_${name}`)}`),
)}, latency_count = stored.latency_count + change_count, latency_sum = stored.latency_sum + change_sum`

/** Writes columns of the newest report. */
const ifNewest = (name: string, value: RawBuilder<unknown>) =>
  sql`${sql.ref(name)} = case when changed.minute >= stored.minute then ${value} else stored.${sql.ref(name)} end`

/**
 * Writes one minute of each monitor that lockMonitorsOrSkip has locked. $1: minutes, null for the current one, $2: seconds, $3:
 * statuses as numbers, $4: latencies. Returns the positions of the reports that were written. Minutes are bigint, because
 * those after the year 6052, which are rejected later, exceed integer.
 */
const writeMinutes = precompiled<{ positions: number[] }>(sql`
  with clock as materialized (
    select now / 60 as minute, now % 60 as second, now / 3600 as hour
    from (select floor(extract(epoch from now()))::bigint as now offset 0) as seconds
  ), report as materialized (
    select position, monitor_id, coalesce(report.minute, clock.minute)::integer as minute, hour::integer,
      (case when report.minute is null then clock.second else report.second end)::smallint as second,
      status, latency_ms, (coalesce(report.minute, clock.minute) % 60)::integer as at
    from clock, unnest(
      current_setting(${lockedIds})::integer[], $1::bigint[], $2::smallint[], $3::smallint[], $4::integer[]
    ) with ordinality as report (monitor_id, minute, second, status, latency_ms, position)
    where monitor_id is not null and (
      report.minute is null or
      report.minute / 60 = hour and report.minute <= clock.minute + ${sql.lit(maxClockSkewMinutes)}
    )
  ), compared as materialized (
    select report.*, get_byte(statuses, at) as stored_status, ${storedLatency} as stored_latency
    from report
    cross join lateral (
      select statuses, latencies from monitor_hours where monitor_id = report.monitor_id and hour = report.hour offset 0
    ) as hours
    cross join lateral (
      select totals_hour, past_hour from last_reports where monitor_id = report.monitor_id offset 0
    ) as last
    where totals_hour = report.hour and past_hour is null
  ), changed as materialized (
    select *,
      ${sql.join(
        statusColumns.map((name, index) => {
          const code = sql.lit(index + 1)
          return sql`(status = ${code})::integer - (stored_status = ${code})::integer as ${sql.ref(`change_${name}`)}`
        }),
      )},
      (latency_ms is not null)::integer - (stored_latency is not null)::integer as change_count,
      coalesce(latency_ms, 0) - coalesce(stored_latency, 0) as change_sum
    from compared
  ), written_hours as (
    update monitor_hours as stored set ${addToTotals},
      statuses = set_byte(statuses, at, status),
      latencies = overlay(latencies placing int4send(coalesce(latency_ms, -1)) from at * 4 + 1)
    from changed where stored.monitor_id = changed.monitor_id and stored.hour = changed.hour
  ), written_days as (
    update monitor_days as stored set ${addToTotals}
    from changed where stored.monitor_id = changed.monitor_id and day = changed.hour / 24
  ), written_latest as (
    update last_reports as stored set
      ${ifNewest('minute', sql`changed.minute`)}, ${ifNewest('second', sql`changed.second`)},
      ${ifNewest('reported_at', sql`changed.minute * 60::bigint + changed.second`)},
      ${ifNewest('status', sql`(array[${sql.join(reportStatuses.map((status) => sql.lit(status)))}])[changed.status]`)},
      ${ifNewest('latency_ms', sql`changed.latency_ms`)},
      totals = array[${sql.join(
        Array.from(
          { length: spanTotalsLength },
          (_, index) => sql`totals[${sql.lit(index + 1)}] + ${changes[index % changes.length]}`,
        ),
      )}]
    from changed where stored.monitor_id = changed.monitor_id
  )
  select to_json(array(select position from changed)) as positions`)
