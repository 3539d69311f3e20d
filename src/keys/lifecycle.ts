import type { Kysely } from 'kysely'
import { auditedTransaction, type Change, type ChangeContext, diff, diffNew } from '../audit/transaction.ts'
import { databaseNow } from '../database/clock.ts'
import type { Tables } from '../database/schema.ts'
import {
  adminBoundToMonitors,
  adminTooLong,
  type ApiError,
  expiredKeyConflict,
  expiryInPast,
  expiryTooLate,
  keyAlreadyCreated,
  keyNotFound,
  lifetimeTooLong,
  revokedKeyConflict,
  rotatedKeyConflict,
} from '../errors.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'
import { formatTime } from '../wire/time.ts'
import type { ExpiryLimits } from './expiry.ts'
import * as keys from './repository.ts'
import { type EndedKey, type OldKey, storeRotation } from './rotation-repository.ts'
import type { Secrets } from './secrets.ts'
import { formatToken, generateTokenParts } from './token.ts'

/** Dependencies of changes to keys. Each change is logged with an `event`; alerts rely on the names of events. */
export type KeyContext = ChangeContext & {
  secrets: Secrets
  log: { info: (fields: object, message: string) => void }
  /**
   * The calling key. It can neither create or extend a key beyond its own expiry, nor grant `admin` to a key that expires
   * later. Null: an operator of the service.
   */
  caller: Pick<keys.ApiKey, 'id' | 'expires_at'> | null
  /** KEY_LIFETIME_MAX_DAYS. Null: no limit. */
  lifetimeMaxDays: number | null
}

/** A key and its token, which is not stored. */
export type IssuedKey = { key: keys.ApiKey; token: string }

/** A successor, and the state of the key that it replaces. */
type RotatedKey = IssuedKey & { old: OldKey }

/** Fields that are omitted are null: no description, no expiry, the default limit, all monitors and any address. */
export type NewKey = Pick<keys.KeyAttributes, 'name' | 'permissions'> & Partial<keys.KeyAttributes>

/**
 * Creates a key. Without `expires_at`, it gets the latest allowed expiry.
 * @param id makes the creation idempotent, for a form that may be submitted twice
 * @throws ApiError 400 if `expires_at` is not in the future or not allowed, or if an admin key is bound to monitors, 409
 * if a key with this id exists, 503
 */
export async function createKey(context: KeyContext, attributes: NewKey, id?: string): Promise<IssuedKey> {
  const { db, secrets, log, caller } = context
  assertNotBoundAdmin(attributes)
  const parts = generateTokenParts(id)
  const newKey = {
    description: null,
    rate_limit: null,
    monitors: null,
    allowed_ips: null,
    expires_at: null,
    ...attributes,
    id: parts.id,
    secret_hash: await secrets.hash(parts.secret),
    created_by: caller?.id ?? null,
  }
  const key = await auditedTransaction(context, async (change) => {
    const created = await keys.insertKey(change.trx, newKey, toExpiryLimits(context))
    if (created) recordCreated(change, created)
    return created
  })
  if (!key) {
    throw (await keys.findKey(db, parts.id))
      ? keyAlreadyCreated()
      : await expiryError(context, attributes.expires_at ?? null)
  }
  secrets.markVerified(parts)
  log.info({ event: 'key_created', subjectKeyId: key.id }, 'key created')
  return { key, token: formatToken(parts) }
}

/** Fields whose changes audit events record. */
const auditedFields = [
  'name',
  'description',
  'permissions',
  'rate_limit',
  'monitors',
  'allowed_ips',
  'expires_at',
  'rotated_from',
] as const

function recordCreated({ record }: Change, key: keys.ApiKey): void {
  record({ action: 'key.created', target: toTarget(key), changes: diffNew(key, auditedFields) })
}

function recordEnded({ record }: Change, { before, after, ...key }: EndedKey): void {
  const changes = diff({ expires_at: before }, { expires_at: after }, ['expires_at'])
  record({ action: 'key.updated', target: toTarget(key), changes })
}

/** The target of audit events about a key. */
export function toTarget({ id, name }: Pick<keys.ApiKey, 'id' | 'name'>) {
  return { type: 'key' as const, id, name }
}

