import type { Kysely } from 'kysely'
import type { Tables } from '../database/schema.ts'
import {
  type ApiError,
  expiredKeyConflict,
  expiryInPast,
  expiryTooLate,
  keyAlreadyCreated,
  keyNotFound,
  revokedKeyConflict,
} from '../errors.ts'
import { paginate, parseCursor } from '../wire/pagination.ts'
import { formatTime } from '../wire/time.ts'
import * as keys from './repository.ts'
import type { Secrets } from './secrets.ts'
import { formatToken, generateTokenParts } from './token.ts'

/** Dependencies of changes to keys. Each change is logged with an `event`; alerts rely on the names of events. */
export type KeyContext = {
  db: Kysely<Tables>
  secrets: Secrets
  log: { info: (fields: object, message: string) => void }
  /**
   * Expiry of the calling key, which cannot create or extend a key beyond it. Null or omitted: no limit.
   */
  maxExpiry?: Date | null
}

/** A key and its token, which is not stored. */
export type IssuedKey = { key: keys.ApiKey; token: string }

/** A successor, and the state of the key that it replaces. */
export type RotatedKey = IssuedKey & { old: keys.OldKey }

/**
 * Creates a key. Without `expires_at`, it gets the latest allowed expiry.
 * @param id makes the creation idempotent, for a form that may be submitted twice
 * @throws ApiError 400 if `expires_at` is not in the future or not allowed, 409 if a key with this id exists, 503
 */
export async function createKey(
  { db, secrets, log, maxExpiry = null }: KeyContext,
  attributes: Omit<keys.NewKey, 'id' | 'secret_hash'>,
  id?: string,
): Promise<IssuedKey> {
  const expires_at = attributes.expires_at ?? maxExpiry
  assertExpiryAllowed(expires_at, maxExpiry)
  const parts = generateTokenParts(id)
  const secret_hash = await secrets.hash(parts.secret)
  const key = await keys.insertKey(db, { ...attributes, expires_at, id: parts.id, secret_hash })
  if (!key) throw (await keys.findKey(db, parts.id)) ? keyAlreadyCreated() : expiryInPast()
  secrets.markVerified(parts)
  log.info({ event: 'key_created', subjectKeyId: key.id }, 'key created')
  return { key, token: formatToken(parts) }
}

/** @throws ApiError 400 if the new expiry is not allowed, 404, 409 if the key is revoked */
export async function updateKey(
  { db, log, maxExpiry = null }: KeyContext,
  id: string,
  changes: keys.KeyChanges,
): Promise<keys.ApiKey> {
  const key = await keys.updateKey(db, id, changes, maxExpiry)
  if (!key) throw await updateError(db, id, maxExpiry)
  log.info({ event: 'key_changed', subjectKeyId: key.id, fields: Object.keys(changes) }, 'key changed')
  return key
}

/** Revokes a key. Idempotent and irreversible. @throws ApiError 404 */
export async function revokeKey({ db, log }: KeyContext, id: string): Promise<keys.ApiKey> {
  const key = await keys.revokeKey(db, id)
  if (!key) throw keyNotFound()
  log.info({ event: 'key_revoked', subjectKeyId: key.id }, 'key revoked')
  return key
}

/**
 * Creates a successor with the same name, permissions and limit. The old key expires after the overlap.
 * @param successorId as `id` of createKey
 * @throws ApiError 400 if the successor's expiry is not in the future or not allowed, 404, 409 if the key is not active or
 * a key with the successor's id exists, 503
 */
export async function rotateKey(
  { db, secrets, log, maxExpiry = null }: KeyContext,
  id: string,
  { overlapSeconds, expiresAt = null, successorId }: Rotation,
): Promise<RotatedKey> {
  assertExpiryAllowed(expiresAt, maxExpiry)
  const parts = generateTokenParts(successorId)
  const secretHash = await secrets.hash(parts.secret)
  const rotation = { id, successorId: parts.id, secretHash, overlapSeconds, expiresAt, maxExpiry }
  const rotated = await keys.rotateKey(db, rotation)
  if (!rotated) {
    if (await keys.findKey(db, parts.id)) throw keyAlreadyCreated()
    throw await rotationError(db, id, rotation)
  }
  secrets.markVerified(parts)
  log.info({ event: 'key_rotated', subjectKeyId: id, successorKeyId: rotated.key.id }, 'key rotated')
  return { ...rotated, token: formatToken(parts) }
}

type Rotation = {
  overlapSeconds: number
  /** Expiry of the successor. Default: the expiry of the old key. */
  expiresAt?: Date | null | undefined
  successorId?: string | undefined
}

/** Returns a page of keys, newest first. @throws ApiError 400 for an invalid cursor */
export async function listKeyPage(
  db: Kysely<Tables>,
  { cursor, limit, ...filter }: Pick<keys.KeyFilter, 'status' | 'text'> & PageQuery,
) {
  const seq = cursor === undefined ? undefined : parseCursor(cursor, 'keys', /^\d{1,18}$/)
  const rows = await keys.listKeys(db, { ...filter, cursor: seq, limit: limit + 1 })
  return paginate(rows, limit, 'keys', ({ seq }) => seq)
}

type PageQuery = { cursor?: string | undefined; limit: number }

/** @throws ApiError 404 */
export async function getKey(db: Kysely<Tables>, id: string): Promise<keys.ApiKey> {
  const key = await keys.findKey(db, id)
  if (!key) throw keyNotFound()
  return key
}

/** Returns why an update changed nothing. @throws ApiError 404 */
async function updateError(db: Kysely<Tables>, id: string, maxExpiry: Date | null): Promise<ApiError> {
  const { status } = await getKey(db, id)
  return status === 'revoked' || !maxExpiry ? revokedKeyConflict() : expiryTooLate(formatTime(maxExpiry))
}

/** Returns why a rotation changed nothing. @throws ApiError 404 */
async function rotationError(
  db: Kysely<Tables>,
  id: string,
  { expiresAt, maxExpiry }: { expiresAt: Date | null; maxExpiry: Date | null },
): Promise<ApiError> {
  const { status } = await getKey(db, id)
  if (status === 'revoked') return revokedKeyConflict()
  if (status === 'active' && expiresAt) return expiryInPast()
  return status === 'active' && maxExpiry ? expiryTooLate(formatTime(maxExpiry)) : expiredKeyConflict()
}

/** @throws ApiError 400 */
function assertExpiryAllowed(expiresAt: Date | null, maxExpiry: Date | null): void {
  if (expiresAt && maxExpiry && expiresAt > maxExpiry) throw expiryTooLate(formatTime(maxExpiry))
}
