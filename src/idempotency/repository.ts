import { type Kysely, sql, type Transaction } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { responseTooLarge } from '../errors.ts'
import { isInScope, type Scope } from '../monitors/scope.ts'

/** The first response to a request with an Idempotency-Key, for 24 hours. */
type IdempotencyRecord = {
  /** Identifies the content of the request. */
  fingerprint: Buffer
  /** The monitors that the calling key could use. */
  monitors: Scope
  status: number
  etag: string | null
} & Content

/** Without a body, repeated requests get an error with the message `conflict`. */
type Content = { body: string; conflict: null } | { body: null; conflict: string }

/** Longest body that is stored, in bytes. A comment of the longest text fits, whatever its characters. */
const maxBodyBytes = 65_536

/** @param id identifies the calling key, the method, the path and the Idempotency-Key: 32 bytes */
export async function findRecord(db: Kysely<Tables>, id: Buffer): Promise<IdempotencyRecord | undefined> {
  const { rows } = await prepared(sql<IdempotencyRecord>`
    select fingerprint, monitors, status, etag, body, conflict from idempotency_records
    where id = ${id} and expires_at > now()`).execute(db)
  return rows[0]
}

/** Locks a request until commit. Returns false, without waiting, if another transaction has locked it. */
export async function lockRequest(trx: Transaction<Tables>, id: Buffer): Promise<boolean> {
  const { rows } = await prepared(sql<{ is_locked: boolean }>`
    select pg_try_advisory_xact_lock(${id.readBigInt64BE()}::bigint) as is_locked`).execute(trx)
  return rows[0]?.is_locked === true
}

/**
 * Stores the response to a request in the transaction of its write. Replaces a body that is too large by a conflict.
 * Returns false if another transaction has stored a response since the record was searched for: then this transaction
 * must be rolled back.
 */
export async function insertRecord(
  trx: Transaction<Tables>,
  id: Buffer,
  record: IdempotencyRecord,
): Promise<boolean> {
  const { body, conflict } = limitBody(record)
  const { rows } = await prepared(sql`
    insert into idempotency_records as stored (id, fingerprint, monitors, status, etag, body, conflict)
    values (${id}, ${record.fingerprint}, ${record.monitors}, ${record.status}, ${record.etag}, ${body}, ${conflict})
    on conflict (id) do update set
      fingerprint = excluded.fingerprint, monitors = excluded.monitors, status = excluded.status,
      etag = excluded.etag, body = excluded.body, conflict = excluded.conflict, expires_at = excluded.expires_at
    where stored.expires_at <= now()
    returning id`).execute(trx)
  return rows.length > 0
}

function limitBody(content: Content): Content {
  const isTooLarge = content.body !== null && Buffer.byteLength(content.body) > maxBodyBytes
  return isTooLarge ? { body: null, conflict: responseTooLarge().message } : content
}

/** True if the key may use all monitors that it could use when the response was stored, which may contain them. */
export function isRecordInScope(scope: Scope, { monitors }: IdempotencyRecord): boolean {
  if (scope === null) return true
  // A prefix is in the scope if the prefixes of the scope match it.
  return monitors?.every((pattern) => isInScope(scope, pattern)) ?? false
}

/** Records that one statement deletes. */
const deletionLength = 1_000

/** Deletes expired records. Skips those that a request is replacing. */
export async function removeExpiredRecords(db: Kysely<Tables>): Promise<void> {
  for (let deleted = deletionLength; deleted === deletionLength;) {
    const { rows } = await sql`
      delete from idempotency_records where id in (
        select id from idempotency_records where expires_at <= now()
        order by expires_at limit ${sql.lit(deletionLength)} for update skip locked
      ) returning id`.execute(db)
    deleted = rows.length
  }
}
