import type { ColumnType, Generated, GeneratedAlways } from 'kysely'
import type {
  AuditAction,
  AuditTargetType,
  AuditVia,
  ClosingState,
  Impact,
  MaintenanceImpact,
  ReportStatus,
  State,
  Status,
} from '../enums.ts'
import type { Permission } from '../permissions.ts'

/**
 * Version of a row: differs after each change that a response shows, except what changes by itself, such as the last use
 * of a key. Set by a trigger. bigint, which pg returns as a string.
 */
type Version = ColumnType<string, never, never>

/** The tables as the migrations leave them. */
export type Tables = {
  api_keys: ApiKeysTable
  rate_counters: RateCountersTable
  key_usage_hours: UsageCounts & { key_id: string; hour: number }
  key_usage_days: UsageCounts & { key_id: string; day: number }
  key_last_uses: KeyLastUsesTable
  monitors: MonitorsTable
  last_reports: LastReportsTable
  heartbeats: HeartbeatsTable
  monitor_hours: MonitorHoursTable
  monitor_days: MonitorDaysTable
  incidents: IncidentsTable
  incident_monitors: IncidentMonitorsTable
  incident_comments: IncidentCommentsTable
  kener_monitors: KenerMonitorsTable
  kener_imports: KenerImportsTable
  maintenances: MaintenancesTable
  maintenance_monitors: MaintenanceMonitorsTable
  maintenance_events: MaintenanceEventsTable
  admin_sessions: AdminSessionsTable
  traffic: TrafficTable
  idempotency_records: IdempotencyRecordsTable
  audit_events: AuditEventsTable
}

type ApiKeysTable = {
  id: string
  /** The order of creation. bigint, which pg returns as a string. */
  seq: ColumnType<string, never, never>
  name: string
  permissions: Permission[]
  secret_hash: string
  rate_limit: number | null
  expires_at: Date | null
  created_at: Generated<Date>
  last_used_at: Date | null
  revoked_at: Date | null
  rotated_from: string | null
  rotated_to: string | null
  description: string | null
  /** Tags, or prefixes ending in `*`. Null: all monitors. */
  monitors: string[] | null
  /** Addresses or CIDRs. Null: any address. */
  allowed_ips: string[] | null
  /** Id of the key that created this one. Null: an operator did, or a release before this column. */
  created_by: string | null
  last_used_address: string | null
  version: Version
  /**
   * When a permission was last added to the key, or to one that it replaces. Null: the key was created with its
   * permissions.
   */
  permissions_since: Date | null
}

/** Column of a permission: `read:monitors` is counted in `read_monitors`. */
export type PermissionColumn = {
  [Each in Permission]: Each extends `${infer Verb}:${infer Resource}` ? `${Verb}_${Resource}` : Each
}[Permission]

/** Requests of a key. Each request is counted in one column. */
export type UsageCounts = Record<PermissionColumn | 'no_permission' | 'forbidden' | 'rate_limited', number>

/** The last day, since 1970, on which a request of the key needed the permission. */
type KeyLastUsesTable = Record<PermissionColumn, number | null> & { key_id: string }

type RateCountersTable = {
  key_id: string
  minute: number
  max: number
  used: number
  granted: number
}

type MonitorsTable = {
  id: GeneratedAlways<number>
  tag: string
  name: string
  description: string | null
  category_name: string | null
  external_url: string | null
  enabled: boolean
  hidden: boolean
  default_status: Status
  stale_after_seconds: number | null
  degraded_counts_as_down: boolean
  created_at: Generated<Date>
  updated_at: Generated<Date>
  version: Version
}

type LastReportsTable = {
  monitor_id: number
  minute: number
  /** The second of the minute in which the report was made. Only for the previous release. */
  second: Generated<number>
  /** When the report was made: a Unix time, in seconds. bigint, which pg returns as a string. */
  reported_at: ColumnType<string, number, number>
  status: ReportStatus
  latency_ms: number | null
  /** Null unless the previous release has written the row: then `totals` lack a report. */
  past_hour: number | null
  past_totals: number[] | null
  /** The hour that ends the spans of `totals`. */
  totals_hour: number | null
  /** Reported minutes of each span of uptime, see src/monitors/uptime.ts. */
  totals: number[] | null
}