/**
 * @throws ApiError 400 if the new expiry or `admin` is not allowed, or if an admin key would be bound to monitors, 412,
 * 404, 409 if the key is revoked
 */
export async function updateKey(
  context: KeyContext,
  id: string,
  changes: keys.KeyChanges,
  expected: Precondition = {},
): Promise<keys.ApiKey> {
  assertNotBoundAdmin(changes)
  const key = await auditedTransaction(context, async ({ trx, record }) => {
    const before = await keys.lockKey(trx, id)
    assertPrecondition(expected, before)
    const updated =
      before &&
      (await keys.updateKey(trx, id, changes, toExpiryLimits(context)).catch(rethrowBoundAdmin(changes)))
    if (!updated) return undefined
    record({
      action: 'key.updated',
      target: toTarget(updated),
      changes: diff(before, updated, auditedFields),
    })
    return updated
  })
  if (!key) throw await updateError(context, id, changes)
  context.log.info(
    { event: 'key_changed', subjectKeyId: key.id, fields: Object.keys(changes) },
    'key changed',
  )
  return key
}

/** Revokes a key. Idempotent and irreversible. @throws ApiError 404 */
export async function revokeKey(context: RevocationContext, id: string): Promise<keys.ApiKey> {
  const { revoked, unchanged } = await revokeKeys(context, [id])
  const [key] = [...revoked, ...unchanged]
  if (!key) throw keyNotFound()
  return key
}

type RevocationContext = ChangeContext & Pick<KeyContext, 'log'>

/**
 * Revokes all of these keys or, if one does not exist, none. Idempotent and irreversible.
 * @returns `unchanged`: keys that were revoked before. @throws ApiError 404
 */
export async function revokeKeys(
  context: RevocationContext,
  ids: readonly string[],
): Promise<{ revoked: keys.ApiKey[]; unchanged: keys.ApiKey[] }> {
  const result = await auditedTransaction(context, async ({ trx, record }) => {
    const before = new Map((await keys.lockKeys(trx, ids)).map((key) => [key.id, key]))
    if (ids.some((id) => !before.has(id))) throw keyNotFound()
    const wasRevoked = ({ id }: keys.ApiKey) => before.get(id)?.status === 'revoked'
    const after = await keys.revokeKeys(trx, ids)
    for (const key of after) {
      const changes = diff(before.get(key.id) ?? {}, key, ['revoked_at'])
      record({ action: 'key.revoked', target: toTarget(key), changes })
    }
    return { revoked: after.filter((key) => !wasRevoked(key)), unchanged: after.filter(wasRevoked) }
  })
  for (const key of [...result.revoked, ...result.unchanged]) {
    context.log.info({ event: 'key_revoked', subjectKeyId: key.id }, 'key revoked')
  }
  return result
}

/**
 * Creates a successor with the same attributes. The old key expires after the overlap. If it rotates itself, the key that it
 * replaced expires now.
 * @param successorId as `id` of createKey
 * @throws ApiError 400 if the successor's expiry is not in the future or not allowed, 404, 409 if the key is not active,
 * was rotated before, or if a key with the successor's id exists, 503
 */
export async function rotateKey(
  context: KeyContext,
  id: string,
  { overlapSeconds, expiresAt = null, successorId }: Rotation,
): Promise<RotatedKey> {
  const { db, secrets, log, caller } = context
  const parts = generateTokenParts(successorId)
  const rotation = {
    id,
    successorId: parts.id,
    secretHash: await secrets.hash(parts.secret),
    overlapSeconds,
    expiresAt,
    callerId: caller?.id ?? null,
  }
  const rotated = await auditedTransaction(context, async (change) => {
    const before = await keys.lockKey(change.trx, id)
    const result = before && (await storeRotation(change.trx, rotation, toExpiryLimits(context)))
    if (!result) return undefined
    const after = { ...before, rotated_to: result.key.id, expires_at: result.old.expires_at }
    change.record({
      action: 'key.rotated',
      target: toTarget(before),
      changes: diff(before, after, ['rotated_to', 'expires_at']),
    })
    recordCreated(change, result.key)
    if (result.ended) recordEnded(change, result.ended)
    return result
  })
  if (!rotated) {
    if (await keys.findKey(db, parts.id)) throw keyAlreadyCreated()
    throw await rotationError(context, id, expiresAt)
  }
  secrets.markVerified(parts)
  log.info({ event: 'key_rotated', subjectKeyId: id, successorKeyId: rotated.key.id }, 'key rotated')
  return { ...rotated, token: formatToken(parts) }
}

