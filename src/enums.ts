export const states = ['INVESTIGATING', 'IDENTIFIED', 'MONITORING', 'RESOLVED'] as const
export type State = (typeof states)[number]

export const impacts = ['DOWN', 'DEGRADED', 'MAINTENANCE'] as const
export type Impact = (typeof impacts)[number]

export const maintenanceImpacts = ['DOWN', 'DEGRADED', 'MAINTENANCE', 'UP'] as const
export type MaintenanceImpact = (typeof maintenanceImpacts)[number]

/** The states to which a client can set an event. */
export const closingStates = ['COMPLETED', 'CANCELLED'] as const
export type ClosingState = (typeof closingStates)[number]

export const eventStates = ['SCHEDULED', 'READY', 'ONGOING', ...closingStates] as const
export type EventState = (typeof eventStates)[number]

/** The statuses that a report can have. */
export const reportStatuses = ['UP', 'DEGRADED', 'DOWN', 'MAINTENANCE'] as const
export const statuses = [...reportStatuses, 'NO_DATA'] as const

/** Columns with the number of minutes of each status, in the order of `reportStatuses`. */
export const statusColumns = ['up', 'degraded', 'down', 'maintenance'] as const

export type ReportStatus = (typeof reportStatuses)[number]
export type Status = (typeof statuses)[number]

/** Worst first. The worst of several statuses is the status of all. */
export const statusesBySeverity: readonly Status[] = ['DOWN', 'MAINTENANCE', 'DEGRADED', 'UP', 'NO_DATA']

/** Revoked takes precedence over expired. */
export const keyStatuses = ['active', 'expired', 'revoked'] as const
export type KeyStatus = (typeof keyStatuses)[number]

/** The kinds of audit events. */
export const auditActions = [
  'key.created',
  'key.updated',
  'key.rotated',
  'key.revoked',
  'key.deleted',
  'monitor.created',
  'monitor.updated',
  'monitor.deleted',
  'heartbeat.created',
  'heartbeat.deleted',
  'incident.created',
  'incident.updated',
  'incident.deleted',
  'comment.created',
  'comment.updated',
  'comment.deleted',
  'maintenance.created',
  'maintenance.updated',
  'maintenance.deleted',
  'maintenance_event.updated',
  'maintenance_event.deleted',
  'panel.logged_in',
  'panel.logged_out',
  'import.completed',
] as const
export type AuditAction = (typeof auditActions)[number]

export const auditTargetTypes = ['key', 'monitor', 'incident', 'maintenance', 'import'] as const
export type AuditTargetType = (typeof auditTargetTypes)[number]

/** The ways in which a change is made. */
export const auditVias = ['api', 'panel', 'cli', 'import'] as const
export type AuditVia = (typeof auditVias)[number]
