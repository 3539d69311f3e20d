import type { StoredTotals } from '../database/schema.ts'
import { type ReportStatus, reportStatuses, statusColumns } from '../enums.ts'

/**
 * Encoding of the 60 minutes of an hour in a row of `monitor_hours`: one byte per minute for the status (0: not
 * reported) and four for the latency in milliseconds, with totals next to them.
 */

/** Number of reported minutes per status, and of the latencies in milliseconds. */
export type Totals = Omit<StoredTotals, 'latency_sum'> & { latency_sum: number }

export type HourMinutes = { statuses: Buffer; latencies: Buffer }

export type Hour = HourMinutes & { totals: Totals }

/** A number or null applies to every minute; an array has one latency per minute, in milliseconds. */
export type Latency = number | null | Uint32Array

/** One status for the minutes [first, end) of an hour. */
export type HourReport = { first: number; end: number; status: ReportStatus; latency_ms: Latency }

const noLatency = 0xffffffff

const noStatuses = Buffer.alloc(60)
const noLatencies = Buffer.alloc(240, 0xff)

const totalNames = [...statusColumns, 'latency_count', 'latency_sum'] as const

export function emptyTotals(): Totals {
  return { up: 0, degraded: 0, down: 0, maintenance: 0, latency_count: 0, latency_sum: 0 }
}

export function toTotals(row: StoredTotals): Totals {
  const { up, degraded, down, maintenance, latency_count } = row
  return { up, degraded, down, maintenance, latency_count, latency_sum: Number(row.latency_sum) }
}

/** Adds `from` to `to`, or subtracts it with `sign` -1. */
export function addTotals(to: Totals, from: Totals, sign = 1): void {
  for (const name of totalNames) to[name] += sign * from[name]
}

/** The buffers are copies, which Node allocates from a pool: a third of the time of Buffer.alloc. */
export function emptyHour(): Hour {
  return { totals: emptyTotals(), statuses: Buffer.from(noStatuses), latencies: Buffer.from(noLatencies) }
}

/** Adds the minutes [first, end) of an hour to the totals, or subtracts them with `sign` -1. */
export function addMinutes(
  totals: Totals,
  { statuses, latencies }: HourMinutes,
  first: number,
  end: number,
  sign = 1,
): void {
  for (let minute = first; minute < end; minute++) {
    const column = statusColumns[(statuses[minute] ?? 0) - 1]
    if (column === undefined) continue
    totals[column] += sign
    const latency = latencies.readUInt32BE(minute * 4)
    if (latency === noLatency) continue
    totals.latency_count += sign
    totals.latency_sum += sign * latency
  }
}

/** Overwrites the minutes of the report, and updates the totals of the hour. */
export function writeReport(hour: Hour, { first, end, status, latency_ms }: HourReport): void {
  const minutes = end - first
  // Long reports consist of whole hours, which need no loop.
  if (minutes === 60) hour.totals = emptyTotals()
  else addMinutes(hour.totals, hour, first, end, -1)
  const index = reportStatuses.indexOf(status)
  hour.statuses.fill(index + 1, first, end)
  if (latency_ms instanceof Uint32Array) {
    latency_ms.forEach((latency, offset) => hour.latencies.writeUInt32BE(latency, (first + offset) * 4))
    addMinutes(hour.totals, hour, first, end)
    return
  }
  for (let minute = first; minute < end; minute++) {
    hour.latencies.writeUInt32BE(latency_ms ?? noLatency, minute * 4)
  }
  const column = statusColumns[index]
  if (column) hour.totals[column] += minutes
  if (latency_ms === null) return
  hour.totals.latency_count += minutes
  hour.totals.latency_sum += minutes * latency_ms
}

/** Returns the reported minutes of [first, end). */
export function readMinutes({ statuses, latencies }: HourMinutes, first: number, end: number) {
  const reported: { minute: number; status: ReportStatus; latency_ms: number | null }[] = []
  for (let minute = first; minute < end; minute++) {
    const status = reportStatuses[(statuses[minute] ?? 0) - 1]
    if (status === undefined) continue
    const latency = latencies.readUInt32BE(minute * 4)
    reported.push({ minute, status, latency_ms: latency === noLatency ? null : latency })
  }
  return reported
}
