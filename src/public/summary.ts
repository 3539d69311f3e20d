import { type Status, statusesBySeverity } from '../enums.ts'
import { maxOpenIncidents, type StatusPage } from '../status/page.ts'

const phrases = { DOWN: 'down', MAINTENANCE: 'under maintenance', DEGRADED: 'degraded' }

type Impaired = keyof typeof phrases

/** Returns the overall status, and a sentence that says it. */
export function summarize({ counts, monitors, incidents }: StatusPage): { status: Status; sentence: string } {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  const status = statusesBySeverity.find((status) => counts[status] !== undefined) ?? 'NO_DATA'
  const impaired = statusesBySeverity.filter((status): status is Impaired => status in phrases)
  const clauses = impaired.flatMap((status) => {
    const count = counts[status] ?? 0
    if (count === 0) return []
    const names = monitors.filter((monitor) => monitor.status === status).map(({ name }) => name)
    return [{ names, count, phrase: phrases[status] }]
  })
  if (clauses.length > 0) {
    const texts = clauses.map(({ names, count, phrase }, index) => {
      const subject = describeSubject(names, count, index === 0 ? total : null)
      return `${subject} ${count === 1 ? 'is' : 'are'} ${phrase}`
    })
    const rest = (counts.UP ?? 0) > 0 && counts.NO_DATA === undefined ? [describeRest(counts.UP ?? 0)] : []
    return { status, sentence: `${joinWords([...texts, ...rest])}.` }
  }
  if (status === 'NO_DATA') {
    const sentence = total === 0 ? 'No systems are monitored yet.' : 'No status was reported yet.'
    return { status, sentence }
  }
  const silent = counts.NO_DATA ?? 0
  const operational =
    silent === 0
      ? 'All systems are operational'
      : `${total - silent} of ${total} systems are operational, ${silent} ${silent === 1 ? 'has' : 'have'} no data`
  if (incidents.length === 0) return { status, sentence: `${operational}.` }
  const count =
    incidents.length > maxOpenIncidents ? `more than ${maxOpenIncidents}` : String(incidents.length)
  const open = incidents.length === 1 ? 'an incident is open' : `${count} incidents are open`
  return { status: 'DEGRADED', sentence: `${operational}, but ${open}.` }
}

/** Names one or two monitors, and counts more. @param total null in a later clause, which need not repeat it */
function describeSubject(names: string[], count: number, total: number | null): string {
  if (count <= 2 && names.length === count) return names.join(' and ')
  if (count === total) return 'All systems'
  return total === null ? String(count) : `${count} of ${total} systems`
}

function describeRest(count: number): string {
  return count === 1 ? 'the other system is operational' : `the other ${count} systems are operational`
}

function joinWords(items: string[]): string {
  const [last = ''] = items.slice(-1)
  return items.length < 2 ? last : `${items.slice(0, -1).join(', ')}, and ${last}`
}
