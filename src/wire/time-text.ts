const dateFormat = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  timeZone: 'UTC',
})

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

/** `24 Nov 2026` */
export function formatDate(time: Date): string {
  return dateFormat.format(time)
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

/** `2 h 15 min`, `3 days`, in the two largest units; at least a minute. */
export function formatDuration(seconds: number): string {
  const minutes = Math.max(1, Math.round(seconds / 60))
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor((minutes % 1440) / 60), minutes % 60]
  const parts = [
    days > 0 && `${days} ${days === 1 ? 'day' : 'days'}`,
    hours > 0 && `${hours} h`,
    rest > 0 && days === 0 && `${rest} min`,
  ]
  return parts.filter(Boolean).join(' ')
}
