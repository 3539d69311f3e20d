import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'
import type { AuditAction, AuditTargetType, AuditVia } from '../enums.ts'
import { formatTime } from '../wire/time.ts'

/** Where a change comes from. Recorded with each audit event. */
type Actor = {
  /** The calling key. Null: an operator of the service, on its machine. */
  key: { id: string; name: string } | null
  via: AuditVia
  /** The client's address. Null without a request. */
  address: string | null
  request_id: string | null
}

/** The context that every change requires. */
export type ChangeContext = {
  /** A transaction joins the change, which its owner then commits. */
  db: Kysely<Tables>
  actor: Actor
  /** AUDIT_RETENTION_DAYS. */
  auditRetentionDays: number
}

/** The resource that was changed. Comments belong to their incident, events to their maintenance. */
type Target = { type: AuditTargetType; id: string; name: string | null }

/** The fields that were changed, with their values before and after. */
export type FieldChanges = Record<string, [before: unknown, after: unknown]>

type RecordedEvent = { action: AuditAction; target: Target; changes?: FieldChanges }

/**
 * A transaction that writes audited data, and its audit events. Every function that writes such data takes one, and only
 * auditedTransaction creates one.
 */
export type Change = {
  trx: Transaction<Tables>
  /** Adds an audit event to the transaction. An event whose `changes` are empty is omitted: nothing was changed. */
  record: (event: RecordedEvent) => void
}

/**
 * Runs `work` in a transaction, and stores the audit events that it records in the same transaction, so that neither a
 * change nor its event exists without the other.
 */
export async function auditedTransaction<Result>(
  context: ChangeContext,
  work: (change: Change) => Promise<Result>,
): Promise<Result> {
  const { db } = context
  return isTransaction(db) ? run(db) : db.transaction().execute(run)

  async function run(trx: Transaction<Tables>): Promise<Result> {
    const events: RecordedEvent[] = []
    const result = await work({
      trx,
      record: (event) => {
        if (!event.changes || Object.keys(event.changes).length > 0) events.push(event)
      },
    })
    if (events.length > 0) await insertEvents(trx, events, context)
    return result
  }
}

function isTransaction(db: Kysely<Tables>): db is Transaction<Tables> {
  return db.isTransaction
}

async function insertEvents(
  trx: Transaction<Tables>,
  events: RecordedEvent[],
  { actor, auditRetentionDays }: ChangeContext,
): Promise<void> {
  await trx
    .insertInto('audit_events')
    .values(
      events.map(({ action, target, changes = {} }) => ({
        // Not the start of the transaction, which may have waited for the lock of a later one that changed the same row.
        at: sql<Date>`date_trunc('second', clock_timestamp())`,
        actor_key_id: actor.key?.id ?? null,
        actor_key_name: actor.key?.name ?? null,
        via: actor.via,
        action,
        target_type: target.type,
        target_id: target.id,
        target_name: target.name,
        changes: JSON.stringify(changes),
        address: actor.address,
        request_id: actor.request_id,
        retained_until: sql<Date>`now() + make_interval(days => ${auditRetentionDays})`,
      })),
    )
    .execute()
}

type Row = Record<string, unknown>

/** Returns the changes of those fields whose values differ. */
export function diff(before: Row, after: Row, fields: readonly string[]): FieldChanges {
  return toChanges(fields, (field) => [toValue(before[field]), toValue(after[field])])
}

/** Returns the changes of a new row: its values that are not null. */
export function diffNew(after: Row, fields: readonly string[]): FieldChanges {
  return diff({}, after, fields)
}

/** Returns the changes of a row that is deleted: its values that were not null. */
export function diffDeleted(before: Row, fields: readonly string[]): FieldChanges {
  return diff(before, {}, fields)
}

function toChanges(
  fields: readonly string[],
  valuesOf: (field: string) => [before: unknown, after: unknown],
): FieldChanges {
  return Object.fromEntries(
    fields
      .map((field) => [field, valuesOf(field)] as const)
      .filter(([, [before, after]]) => JSON.stringify(before) !== JSON.stringify(after))
      .map(([field, values]) => [field, values.map(shorten)]),
  ) as FieldChanges
}

function toValue(value: unknown): unknown {
  return value instanceof Date ? formatTime(value) : (value ?? null)
}

/**
 * Longest text, and most items of a list, of which an event records all. Events cannot be deleted before their retention
 * ends, so that a caller that changes large values must not fill the database with them.
 */
const maxRecorded = { characters: 2_000, items: 100 }

function shorten(value: unknown): unknown {
  if (typeof value === 'string' && value.length > maxRecorded.characters) {
    // A character of two code units is not cut in half: PostgreSQL and many clients reject lone surrogates.
    const start = value.slice(0, maxRecorded.characters).replace(/[\ud800-\udbff]$/, '')
    return `${start}… (${value.length} characters)`
  }
  if (Array.isArray(value) && value.length > maxRecorded.items) {
    return [...(value.slice(0, maxRecorded.items) as unknown[]), `… (${value.length} items)`]
  }
  return value
}
