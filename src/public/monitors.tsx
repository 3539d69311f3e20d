import { type Status, statusesBySeverity } from '../enums.ts'
import { type MonitorDay, type PageMonitor, shownDays, type StatusPage } from '../status/page.ts'
import { formatDate, formatDuration } from '../wire/time-text.ts'
import { StatusIcon, StatusLabel } from './ui.tsx'

/** With more monitors, only the categories with impaired ones are open at first. */
const maxOpenMonitors = 60

/** Share of the reported minutes below which a day counts as an outage, and not as a short disruption. */
const outageUptime = 0.95

const byName = new Intl.Collator('en', { numeric: true })

type Category = { name: string | null; monitors: PageMonitor[] }

export function Monitors({ page }: { page: StatusPage }) {
  const categories = groupByCategory(page.monitors)
  const dates = Array.from({ length: shownDays }, (_, index) =>
    formatDate(new Date((page.firstDay + index) * 86_400_000)),
  )
  const total = Object.values(page.counts).reduce((sum, count) => sum + count, 0)
  const isOpen = ({ name, monitors }: Category) =>
    total <= maxOpenMonitors || name === null || monitors.some(({ status }) => isImpaired(status))
  return (
    <section class="systems" aria-labelledby="systems">
      <h2 id="systems" class="hidden">
        Systems
      </h2>
      {categories.map((category) => (
        <details key={category.name} class="category" open={isOpen(category)}>
          <summary>
            <h3>{category.name ?? (categories.length > 1 ? 'Other systems' : 'Systems')}</h3>
            <span class="axis" aria-hidden="true">
              <span>{shownDays} days ago</span>
              <span>Today</span>
            </span>
            <CategoryStatus monitors={category.monitors} />
          </summary>
          <ul>
            {category.monitors.map((monitor) => (
              <MonitorRow key={monitor.tag} monitor={monitor} dates={dates} />
            ))}
          </ul>
        </details>
      ))}
      {total > page.monitors.length && (
        <p class="muted">
          {total - page.monitors.length} more systems have no worse status, and are not listed here.
        </p>
      )}
      <Legend />
    </section>
  )
}

/** Sorts categories and their monitors by name. Monitors without a category are the last. */
function groupByCategory(monitors: PageMonitor[]): Category[] {
  const categories = new Map<string | null, PageMonitor[]>()
  for (const monitor of monitors) {
    const name = monitor.category_name === '' ? null : monitor.category_name
    categories.set(name, [...(categories.get(name) ?? []), monitor])
  }
  return [...categories]
    .map(([name, monitors]) => ({
      name,
      monitors: monitors.sort((a, b) => byName.compare(a.name, b.name)),
    }))
    .sort((a, b) => {
      if (a.name === null || b.name === null) return a.name === null ? 1 : -1
      return byName.compare(a.name, b.name)
    })
}

function isImpaired(status: Status): boolean {
  return status !== 'UP' && status !== 'NO_DATA'
}

function CategoryStatus({ monitors }: { monitors: PageMonitor[] }) {
  const impaired = monitors.filter(({ status }) => isImpaired(status)).length
  const text = monitors.length === 1 ? '1 system' : `${monitors.length} systems`
  const worst = statusesBySeverity.find((status) => monitors.some((monitor) => monitor.status === status))
  return (
    <span class="count">
      {worst && <StatusIcon status={worst} />} {impaired === 0 ? text : `${text}, ${impaired} impaired`}
    </span>
  )
}

function MonitorRow({ monitor, dates }: { monitor: PageMonitor; dates: string[] }) {
  const { name, description, external_url: url, uptime, status } = monitor
  return (
    <li>
      <div class="name">
        {url !== null && /^https?:\/\//i.test(url) ? (
          <a href={url} rel="noopener nofollow">
            {name}
          </a>
        ) : (
          name
        )}
        {description !== null && description !== '' && <p class="about">{description}</p>}
      </div>
      <Bars monitor={monitor} dates={dates} />
      <span class="uptime">
        {uptime === null ? '–' : formatUptime(uptime)}
        <span class="hidden">{uptime === null ? 'no uptime yet' : ` uptime in ${shownDays} days`}</span>
      </span>
      <StatusLabel status={status} />
    </li>
  )
}

/**
 * Renders a bar per day. An element per day is needed for its title; screen readers read the label of all instead. Days
 * without disruption have no class, because a page has thousands of them. They are written as text, because rendering
 * the 27,000 elements of 300 monitors blocks the process for 75 ms: it contains nothing but dates, numbers and our words.
 */
function Bars({ monitor, dates }: { monitor: PageMonitor; dates: string[] }) {
  const bars = monitor.days.map((day, index) => {
    const name = dayClass(day)
    return `<i${name ? ` class="${name}"` : ''} title="${dates[index] ?? ''}: ${describeDay(day)}"></i>`
  })
  return (
    <div
      class="bars"
      role="img"
      aria-label={describeDays(monitor.days, dates)}
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
function formatUptime(uptime: number): string {
  return uptime === 1 ? '100%' : `${(Math.floor(uptime * 10_000) / 100).toFixed(2)}%`
}

function Legend() {
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
      <span>Percentages: uptime of {shownDays} days. Days are in UTC.</span>
    </p>
  )
}

const legend = [
  ['up', 'No outage'],
  ['degraded', 'Degraded, or a short outage'],
  ['down', 'Outage: less than 95% uptime'],
  ['maintenance', 'Maintenance'],
  ['none', 'No data'],
]
