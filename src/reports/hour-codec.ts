import { type ReportStatus, reportStatuses } from '../enums.ts'

/** How the minutes of an hour stand in a row of `monitor_hours`. Pure arithmetic, no SQL. */

export type Totals = {
  up: number
  degraded: number
  down: number
  maintenance: number
  latencyCount: number
  latencySum: number
}

export type Hour = { totals: Totals; statuses: Buffer; latencies: Buffer }

/** The same report for the minutes [first, end) of an hour, but for a latency that differs by the minute. */
export type ReportRange = {
  first: number
  end: number
  status: ReportStatus
  latencyMs: number | null | ((minute: number) => number)
}

const noLatency = 0xffffffff

const columns = ['up', 'degraded', 'down', 'maintenance'] as const

export function emptyTotals(): Totals {
  return { up: 0, degraded: 0, down: 0, maintenance: 0, latencyCount: 0, latencySum: 0 }
}

export function emptyHour(): Hour {
  return { totals: emptyTotals(), statuses: Buffer.alloc(60), latencies: Buffer.alloc(240, 0xff) }
}

/** Adds to `sums`, or with `sign` -1 takes away, what the minutes [first, end) of an hour hold. */
export function addMinutes(
  totals: Totals,
  { statuses, latencies }: Hour,
  first: number,
  end: number,
  sign = 1,
): void {
  for (let minute = first; minute < end; minute++) {
    const column = columns[(statuses[minute] ?? 0) - 1]
    if (column === undefined) continue
    totals[column] += sign
    const latency = latencies.readUInt32BE(minute * 4)
    if (latency === noLatency) continue
    totals.latencyCount += sign
    totals.latencySum += sign * latency
  }
}

/** Writes a report over what the minutes held before, and keeps the hour's sums. */
export function writeRange(hour: Hour, { first, end, status, latencyMs }: ReportRange): void {
  addMinutes(hour.totals, hour, first, end, -1)
  hour.statuses.fill(reportStatuses.indexOf(status) + 1, first, end)
  for (let minute = first; minute < end; minute++) {
    const latency = typeof latencyMs === 'function' ? latencyMs(minute) : latencyMs
    hour.latencies.writeUInt32BE(latency ?? noLatency, minute * 4)
  }
  addMinutes(hour.totals, hour, first, end)
}

/** The minutes of [first, end) that were reported. */
export function readMinutes({ statuses, latencies }: Hour, first: number, end: number) {
  const reported: { minute: number; status: ReportStatus; latencyMs: number | null }[] = []
  for (let minute = first; minute < end; minute++) {
    const status = reportStatuses[(statuses[minute] ?? 0) - 1]
    if (status === undefined) continue
    const latency = latencies.readUInt32BE(minute * 4)
    reported.push({ minute, status, latencyMs: latency === noLatency ? null : latency })
  }
  return reported
}

export function addTotals(to: Totals, from: Totals, sign = 1): void {
  for (const name of Object.keys(to) as (keyof Totals)[]) to[name] += sign * from[name]
}
