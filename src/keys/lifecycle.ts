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

/** What it takes to change keys. `log` is told of each change, under an `event` whose name stays. */
export type KeyContext = {
  db: Kysely<Tables>
  secrets: Secrets
  log: { info: (fields: object, message: string) => void }
}

/** A key as stored, and `text`: the key itself, which exists here and nowhere else. */
export type IssuedKey = { key: keys.ApiKey; token: string }

/**
 * Makes and stores a new key.
 * @param id for a form that may be sent twice: of two keys of one id, only the first is made.
 * @throws ApiError 400 when `expiresAt` has passed, 409 when there is a key of this id.
 */
export async function createKey(
  { db, secrets, log }: KeyContext,
  attributes: Omit<keys.NewKey, 'id' | 'secretHash'>,
  id?: string,
): Promise<IssuedKey> {
  const parts = generateTokenParts(id)
  const secretHash = await secrets.hash(parts.secret)
  const key = await keys.insertKey(db, { ...attributes, id: parts.id, secretHash })
  if (!key) throw (await keys.findKey(db, parts.id)) ? keyAlreadyCreated() : expiryInPast()
  secrets.markVerified(parts)
  log.info({ event: 'key_created', subjectKeyId: key.id }, 'key created')
  return { key, token: formatToken(parts) }
}

/** @throws ApiError 404, and 409 when the key is revoked. */
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

/** For good, and as often as one likes. @throws ApiError 404 */
export async function revokeKey({ db, log }: KeyContext, id: string): Promise<keys.ApiKey> {
  const key = await keys.revokeKey(db, id)
  if (!key) throw keyNotFound()
  log.info({ event: 'key_revoked', subjectKeyId: key.id }, 'key revoked')
  return key
}

/**
 * Makes a successor of the same name, permissions, limit and expiry; the key itself ends after the overlap.
 * @param successorId as `id` of createKey.
 * @throws ApiError 404, and 409 when the key is not active or there is a key of the successor's id.
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

/** A page of keys, the newest first. @throws ApiError 400 for a cursor that is not ours. */
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
