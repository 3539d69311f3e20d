const dateTimeFormat = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  timeZone: 'UTC',
})

const relativeFormat = new Intl.RelativeTimeFormat('en')

const units: [unit: Intl.RelativeTimeFormatUnit, seconds: number][] = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
]

const dayFormat = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  timeZone: 'UTC',
})

/** `24 Nov 2026`, of a UTC day */
export function formatDay(time: Date): string {
  return dayFormat.format(time)
}

/** `24 Nov 2026, 14:05 UTC` */
export function formatDateTime(time: Date): string {
  return `${dateTimeFormat.format(time)} UTC`
}

/** `in 3 days`, `2 hours ago`: in the largest unit of which there are at least two, which limits the rounding error. */
export function formatRelative(time: Date, now: Date): string {
  const seconds = (time.getTime() - now.getTime()) / 1000
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= 2 * length) ?? ['minute', 60]
  const count = Math.round(seconds / size)
  // `now` is read before the page's data, so a time up to 1 s later is not in the future.
  if (count === 0) return seconds < 1 ? 'just now' : 'in a minute'
  return relativeFormat.format(count, unit)
}

export function formatNumber(count: number): string {
  return count.toLocaleString('en')
}

/** `key.updated`: `Key updated`; `panel.logged_in`: `Logged in` */
export function formatAction(action: string): string {
  const text = action.replace(/^panel\./, '').replace(/[._]/g, ' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}
