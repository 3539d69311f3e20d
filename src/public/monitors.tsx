import { type Status, statusesBySeverity } from '../enums.ts'
import { DayBars, DayLegend, formatUptime, toDates } from '../html/days.tsx'
import { type PageMonitor, shownDays, type StatusPage } from '../status/page.ts'
import { StatusIcon, StatusLabel } from './ui.tsx'

/** With more monitors, only the categories with impaired ones are open at first. */
const maxOpenMonitors = 60

const byName = new Intl.Collator('en', { numeric: true })

type Category = { name: string | null; monitors: PageMonitor[] }

export function Monitors({ page }: { page: StatusPage }) {
  const categories = groupByCategory(page.monitors)
  const dates = toDates(page.firstDay)
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
      <DayLegend>Percentages: uptime of {shownDays} days. Days are in UTC.</DayLegend>
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
      <DayBars days={monitor.days} dates={dates} />
      <span class="uptime">
        {uptime === null ? '–' : formatUptime(uptime)}
        <span class="hidden">{uptime === null ? 'no uptime yet' : ` uptime in ${shownDays} days`}</span>
      </span>
      <StatusLabel status={status} />
    </li>
  )
}
