import type { Kysely } from 'kysely'
import * as keys from '../database/keys.ts'
import type { Tables } from '../database/schema.ts'
import { type ApiError, conflict, invalidRequest, notFound } from '../errors.ts'
import { parseCursor, toPage } from '../schemas/page.ts'
import { formatKey, generateKey } from './format.ts'
import type { Secrets } from './secrets.ts'

/** What it takes to change keys. `log` is told of each change, under an `event` whose name stays. */
export type Office = {
  db: Kysely<Tables>
  secrets: Secrets
  log: { info: (facts: object, message: string) => void }
}

/** A key as stored, and `text`: the key itself, which exists here and nowhere else. */
export type IssuedKey = { stored: keys.ApiKey; text: string }

/**
 * Makes and stores a new key.
 * @param id for a form that may be sent twice: of two keys of one id, only the first is made.
 * @throws ApiError 400 when `expiresAt` has passed, 409 when there is a key of this id.
 */
export async function createKey(
  { db, secrets, log }: Office,
  wanted: Omit<keys.NewKey, 'id' | 'secretHash'>,
  id?: string,
): Promise<IssuedKey> {
  const key = generateKey(id)
  const secretHash = await secrets.hash(key.secret)
  const stored = await keys.insertKey(db, { ...wanted, id: key.id, secretHash })
  if (!stored) throw (await keys.findKey(db, key.id)) ? madeBefore() : expiryHasPassed()
  secrets.remember(key)
  log.info({ event: 'key_created', subjectKeyId: stored.id }, 'key created')
  return { stored, text: formatKey(key) }
}

/** @throws ApiError 404, and 409 when the key is revoked. */
export async function changeKey(
  { db, log }: Office,
  id: string,
  changes: keys.KeyChanges,
): Promise<keys.ApiKey> {
  const key = await keys.updateKey(db, id, changes)
  if (!key) throw await whyNotActive(db, id)
  log.info({ event: 'key_changed', subjectKeyId: key.id, fields: Object.keys(changes) }, 'key changed')
  return key
}

/** For good, and as often as one likes. @throws ApiError 404 */
export async function revokeKey({ db, log }: Office, id: string): Promise<keys.ApiKey> {
  const key = await keys.revokeKey(db, id)
  if (!key) throw noSuchKey()
  log.info({ event: 'key_revoked', subjectKeyId: key.id }, 'key revoked')
  return key
}

/**
 * Makes a successor of the same name, permissions, limit and expiry; the key itself ends after the overlap.
 * @param successorId as `id` of createKey.
 * @throws ApiError 404, and 409 when the key is not active or there is a key of the successor's id.
 */
export async function rotateKey(
  { db, secrets, log }: Office,
  id: string,
  overlapSeconds: number,
  successorId?: string,
): Promise<IssuedKey> {
  const key = generateKey(successorId)
  const secretHash = await secrets.hash(key.secret)
  const stored = await keys.rotateKey(db, { id, successorId: key.id, secretHash, overlapSeconds })
  if (!stored) throw (await keys.findKey(db, key.id)) ? madeBefore() : await whyNotActive(db, id)
  secrets.remember(key)
  log.info({ event: 'key_rotated', subjectKeyId: id, successorKeyId: stored.id }, 'key rotated')
  return { stored, text: formatKey(key) }
}

/** A page of keys, the newest first. @throws ApiError 400 for a cursor that is not ours. */
export async function readKeyPage(
  db: Kysely<Tables>,
  { cursor, limit, ...filter }: Pick<keys.KeyFilter, 'status' | 'text'> & PageQuery,
) {
  const beforeSeq = cursor === undefined ? undefined : parseCursor(cursor, /^\d{1,18}$/)
  const rows = await keys.listKeys(db, { ...filter, beforeSeq, limit: limit + 1 })
  return toPage(rows, limit, ({ seq }) => seq)
}

type PageQuery = { cursor?: string | undefined; limit: number }

/** @throws ApiError 404 */
export async function findKey(db: Kysely<Tables>, id: string): Promise<keys.ApiKey> {
  const key = await keys.findKey(db, id)
  if (!key) throw noSuchKey()
  return key
}

async function whyNotActive(db: Kysely<Tables>, id: string): Promise<ApiError> {
  const key = await findKey(db, id)
  return key.status === 'revoked'
    ? conflict('The key is revoked, which is for good: create a new one')
    : conflict('The key has expired: give it a later expires_at first, or create a new one')
}

const noSuchKey = () => notFound('There is no key of this id')

const madeBefore = () =>
  conflict('This form was sent before: the key exists, and was shown then. Was it lost? Rotate or revoke it.')

const expiryHasPassed = () =>
  invalidRequest('Invalid body: /expires_at has passed', [
    { path: '/expires_at', message: 'must be in the future' },
  ])
