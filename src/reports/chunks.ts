import type { ReportStatus } from '../enums.ts'
import type { HourReport, Latency } from './hour-codec.ts'

/** A report about the minutes [from, to), in minutes since 1970. */
export type ResolvedReport = {
  monitor_id: number
  from: number
  to: number
  second: number
  status: ReportStatus
  latency_ms: Latency
}

/** The part of a report that lies within one hour. */
export type MonitorHourReport = HourReport & { monitor_id: number; hour: number }

/** Hours per statement, so that other requests are served while a year is written: docs/decisions/0009-speed.md */
const maxChunkHours = 48

/** Splits reports at the hours, in the same order. A chunk at a time, because a year has 8,784 hours. */
export function* toChunks(reports: ResolvedReport[]): Generator<MonitorHourReport[]> {
  let chunk: MonitorHourReport[] = []
  let hours = new Set<string>()
  for (const report of reports) {
    for (const part of splitByHour(report)) {
      if (hours.size === maxChunkHours) {
        yield chunk
        chunk = []
        hours = new Set()
      }
      hours.add(hourKey(part))
      chunk.push(part)
    }
  }
  if (chunk.length > 0) yield chunk
}

function* splitByHour(report: ResolvedReport): Generator<MonitorHourReport> {
  const { monitor_id, from, to, status, latency_ms } = report
  for (let hour = Math.floor(from / 60); hour * 60 < to; hour++) {
    const start = hour * 60
    const [first, end] = [Math.max(from, start), Math.min(to, start + 60)]
    const latency =
      latency_ms instanceof Uint32Array ? latency_ms.subarray(first - from, end - from) : latency_ms
    yield { monitor_id, hour, first: first - start, end: end - start, status, latency_ms: latency }
  }
}

export function hourKey({ monitor_id, hour }: { monitor_id: number; hour: number }): string {
  return `${monitor_id}:${hour}`
}
