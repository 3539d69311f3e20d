import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { KeyStatus } from '../enums.ts'
import type { Permission } from '../permissions.ts'
import { type ExpiryLimits, latestExpiry, wholeSecond } from './expiry.ts'

/** A key without its hash, which only authentication reads, and without `permissions_since`, which only ./advice.ts reads. */
export type ApiKey = Omit<Selectable<Tables['api_keys']>, 'secret_hash' | 'permissions_since'> & {
  status: KeyStatus
  /** Null if `created_by` is. */
  created_by_name: string | null
}

/** The status by the database's clock. */
export const keyStatus = sql<KeyStatus>`
  case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'active' end`

export const isActive = sql<boolean>`(${keyStatus} = 'active')`

const publicColumns = [
  'id',
  'seq',
  'name',
  'permissions',
  'rate_limit',
  'expires_at',
  'created_at',
  'last_used_at',
  'last_used_address',
  'revoked_at',
  'rotated_from',
  'rotated_to',
  'description',
  'monitors',
  'allowed_ips',
  'created_by',
  'version',
] as const

const creatorName = sql<string | null>`
  (select creator.name from api_keys as creator where creator.id = api_keys.created_by)`

/** The columns of an ApiKey, for raw SQL. */
export const keyColumns = sql`
  ${sql.join(publicColumns.map((column) => sql.ref(column)))}, ${keyStatus} as status, ${creatorName} as created_by_name`

const selection = [...publicColumns, keyStatus.as('status'), creatorName.as('created_by_name')] as const

export type KeyAttributes = {
  name: string
  description: string | null
  permissions: Permission[]
  rate_limit: number | null
  monitors: string[] | null
  allowed_ips: string[] | null
  expires_at: Date | null
}

type NewKey = KeyAttributes & {
  id: string
  secret_hash: string
  /** Id of the calling key. */
  created_by: string | null
}

/**
 * Stores a key. Without `expires_at`, it gets the latest allowed expiry. Returns undefined if `expires_at` is not in the
 * future by the database's clock, or is later than allowed, or if the id exists.
 */
export async function insertKey(
  db: Kysely<Tables>,
  key: NewKey,
  limits: ExpiryLimits,
): Promise<ApiKey | undefined> {
  const expiry = sql<Date | null>`
    coalesce(${key.expires_at}::timestamptz, ${wholeSecond(latestExpiry(limits))})`
  return db
    .insertInto('api_keys')
    .columns([
      'id',
      'secret_hash',
      'name',
      'description',
      'permissions',
      'rate_limit',
      'monitors',
      'allowed_ips',
      'created_by',
      'expires_at',
    ])
    .expression(
      db
        .selectNoFrom([
          sql<string>`${key.id}::text`.as('id'),
          sql<string>`${key.secret_hash}::text`.as('secret_hash'),
          sql<string>`${key.name}::text`.as('name'),
          sql<string | null>`${key.description}::text`.as('description'),
          sql<Permission[]>`${key.permissions}::text[]`.as('permissions'),
          sql<number | null>`${key.rate_limit}::integer`.as('rate_limit'),
          sql<string[] | null>`${key.monitors}::text[]`.as('monitors'),
          sql<string[] | null>`${key.allowed_ips}::text[]`.as('allowed_ips'),
          sql<string | null>`${key.created_by}::text`.as('created_by'),
          expiry.as('expires_at'),
        ])
        .where(sql<boolean>`coalesce(${expiry} > now(), true)`)
        .where(sql<boolean>`coalesce(${expiry} <= ${latestExpiry(limits)}, true)`),
    )
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning(selection)
    .executeTakeFirst()
}

export async function findKey(db: Kysely<Tables>, id: string): Promise<ApiKey | undefined> {
  return db.selectFrom('api_keys').select(selection).where('id', '=', id).executeTakeFirst()
}

/** Locks a key until commit. Returns undefined if it does not exist. */
export async function lockKey(trx: Transaction<Tables>, id: string): Promise<ApiKey | undefined> {
  const [key] = await lockKeys(trx, [id])
  return key
}

/** A key that may write to a monitor. */
export type Writer = Pick<ApiKey, 'id' | 'name' | 'permissions' | 'monitors' | 'last_used_at'>

/** Lists the active keys that may write to a monitor, last used first. */
export async function listWriters(db: Kysely<Tables>, tag: string, limit: number): Promise<Writer[]> {
  const { rows } = await sql<Writer>`
    select id, name, permissions, monitors, last_used_at from api_keys
    where ${keyStatus} = 'active' and permissions && array['write:monitors', 'admin'] and (
      monitors is null or exists (
        select from unnest(monitors) as pattern
        where case when pattern like '%*' then starts_with(${tag}, left(pattern, -1)) else pattern = ${tag} end))
    order by last_used_at desc nulls last, seq desc limit ${limit}`.execute(db)
  return rows
}

/** An active key that replaced another one. */
export type Successor = Pick<ApiKey, 'id' | 'name' | 'created_at'>

/**
 * Lists the active keys that replaced one of these keys, directly or by further rotations, and are not among them: the
 * newest 20, newest first.
 */
export async function listActiveSuccessors(
  db: Kysely<Tables>,
  keys: readonly Pick<ApiKey, 'id' | 'rotated_to'>[],
): Promise<Successor[]> {
  const successorIds = keys.map(({ rotated_to }) => rotated_to).filter((id) => id !== null)
  if (successorIds.length === 0) return []
  const { rows } = await sql<Successor>`
    with recursive successors as (
      select id, rotated_to from api_keys where id = any(${successorIds}::text[])
      union
      select api_keys.id, api_keys.rotated_to from api_keys join successors on api_keys.id = successors.rotated_to
    )
    select id, name, created_at from api_keys
    where id in (select id from successors) and id <> all(${keys.map(({ id }) => id)}::text[]) and ${keyStatus} = 'active'
    order by seq desc limit 20`.execute(db)
  return rows
}

