import { useContext } from 'preact/hooks'
import type { ApiKey } from '../../keys/repository.ts'
import { type UsageBucket, usageIntervals } from '../../keys/usage.ts'
import { permissions } from '../../permissions.ts'
import { BarChart } from '../chart.tsx'
import { formatDate } from '../../wire/time-text.ts'
import { formatNumber } from '../format.ts'
import { Now } from '../ui.tsx'

const dayMs = 86_400_000
const dayCount = usageIntervals.day.defaultCount

type Props = Pick<ApiKey, 'permissions'> & {
  /** Buckets of the last 30 days, by day. */
  usage: UsageBucket[]
}

/** Shows the requests of a key by day, and which of its permissions they needed. */
export function Usage({ permissions: granted, usage }: Props) {
  const today = Math.floor(useContext(Now).getTime() / dayMs)
  const days = Array.from({ length: dayCount }, (_, index) => today - dayCount + 1 + index)
  const byDay = new Map(usage.map((bucket) => [bucket.start, bucket]))
  const total = sum(usage.map(({ requests }) => requests))
  const rejected = sum(usage.map(countRejected))
  const summary = `${formatNumber(total)} in the last ${dayCount} days, ${formatNumber(rejected)} of them rejected`
  return (
    <section class="card" aria-labelledby="usage">
      <div class="heading">
        <h2 id="usage">Requests per day</h2>
        <p class="muted">{total === 0 ? `No requests in the last ${dayCount} days` : summary}</p>
      </div>
      <BarChart
        label={`Requests per day: ${summary}`}
        format={formatNumber}
        axis={[`${dayCount} days ago`, 'today']}
        bars={days.map((day) => {
          const bucket = byDay.get(day)
          const marked = bucket ? countRejected(bucket) : 0
          const requests = formatNumber(bucket?.requests ?? 0)
          const title = `${requests}${marked > 0 ? `, ${formatNumber(marked)} rejected` : ''}, ${toDate(day)}`
          return { value: bucket?.requests ?? 0, marked, title }
        })}
      />
      <Permissions granted={granted} usage={usage} />
      {usage.length > 0 && <Days usage={usage} />}
    </section>
  )
}

/** Lists the permissions of the key, and those that it uses because it has `admin`. */
function Permissions({ granted, usage }: { granted: ApiKey['permissions']; usage: UsageBucket[] }) {
  const counted = permissions
    .map((permission) => ({
      permission,
      requests: sum(usage.map((bucket) => bucket.by_permission[permission])),
    }))
    .filter(({ permission, requests }) => requests > 0 || granted.includes(permission))
  return (
    <ul class="rows" aria-label={`Requests of the last ${dayCount} days that needed a permission`}>
      {counted.map(({ permission, requests }) => (
        <li key={permission}>
          <code>{permission}</code>
          <span class={requests === 0 ? 'muted' : undefined}>
            {requests === 0 ? 'Not used' : formatNumber(requests)}
          </span>
        </li>
      ))}
    </ul>
  )
}

/** The chart as a table. Its region can be scrolled with the keyboard. */
function Days({ usage }: { usage: UsageBucket[] }) {
  const used = permissions.filter((permission) =>
    usage.some((bucket) => bucket.by_permission[permission] > 0),
  )
  return (
    <details>
      <summary>Show as a table</summary>
      <div class="scrolled" role="region" aria-label="Table of requests per day" tabIndex={0}>
        <table class="numbers">
          <thead>
            <tr>
              {['Day', 'Requests', ...used, 'Forbidden', 'Rate limited'].map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {usage.toReversed().map(({ start, requests, by_permission, rejected }) => (
              <tr key={start}>
                <th scope="row">{toDate(start)}</th>
                <td>{formatNumber(requests)}</td>
                {used.map((permission) => (
                  <td key={permission}>{formatNumber(by_permission[permission])}</td>
                ))}
                <td>{formatNumber(rejected.forbidden)}</td>
                <td>{formatNumber(rejected.rate_limited)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  )
}

function toDate(day: number): string {
  return formatDate(new Date(day * dayMs))
}

function countRejected({ rejected }: UsageBucket): number {
  return rejected.forbidden + rejected.rate_limited
}

function sum(counts: number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}