/** Deletes a key that was never used. Other keys are revoked, so that their ids stay known. */
export async function deleteKey(
  context: ChangeContext,
  key: Pick<keys.ApiKey, 'id' | 'name'>,
): Promise<void> {
  await auditedTransaction(context, async ({ trx, record }) => {
    await keys.deleteKey(trx, key.id)
    record({ action: 'key.deleted', target: toTarget(key) })
  })
}

type Rotation = {
  overlapSeconds: number
  /** Expiry of the successor. Default: the expiry of the old key. */
  expiresAt?: Date | null | undefined
  successorId?: string | undefined
}

/** @throws ApiError 404 */
export async function getKey(db: Kysely<Tables>, id: string): Promise<keys.ApiKey> {
  const key = await keys.findKey(db, id)
  if (!key) throw keyNotFound()
  return key
}

/** Returns why an update changed nothing. @throws ApiError 404 */
async function updateError(
  context: KeyContext,
  id: string,
  { permissions, expires_at }: keys.KeyChanges,
): Promise<ApiError> {
  const { status } = await getKey(context.db, id)
  if (status === 'revoked') return revokedKeyConflict()
  if (expires_at !== undefined) return expiryError(context, expires_at)
  const callerExpiry = context.caller?.expires_at
  return callerExpiry && permissions?.includes('admin')
    ? adminTooLong(formatTime(callerExpiry))
    : revokedKeyConflict()
}

/** Returns why a rotation changed nothing. @throws ApiError 404 */
async function rotationError(context: KeyContext, id: string, expiresAt: Date | null): Promise<ApiError> {
  const { status, rotated_to, expires_at } = await getKey(context.db, id)
  if (rotated_to !== null) return rotatedKeyConflict(rotated_to)
  if (status === 'revoked') return revokedKeyConflict()
  if (status === 'expired') return expiredKeyConflict()
  return expiryError(
    context.caller?.id === id ? { ...context, caller: { id, expires_at } } : context,
    expiresAt ?? expires_at,
  )
}

/** Returns why a key may not expire at this time. Null: never. */
async function expiryError(
  { db, caller, lifetimeMaxDays }: KeyContext,
  expiresAt: Date | null,
): Promise<ApiError> {
  const expiry = expiresAt?.getTime() ?? Infinity
  const callerExpiry = caller?.expires_at
  if (callerExpiry && expiry > callerExpiry.getTime()) return expiryTooLate(formatTime(callerExpiry))
  const now = await databaseNow(db)
  if (lifetimeMaxDays === null || expiry <= now.getTime()) return expiryInPast()
  return lifetimeTooLong(lifetimeMaxDays, formatTime(new Date(now.getTime() + lifetimeMaxDays * 86_400_000)))
}

function toExpiryLimits({ caller, lifetimeMaxDays }: KeyContext): ExpiryLimits {
  return { callerExpiresAt: caller?.expires_at ?? null, lifetimeMaxDays }
}

/** @throws ApiError 400 if the fields bind an admin key to monitors */
export function assertNotBoundAdmin({ permissions, monitors }: keys.KeyChanges): void {
  if (monitors != null && permissions?.includes('admin')) throw adminBoundToMonitors('/monitors')
}

/** Translates the check of the table, which also sees the fields that do not change. Names the field that was sent. */
const rethrowBoundAdmin =
  ({ monitors }: keys.KeyChanges) =>
  (error: unknown): never => {
    const isBound =
      error instanceof Error && 'constraint' in error && error.constraint === 'api_keys_admin_has_no_monitors'
    throw isBound ? adminBoundToMonitors(monitors == null ? '/permissions' : '/monitors') : error
  }