type HeartbeatsTable = {
  monitor_id: number
  secret_digest: string
  created_at: Generated<Date>
  minute: Generated<number>
  used: Generated<number>
  granted: Generated<number>
}

/** Totals of the reports over a span of time. */
export type StoredTotals = {
  up: number
  degraded: number
  down: number
  maintenance: number
  latency_count: number
  /** bigint, which pg returns as a string. */
  latency_sum: string
}

export type MonitorHoursTable = StoredTotals & {
  monitor_id: number
  hour: number
  statuses: Buffer
  latencies: Buffer
}

type MonitorDaysTable = StoredTotals & {
  monitor_id: number
  day: number
  /** One bit for each hour of the day that retention has removed. */
  removed_hours: Generated<number>
}

type IncidentsTable = {
  id: GeneratedAlways<number>
  title: string
  state: State
  started_at: Date
  ended_at: Date | null
  stays_hidden: Generated<boolean>
  created_at: Generated<Date>
  updated_at: Generated<Date>
  version: Version
}

type IncidentMonitorsTable = { incident_id: number; monitor_id: number; impact: Impact | 'UP' }

type IncidentCommentsTable = {
  id: GeneratedAlways<number>
  incident_id: number
  comment: string
  state: State
  commented_at: Date
  created_at: Generated<Date>
  updated_at: Generated<Date>
}

type KenerMonitorsTable = {
  monitor_id: number
  fields: ColumnType<Record<string, unknown>, string, string>
}

type KenerImportsTable = {
  source: string
  kind: 'monitor' | 'incident' | 'comment'
  source_id: number
  id: number
  updated_at: string
  imported_at: Generated<Date>
}

type MaintenancesTable = {
  id: GeneratedAlways<number>
  title: string
  description: string | null
  starts_at: Date
  rrule: string
  duration_seconds: number
  enabled: boolean
  /** Infinity if the rule has no further occurrence: pg returns it as a number. */
  generated_until: ColumnType<Date | number | null, never, never>
  stays_hidden: Generated<boolean>
  created_at: Generated<Date>
  updated_at: Generated<Date>
  version: Version
}

type MaintenanceMonitorsTable = { maintenance_id: number; monitor_id: number; impact: MaintenanceImpact }

type MaintenanceEventsTable = {
  id: GeneratedAlways<number>
  maintenance_id: number
  occurrence: Date
  starts_at: Date
  ends_at: Date
  closed_as: ClosingState | null
  created_at: Generated<Date>
  updated_at: Generated<Date>
}

type AdminSessionsTable = {
  token_digest: string
  key_id: string
  seen_at: Generated<Date>
  ends_at: Date
  /** When its key was entered. */
  logged_in_at: Generated<Date>
}

type TrafficTable = {
  minute: number
  requests: number
}

type AuditEventsTable = {
  /** bigint, which pg returns as a string. */
  id: ColumnType<string, never, never>
  /** Whole seconds. */
  at: ColumnType<Date, Date, never>
  /** Null: an operator of the service. */
  actor_key_id: string | null
  actor_key_name: string | null
  via: AuditVia
  action: AuditAction
  target_type: AuditTargetType
  target_id: string
  target_name: string | null
  changes: ColumnType<Record<string, [before: unknown, after: unknown]>, string, never>
  address: string | null
  request_id: string | null
  retained_until: Date
}

type IdempotencyRecordsTable = {
  id: Buffer
  fingerprint: Buffer
  /** The monitors that the calling key could use. Null: all monitors. */
  monitors: string[] | null
  status: number
  etag: string | null
  body: string | null
  /** The message of the error that repeated requests get instead of a body that is not stored. */
  conflict: string | null
  expires_at: Generated<Date>
}
