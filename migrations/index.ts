import type { Migration } from 'kysely'
import * as keys from './2026-11-23-keys.ts'
import * as monitors from './2026-11-23-monitors.ts'
import * as adminPanel from './2026-11-24-admin-panel.ts'
import * as kener from './2026-11-25-kener.ts'
import * as kenerCommentTimes from './2026-11-25-kener-comment-times.ts'
import * as kenerCommentTimesFill from './2026-11-25-kener-comment-times-fill.ts'
import * as maintenances from './2026-11-25-maintenances.ts'
import * as reportSeconds from './2026-11-25-report-seconds.ts'
import * as constraintNames from './2026-11-26-constraint-names.ts'
import * as constraintNamesOfEvents from './2026-11-26-constraint-names-of-events.ts'
import * as keyScope from './2026-11-26-key-scope.ts'
import * as keySuccessors from './2026-11-26-key-successors.ts'
import * as removedHours from './2026-11-26-removed-hours.ts'
import * as removedHoursIndex from './2026-11-26-removed-hours-index.ts'
import * as reportTimes from './2026-11-26-report-times.ts'
import * as staysHidden from './2026-11-26-stays-hidden.ts'
import * as staysHiddenMaintenances from './2026-11-26-stays-hidden-maintenances.ts'
import * as listSpeed from './2026-11-26-z-list-speed.ts'
import * as listSpeedIndexes from './2026-11-26-z-list-speed-indexes.ts'
import * as auditEvents from './2026-11-26-zz-audit-events.ts'
import * as heartbeats from './2026-11-26-zz-heartbeats.ts'
import * as idempotency from './2026-11-26-zz-idempotency.ts'
import * as keyUsage from './2026-11-26-zz-key-usage.ts'
import * as uptimeTotals from './2026-11-26-zz-list-speed.ts'
import * as keyVersions from './2026-11-26-zz-versions.ts'
import * as incidentVersions from './2026-11-26-zz-versions-of-incidents.ts'
import * as maintenanceVersions from './2026-11-26-zz-versions-of-maintenances.ts'
import * as monitorVersions from './2026-11-26-zz-versions-of-monitors.ts'
import * as logInTime from './2026-11-26-zzz-log-in-time.ts'

/**
 * A migration is one of three kinds, because none may block requests:
 * - `up` runs in one transaction.
 * - `fill` writes values into existing rows. Each call is a transaction, and handles a few thousand rows that follow the
 *   position `after` (0 at first) in the order of a unique column. It returns the position of the last one, or null at the
 *   end. It is repeated from the start if the process ends.
 * - `indexes` are built while the table is written, one after the other. Maps the name of each to what follows ON in
 *   CREATE INDEX.
 *
 * `requires` is the name of an earlier migration: releases that do not contain it cannot run on the schema. For the
 * removal of what they use.
 */
export type SchemaMigration = (
  | Migration
  | { fill: (db: Parameters<Migration['up']>[0], after: number) => Promise<number | null> }
  | { indexes: Record<string, string> }
) & { requires?: string }

export type SchemaMigrations = Record<string, SchemaMigration>

/** Sorted by name, which is the order in which they are applied. */
export const migrations: SchemaMigrations = {
  '2026-11-23-keys': keys,
  '2026-11-23-monitors': monitors,
  '2026-11-24-admin-panel': adminPanel,
  '2026-11-25-kener': kener,
  '2026-11-25-kener-comment-times': kenerCommentTimes,
  '2026-11-25-kener-comment-times-fill': kenerCommentTimesFill,
  '2026-11-25-maintenances': maintenances,
  '2026-11-25-report-seconds': reportSeconds,
  '2026-11-26-constraint-names': constraintNames,
  '2026-11-26-constraint-names-of-events': constraintNamesOfEvents,
  '2026-11-26-key-scope': keyScope,
  '2026-11-26-key-successors': keySuccessors,
  '2026-11-26-removed-hours': removedHours,
  '2026-11-26-removed-hours-index': removedHoursIndex,
  '2026-11-26-report-times': reportTimes,
  '2026-11-26-stays-hidden': staysHidden,
  '2026-11-26-stays-hidden-maintenances': staysHiddenMaintenances,
  '2026-11-26-z-list-speed': listSpeed,
  '2026-11-26-z-list-speed-indexes': listSpeedIndexes,
  '2026-11-26-zz-audit-events': auditEvents,
  '2026-11-26-zz-heartbeats': heartbeats,
  '2026-11-26-zz-idempotency': idempotency,
  '2026-11-26-zz-key-usage': keyUsage,
  '2026-11-26-zz-list-speed': uptimeTotals,
  '2026-11-26-zz-versions': keyVersions,
  '2026-11-26-zz-versions-of-incidents': incidentVersions,
  '2026-11-26-zz-versions-of-maintenances': maintenanceVersions,
  '2026-11-26-zz-versions-of-monitors': monitorVersions,
  '2026-11-26-zzz-log-in-time': logInTime,
}
