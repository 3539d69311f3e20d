import type { Kysely } from 'kysely'
import type { Tables } from '../database/schema.ts'
import {
  type ApiError,
  expiredKeyConflict,
  expiryInPast,
  keyAlreadyCreated,
  keyNotFound,
  revokedKeyConflict,
} from '../errors.ts'
import { paginate, parseCursorText } from '../wire/pagination.ts'
import * as keys from './repository.ts'
import type { Secrets } from './secrets.ts'
import { formatToken, generateTokenParts } from './token.ts'

/** Dependencies of changes to keys. Each change is logged with an `event`; alerts rely on the names of events. */
export type KeyContext = {
  db: Kysely<Tables>
  secrets: Secrets
  log: { info: (fields: object, message: string) => void }
}

/** A key and its token, which is not stored. */
export type IssuedKey = { key: keys.ApiKey; token: string }

/**
 * Creates a key.
 * @param id makes the creation idempotent, for a form that may be submitted twice
 * @throws ApiError 400 if `expires_at` is not in the future, 409 if a key with this id exists, 503
 */
export async function createKey(
  { db, secrets, log }: KeyContext,
  attributes: Omit<keys.NewKey, 'id' | 'secret_hash'>,
  id?: string,
): Promise<IssuedKey> {
  const parts = generateTokenParts(id)
  const secret_hash = await secrets.hash(parts.secret)
  const key = await keys.insertKey(db, { ...attributes, id: parts.id, secret_hash })
  if (!key) throw (await keys.findKey(db, parts.id)) ? keyAlreadyCreated() : expiryInPast()
  secrets.markVerified(parts)
  log.info({ event: 'key_created', subjectKeyId: key.id }, 'key created')
  return { key, token: formatToken(parts) }
}

/** @throws ApiError 404, 409 if the key is revoked */
export async function updateKey(
  { db, log }: KeyContext,
  id: string,
  changes: keys.KeyChanges,
): Promise<keys.ApiKey> {
  const key = await keys.updateKey(db, id, changes)
  if (!key) throw await inactiveKeyError(db, id)
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
 * Creates a successor with the same name, permissions, limit and expiry. The old key expires after the overlap.
 * @param successorId as `id` of createKey
 * @throws ApiError 404, 409 if the key is not active or a key with the successor's id exists, 503
 */
export async function rotateKey(
  { db, secrets, log }: KeyContext,
  id: string,
  overlapSeconds: number,
  successorId?: string,
): Promise<IssuedKey> {
  const parts = generateTokenParts(successorId)
  const secretHash = await secrets.hash(parts.secret)
  const key = await keys.rotateKey(db, { id, successorId: parts.id, secretHash, overlapSeconds })
  if (!key) throw (await keys.findKey(db, parts.id)) ? keyAlreadyCreated() : await inactiveKeyError(db, id)
  secrets.markVerified(parts)
  log.info({ event: 'key_rotated', subjectKeyId: id, successorKeyId: key.id }, 'key rotated')
  return { key, token: formatToken(parts) }
}

/** Returns a page of keys, newest first. @throws ApiError 400 for an invalid cursor */
export async function listKeyPage(
  db: Kysely<Tables>,
  { cursor, limit, ...filter }: Pick<keys.KeyFilter, 'status' | 'text'> & PageQuery,
) {
  const seq = cursor === undefined ? undefined : parseCursorText(cursor, /^\d{1,18}$/)
  const rows = await keys.listKeys(db, { ...filter, cursor: seq, limit: limit + 1 })
  return paginate(rows, limit, ({ seq }) => seq)
}

type PageQuery = { cursor?: string | undefined; limit: number }

/** @throws ApiError 404 */
export async function getKey(db: Kysely<Tables>, id: string): Promise<keys.ApiKey> {
  const key = await keys.findKey(db, id)
  if (!key) throw keyNotFound()
  return key
}

async function inactiveKeyError(db: Kysely<Tables>, id: string): Promise<ApiError> {
  const key = await getKey(db, id)
  return key.status === 'revoked' ? revokedKeyConflict() : expiredKeyConflict()
}
