import type { AuditEvent } from '../audit/repository.ts'
import { keyPath } from './api-keys/ui.tsx'
import { incidentPath } from './incidents/ui.tsx'
import { maintenancePath } from './maintenances/ui.tsx'
import { monitorPath } from './monitors/ui.tsx'
import { parseTime } from '../wire/time.ts'
import { formatAction } from './format.ts'
import { DateTime, TimeAgo } from './ui.tsx'

export const auditPath = '/manage/audit'

/** Path of the audit events of a resource. */
export function auditPathOf(type: AuditEvent['target_type'], id: string): string {
  return `${auditPath}?${new URLSearchParams({ type, target: id }).toString()}`
}

/** Lists audit events with the values before and after each change. */
export function AuditEvents({ events, label }: { events: AuditEvent[]; label: string }) {
  return (
    <ol class="events" aria-label={label}>
      {events.map((event) => (
        <li key={event.id} class="card">
          <p>
            <strong>{formatAction(event.action)}</strong> <Target event={event} />
          </p>
          <p class="muted">
            <TimeAgo time={event.at} /> by <Actor event={event} />
          </p>
          <Changes changes={event.changes} />
        </li>
      ))}
    </ol>
  )
}

function Target({ event: { target_type: type, target_id: id, target_name: name } }: { event: AuditEvent }) {
  const text = (
    <>
      {name} <code class="muted">{type === 'incident' || type === 'maintenance' ? `#${id}` : id}</code>
    </>
  )
  const path = pathOf(type, id)
  return path === undefined ? text : <a href={path}>{text}</a>
}

function pathOf(type: AuditEvent['target_type'], id: string): string | undefined {
  if (type === 'key') return keyPath(id)
  if (type === 'monitor') return monitorPath(id)
  if (type === 'incident') return incidentPath(Number(id))
  if (type === 'maintenance') return maintenancePath(Number(id))
  return undefined
}

function Actor({ event }: { event: AuditEvent }) {
  const { actor_key_id: id, actor_key_name: name, via, address } = event
  return (
    <>
      {id === null ? 'an operator' : <a href={keyPath(id)}>{name}</a>} {viaNames[via]}
      {address !== null && (
        <>
          {' '}
          from <code>{address}</code>
        </>
      )}
    </>
  )
}

const viaNames = {
  api: 'with the API',
  panel: 'in the panel',
  cli: 'on the command line',
  import: 'with an import',
}

function Changes({ changes }: Pick<AuditEvent, 'changes'>) {
  const fields = Object.entries(changes)
  if (fields.length === 0) return null
  return (
    <dl class="changes">
      {fields.map(([field, [before, after]]) => (
        <div key={field}>
          <dt>{formatField(field)}</dt>
          <dd>
            {before !== null && <Value value={before} isBefore />}
            {before !== null && after !== null && <span aria-hidden="true"> → </span>}
            {after !== null && <Value value={after} />}
          </dd>
        </div>
      ))}
    </dl>
  )
}

/** A value that was replaced or deleted is struck through. */
function Value({ value, isBefore = false }: { value: unknown; isBefore?: boolean }) {
  const time = typeof value === 'string' ? parseTime(value) : undefined
  const content = time ? <DateTime time={time} /> : formatValue(value)
  return isBefore ? <del>{content}</del> : <ins>{content}</ins>
}

/** `expires_at`: `Expires at` */
function formatField(field: string): string {
  const text = field
    .replaceAll('_', ' ')
    .replace(/\bips$/, 'IPs')
    .replace(/\burl$/, 'URL')
    .replace(/^rrule$/, 'recurrence rule')
    .replace(/\bid$/, 'ID')
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** Formats a list with commas, and an affected monitor as its tag and its impact. */
function formatValue(value: unknown): string {
  if (Array.isArray(value)) return value.map(formatValue).join(', ') || 'none'
  if (typeof value === 'object' && value !== null) return Object.values(value).map(formatValue).join(' ')
  return String(value)
}
