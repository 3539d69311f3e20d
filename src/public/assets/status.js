// Shows times in the time zone of the reader, and keeps relative times correct. Without this script, times are UTC.

const absoluteFormat = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  timeZoneName: 'short',
})

for (const time of document.querySelectorAll('time:not([data-relative])')) {
  time.textContent = absoluteFormat.format(new Date(time.dateTime))
}

const relativeFormat = new Intl.RelativeTimeFormat('en')

const units = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
]

// As formatRelative of the server does.
function formatRelative(time) {
  const seconds = (time - Date.now()) / 1000
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= 2 * length) ?? ['minute', 60]
  const count = Math.round(seconds / size)
  if (count === 0) return seconds < 1 ? 'just now' : 'in a minute'
  return relativeFormat.format(count, unit)
}

setInterval(() => {
  for (const time of document.querySelectorAll('time[data-relative]')) {
    time.textContent = formatRelative(new Date(time.dateTime))
  }
}, 60_000)

// The server does not know the address that the reader uses, unless SITE_URL is set.
for (const { dataset, firstChild } of document.querySelectorAll('[data-origin]')) {
  firstChild.data = firstChild.data.replaceAll(dataset.origin, location.origin)
}