type KeyFilter = {
  status?: KeyStatus | undefined
  /** A substring of the name or the description (both case-insensitive), or of the id. */
  text?: string | undefined
  expires_before?: Date | undefined
  /** Matches keys that were not used since, which includes keys that were never used. */
  unused_since?: Date | undefined
  cursor?: string | undefined
  limit?: number | undefined
}

/** True for keys whose name, description or id contains the text. */
export const matchesText = (text: string) => sql<boolean>`(
  position(lower(${text}) in lower(name)) > 0 or position(lower(${text}) in lower(description)) > 0
    or position(${text} in id) > 0)`

/** Lists keys, newest first. `cursor` is the `seq` of the last key of the previous page. */
export async function listKeys(
  db: Kysely<Tables>,
  { status, text, expires_before, unused_since, cursor, limit }: KeyFilter = {},
): Promise<ApiKey[]> {
  return db
    .selectFrom('api_keys')
    .select(selection)
    .$if(status !== undefined, (query) => query.where(keyStatus, '=', status ?? 'active'))
    .$if(text !== undefined, (query) => query.where(matchesText(text ?? '')))
    .$if(expires_before !== undefined, (query) => query.where('expires_at', '<', expires_before ?? null))
    .$if(unused_since !== undefined, (query) =>
      query.where(sql<boolean>`coalesce(last_used_at < ${unused_since}, true)`),
    )
    .$if(cursor !== undefined, (query) => query.where('seq', '<', cursor ?? ''))
    .orderBy('seq', 'desc')
    .$if(limit !== undefined, (query) => query.limit(limit ?? 0))
    .execute()
}

export type KeyChanges = Partial<KeyAttributes>

/**
 * Returns undefined if the key does not exist or is revoked, if its expiry would become later than both its current one
 * and the latest allowed one, or if it would become an admin key and expire later than the calling key. Deletes the key's
 * sessions if it has expired, so that they do not come back if it gets a later expiry.
 */
export async function updateKey(
  db: Kysely<Tables>,
  id: string,
  changes: KeyChanges,
  limits: ExpiryLimits,
): Promise<ApiKey | undefined> {
  const isExpiryAllowed = sql<boolean>`
    coalesce(${changes.expires_at}::timestamptz, 'infinity')
      <= greatest(coalesce(${latestExpiry(limits)}, 'infinity'), coalesce(expires_at, 'infinity'))`
  const expiry =
    changes.expires_at === undefined ? sql.ref('expires_at') : sql`${changes.expires_at}::timestamptz`
  const isAdminAllowed = sql<boolean>`
    ('admin' = any(permissions) or coalesce(${expiry}, 'infinity') <= ${limits.callerExpiresAt}::timestamptz)`
  return db
    .with('changed', (query) =>
      query
        .updateTable('api_keys')
        // SET must not be empty, so that it always assigns the name.
        .set((eb) => ({ name: eb.ref('name'), ...sortFields(changes) }))
        .$if(changes.permissions !== undefined, (changed) =>
          changed.set('permissions_since', permissionsSince(changes.permissions ?? [])),
        )
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .$if(changes.expires_at !== undefined, (limited) => limited.where(isExpiryAllowed))
        .$if(limits.callerExpiresAt !== null && changes.permissions?.includes('admin') === true, (limited) =>
          limited.where(isAdminAllowed),
        )
        .returning(selection),
    )
    .with('ended', (query) =>
      query
        .deleteFrom('admin_sessions')
        .using('changed')
        .whereRef('key_id', '=', 'changed.id')
        .where('changed.status', '<>', 'active'),
    )
    .selectFrom('changed')
    .select([...publicColumns, 'status', 'created_by_name'])
    .executeTakeFirst()
}

/** The new value for a key that gets these permissions. An admin key had all of them before. */
const permissionsSince = (permissions: Permission[]) => sql<Date | null>`
  case when 'admin' = any(permissions) or permissions @> ${permissions}::text[] then permissions_since else now() end`

/** Locks keys until commit, in an order that all callers share, so that they do not deadlock. Returns those that exist. */
export async function lockKeys(trx: Transaction<Tables>, ids: readonly string[]): Promise<ApiKey[]> {
  await sql`select from api_keys where id = any(${ids}::text[]) order by id for no key update`.execute(trx)
  return findKeys(trx, ids)
}

/** Returns the keys with these ids that exist, newest first. */
export async function findKeys(db: Kysely<Tables>, ids: readonly string[]): Promise<ApiKey[]> {
  return db
    .selectFrom('api_keys')
    .select(selection)
    .where(sql<boolean>`id = any(${ids}::text[])`)
    .orderBy('seq', 'desc')
    .execute()
}

/** Keeps the time of the first revocation. Returns the keys that exist, newest first. */
export async function revokeKeys(db: Kysely<Tables>, ids: readonly string[]): Promise<ApiKey[]> {
  await db
    .updateTable('api_keys')
    .set({ revoked_at: sql`now()` })
    .where(sql<boolean>`id = any(${ids}::text[])`)
    .where('revoked_at', 'is', null)
    .execute()
  return findKeys(db, ids)
}

export async function deleteKey(db: Kysely<Tables>, id: string): Promise<void> {
  await db.deleteFrom('api_keys').where('id', '=', id).execute()
}
