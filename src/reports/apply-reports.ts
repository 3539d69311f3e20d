import { addToSpans, spanTotalsLength } from '../monitors/uptime.ts'
import { hourKey, type MonitorHourReport, type ResolvedReport } from './chunks.ts'
import { addTotals, emptyHour, emptyTotals, type Totals, writeReport } from './hour-codec.ts'
import type { DayTotals, LatestReport, MonitorHour, ReportRows } from './stored-hours.ts'

type NewestReport = Omit<LatestReport, 'totals'>

/**
 * Returns the report about the newest minute of each monitor.
 * @param hour current hour of the database
 */
export function newestReports(reports: ResolvedReport[], hour: number): Map<number, NewestReport> {
  const newest = new Map<number, NewestReport>()
  for (const { monitor_id, to, second, status, latency_ms: latency } of reports) {
    const minute = to - 1
    if (minute < (newest.get(monitor_id)?.minute ?? minute)) continue
    const latency_ms = latency instanceof Uint32Array ? (latency.at(-1) ?? null) : latency
    newest.set(monitor_id, { monitor_id, minute, second, status, latency_ms, hour })
  }
  return newest
}

/**
 * Returns the changed hours, and the changes of days and of the totals of spans.
 * @param stored the hours that were read. It is changed, and hours that it lacks are added.
 */
export function applyReports(
  reports: MonitorHourReport[],
  stored: Map<string, MonitorHour>,
  newest: Map<number, NewestReport>,
): ReportRows {
  const before = new Map<MonitorHour, Totals>()
  for (const report of reports) {
    const key = hourKey(report)
    const { monitor_id, hour } = report
    const hourRow = stored.get(key) ?? { monitor_id, hour, is_removed: false, ...emptyHour() }
    stored.set(key, hourRow)
    if (!before.has(hourRow)) before.set(hourRow, { ...hourRow.totals })
    if (!hourRow.is_removed) writeReport(hourRow, report)
  }
  const days = new Map<string, DayTotals>()
  const latest = new Map<number, LatestReport>()
  for (const [{ monitor_id, hour, totals }, earlier] of before) {
    const change = { ...totals }
    addTotals(change, earlier, -1)
    const day = Math.floor(hour / 24)
    const ofDay = days.get(`${monitor_id}:${day}`) ?? { monitor_id, day, totals: emptyTotals() }
    days.set(`${monitor_id}:${day}`, ofDay)
    addTotals(ofDay.totals, change)
    const report = newest.get(monitor_id)
    if (!report) throw new Error('A monitor without a report is written')
    const ofMonitor = latest.get(monitor_id) ?? { ...report, totals: emptySpans() }
    latest.set(monitor_id, ofMonitor)
    addToSpans(ofMonitor.totals, hour, change, ofMonitor.hour)
  }
  return {
    hours: [...before.keys()].filter((hour) => !hour.is_removed),
    days: [...days.values()],
    latest: [...latest.values()],
  }
}

function emptySpans(): number[] {
  return Array<number>(spanTotalsLength).fill(0)
}
