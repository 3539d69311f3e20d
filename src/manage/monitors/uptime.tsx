import { DayBars, DayLegend, formatUptime, toDates } from '../../html/days.tsx'
import type { Monitor } from '../../monitors/repository.ts'
import type { Bucket } from '../../reports/series.ts'
import { type MonitorDay, shownDays } from '../../status/page.ts'

/** Returns one item per day. Null: nothing was reported. */
export function toDays(buckets: Bucket[], firstDay: number): (MonitorDay | null)[] {
  const days = Array<MonitorDay | null>(shownDays).fill(null)
  for (const bucket of buckets)
    if (bucket.uptime !== null) days[bucket.minute / 1440 - firstDay] = { ...bucket, uptime: bucket.uptime }
  return days
}

const spans = [
  ['24h', '24 hours'],
  ['7d', '7 days'],
  ['30d', '30 days'],
  ['90d', '90 days'],
] as const

type UptimeProps = { monitor: Monitor; days: (MonitorDay | null)[]; firstDay: number }

export function Uptime({ monitor: { uptime }, days, firstDay }: UptimeProps) {
  return (
    <section class="card" aria-labelledby="uptime">
      <h2 id="uptime">Uptime</h2>
      <dl class="figures">
        {spans.map(([span, label]) => (
          <div key={span}>
            <dt>{label}</dt>
            <dd>{uptime[span] === null ? <span class="muted">No data</span> : formatUptime(uptime[span])}</dd>
          </div>
        ))}
      </dl>
      <DayBars days={days} dates={toDates(firstDay)} />
      <div class="axis muted" aria-hidden="true">
        <span>{shownDays} days ago</span>
        <span>today</span>
      </div>
      <DayLegend>Days are in UTC.</DayLegend>
    </section>
  )
}
