import type { Bucket } from '../../reports/series.ts'
import { BarChart } from '../chart.tsx'
import { formatNumber } from '../format.ts'
import { DateTime } from '../ui.tsx'

/** The chart shows 24 hours. */
export const latencyMinutes = 1440

/** Minutes of a bar: enough bars to see a short peak, and few enough to tell them apart on a phone. */
const barMinutes = 15

type Props = {
  /** Reports of the last 24 hours. */
  minutes: Bucket[]
  /** The first minute, since 1970. */
  from: number
}

export function Latency({ minutes, from }: Props) {
  const measured = minutes.flatMap(({ minute, latency_ms: latency }) =>
    latency === null ? [] : [{ minute, latency }],
  )
  const bars = Array.from({ length: latencyMinutes / barMinutes }, (_, index) => {
    const start = from + index * barMinutes
    const latencies = measured.flatMap(({ minute, latency }) =>
      minute >= start && minute < start + barMinutes ? [latency] : [],
    )
    const value = mean(latencies)
    return {
      value,
      title: `${formatSpan(start)}: ${latencies.length > 0 ? formatMs(value) : 'not measured'}`,
    }
  })
  const { summary, peak } = describe(measured)
  return (
    <section class="card" aria-labelledby="latency">
      <div class="heading">
        <h2 id="latency">Latency</h2>
        <p class="muted">
          {summary}
          {peak && (
            <>
              {' '}
              · <DateTime time={peak} />
            </>
          )}
        </p>
      </div>
      <BarChart
        bars={bars}
        label={`Latency of the last 24 hours, mean of each ${barMinutes} minutes. ${summary}`}
        format={formatMs}
        axis={['24 hours ago', 'now']}
      />
    </section>
  )
}

/** Sums up the measurements, and returns when the slowest was made. */
function describe(measured: { minute: number; latency: number }[]): { summary: string; peak?: Date } {
  const [first, ...others] = measured
  if (!first) return { summary: 'Not measured in the last 24 hours' }
  const slowest = others.reduce((slowest, each) => (each.latency > slowest.latency ? each : slowest), first)
  const average = mean(measured.map(({ latency }) => latency))
  return {
    summary: `Mean ${formatMs(average)}, at most ${formatMs(slowest.latency)}`,
    peak: new Date(slowest.minute * 60_000),
  }
}

function mean(values: number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}

function formatMs(latency: number): string {
  return `${formatNumber(Math.round(latency))} ms`
}

function formatSpan(start: number): string {
  return `${formatTimeOfDay(start)}–${formatTimeOfDay(start + barMinutes)} UTC`
}

/** @param minute since 1970 */
function formatTimeOfDay(minute: number): string {
  return new Date(minute * 60_000).toISOString().slice(11, 16)
}
