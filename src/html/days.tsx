import type { ComponentChildren } from 'preact'
import { type MonitorDay, shownDays } from '../status/page.ts'
import { formatDate, formatDuration } from '../wire/time-text.ts'

/** Share of the reported minutes below which a day counts as an outage, and not as a short disruption. */
const outageUptime = 0.95

/** Returns the names of the days, in UTC. @param firstDay since 1970 */
export function toDates(firstDay: number): string[] {
  return Array.from({ length: shownDays }, (_, index) =>
    formatDate(new Date((firstDay + index) * 86_400_000)),
  )
}

type Props = {
  /** Oldest first. Null: nothing was reported. */
  days: (MonitorDay | null)[]
  /** As of toDates, which a page calls once. */
  dates: string[]
}

/**
 * Renders a bar per day. An element per day is needed for its title; screen readers read the label of all instead. Days
 * without disruption have no class, because a page has thousands of them. They are written as text, because rendering
 * the 27,000 elements of 300 monitors blocks the process for 75 ms: it contains nothing but dates, numbers and our words.
 */
export function DayBars({ days, dates }: Props) {
  const bars = days.map((day, index) => {
    const name = dayClass(day)
    return `<i${name ? ` class="${name}"` : ''} title="${dates[index] ?? ''}: ${describeDay(day)}"></i>`
  })
  return (
    <div
      class="bars"
      role="img"
      aria-label={describeDays(days, dates)}
      dangerouslySetInnerHTML={{ __html: bars.join('') }}
    />
  )
}

function dayClass(day: MonitorDay | null): string | undefined {
  if (day === null) return 'none'
  if (day.uptime < outageUptime) return 'down'
  if (day.uptime < 1 || day.degraded > 0) return 'degraded'
  return day.maintenance > 0 ? 'maintenance' : undefined
}

function describeDay(day: MonitorDay | null): string {
  if (day === null) return 'no data'
  const { uptime, down, degraded, maintenance } = day
  if (down + degraded + maintenance === 0) return '100% uptime'
  const parts = [
    `${formatUptime(uptime)} uptime`,
    down > 0 && `${formatDuration(down * 60)} down`,
    degraded > 0 && `${formatDuration(degraded * 60)} degraded`,
    maintenance > 0 && `${formatDuration(maintenance * 60)} maintenance`,
  ]
  return parts.filter(Boolean).join(', ')
}

/** Days that are described one by one. */
const maxDescribed = 5

function describeDays(days: (MonitorDay | null)[], dates: string[]): string {
  const reported = days.filter((day) => day !== null).length
  if (reported === 0) return `No data in ${shownDays} days`
  const disrupted = days.flatMap((day, index) =>
    day !== null && day.uptime < 1 ? [{ date: dates[index] ?? '', uptime: day.uptime }] : [],
  )
  const span = reported === days.length ? `${shownDays} days` : `${reported} days with data`
  if (disrupted.length === 0) return `No outage in ${span}`
  const worst = disrupted.toSorted((a, b) => a.uptime - b.uptime).slice(0, maxDescribed)
  const list = worst.map(({ date, uptime }) => `${date} ${formatUptime(uptime)}`).join(', ')
  const name = disrupted.length > maxDescribed ? ', the worst' : ''
  return `${disrupted.length} of ${span} below 100% uptime${name}: ${list}`
}

/** `99.31%`. Rounds down, so that only a day without an outage has 100%. */
export function formatUptime(uptime: number): string {
  return uptime === 1 ? '100%' : `${(Math.floor(uptime * 10_000) / 100).toFixed(2)}%`
}

const legend = [
  ['up', 'No outage'],
  ['degraded', 'Degraded, or a short outage'],
  ['down', 'Outage: less than 95% uptime'],
  ['maintenance', 'Maintenance'],
  ['none', 'No data'],
]

/** Explains the bars. @param children a note below */
export function DayLegend({ children }: { children: ComponentChildren }) {
  return (
    <p class="legend">
      {legend.map(([name, text]) => (
        <span key={name}>
          <span class="bars" aria-hidden="true">
            <i class={name === 'up' ? undefined : name} />
          </span>{' '}
          {text}
        </span>
      ))}
      <span>{children}</span>
    </p>
  )
}
