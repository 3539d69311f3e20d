import type { AuditAction, AuditTargetType, AuditVia } from '../enums.ts'
import { formatTime } from './time.ts'

/** An audit event as the domain returns it. */
type AuditEventRecord = {
  id: string
  at: Date
  actor_key_id: string | null
  actor_key_name: string | null
  via: AuditVia
  action: AuditAction
  target_type: AuditTargetType
  target_id: string
  target_name: string | null
  changes: Record<string, [before: unknown, after: unknown]>
  address: string | null
  request_id: string | null
}

export type AuditEventObject = ReturnType<typeof serializeAuditEvent>

export function serializeAuditEvent(event: AuditEventRecord) {
  const { target_type: type, target_id: id } = event
  const hasNumericId = type === 'incident' || type === 'maintenance'
  return {
    id: Number(event.id),
    at: formatTime(event.at),
    actor: { key_id: event.actor_key_id, key_name: event.actor_key_name, via: event.via },
    action: event.action,
    target: { type, id: hasNumericId ? Number(id) : id, name: event.target_name },
    changes: event.changes,
    address: event.address,
    request_id: event.request_id,
  }
}
