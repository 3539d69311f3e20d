import { type Kysely, type Selectable, sql } from 'kysely'
import { prepared, sortFields } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { Permission } from '../permissions.ts'

export type KeyStatus = 'active' | 'expired' | 'revoked'

/** A key without its hash, which only authentication reads. */
export type ApiKey = Omit<Selectable<Tables['api_keys']>, 'secret_hash'> & { status: KeyStatus }

/** The status by the database's clock. Revoked takes precedence over expired. */
export const keyStatus = sql<KeyStatus>`
  case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'active' end`

/** True for keys that may use the admin panel. */
export const isActiveAdmin = sql<boolean>`(${keyStatus} = 'active' and 'admin' = any(permissions))`

const publicColumns = [
  'id',
  'seq',
  'name',
  'permissions',
  'rate_limit',
  'expires_at',
  'created_at',
  'last_used_at',
  'revoked_at',
  'rotated_from',
] as const

export type NewKey = {
  id: string
  secret_hash: string
  name: string
  permissions: Permission[]
  rate_limit: number | null
  expires_at: Date | null
}

/** Returns undefined if `expires_at` is not in the future by the database's clock, or if the id exists. */
export async function insertKey(db: Kysely<Tables>, key: NewKey): Promise<ApiKey | undefined> {
  return db
    .insertInto('api_keys')
    .columns(['id', 'secret_hash', 'name', 'permissions', 'rate_limit', 'expires_at'])
    .expression(
      db
        .selectNoFrom([
          sql<string>`${key.id}::text`.as('id'),
          sql<string>`${key.secret_hash}::text`.as('secret_hash'),
          sql<string>`${key.name}::text`.as('name'),
          sql<Permission[]>`${key.permissions}::text[]`.as('permissions'),
          sql<number | null>`${key.rate_limit}::integer`.as('rate_limit'),
          sql<Date | null>`${key.expires_at}::timestamptz`.as('expires_at'),
        ])
        .where(sql<boolean>`coalesce(${key.expires_at}::timestamptz > now(), true)`),
    )
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning(publicColumns)
    .returning(keyStatus.as('status'))
    .executeTakeFirst()
}

export async function findKey(db: Kysely<Tables>, id: string): Promise<ApiKey | undefined> {
  return db
    .selectFrom('api_keys')
    .select(publicColumns)
    .select(keyStatus.as('status'))
    .where('id', '=', id)
    .executeTakeFirst()
}

export type KeyFilter = {
  status?: KeyStatus | undefined
  /** A substring of the name (case-insensitive) or of the id. */
  text?: string | undefined
  cursor?: string | undefined
  limit?: number | undefined
}

/** Lists keys, newest first. `cursor` is the `seq` of the last key of the previous page. */
export async function listKeys(
  db: Kysely<Tables>,
  { status, text, cursor, limit }: KeyFilter = {},
): Promise<ApiKey[]> {
  return db
    .selectFrom('api_keys')
    .select(publicColumns)
    .select(keyStatus.as('status'))
    .$if(status !== undefined, (query) => query.where(keyStatus, '=', status ?? 'active'))
    .$if(text !== undefined, (query) =>
      query.where(sql<boolean>`(position(lower(${text}) in lower(name)) > 0 or position(${text} in id) > 0)`),
    )
    .$if(cursor !== undefined, (query) => query.where('seq', '<', cursor ?? ''))
    .orderBy('seq', 'desc')
    .$if(limit !== undefined, (query) => query.limit(limit ?? 0))
    .execute()
}

export type KeyChanges = {
  name?: string
  permissions?: Permission[]
  rate_limit?: number | null
  expires_at?: Date | null
}

/**
 * Returns undefined if the key does not exist or is revoked. Deletes the key's sessions if it is no longer an active
 * admin key, so that they do not come back if it becomes one again.
 */
export async function updateKey(
  db: Kysely<Tables>,
  id: string,
  changes: KeyChanges,
): Promise<ApiKey | undefined> {
  return db
    .with('changed', (query) =>
      query
        .updateTable('api_keys')
        // SET must not be empty, so that it always assigns the name.
        .set((eb) => ({ name: eb.ref('name'), ...sortFields(changes) }))
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .returning(publicColumns)
        .returning([keyStatus.as('status'), isActiveAdmin.as('is_admin')]),
    )
    .with('ended', (query) =>
      query
        .deleteFrom('admin_sessions')
        .using('changed')
        .whereRef('key_id', '=', 'changed.id')
        .where('is_admin', '=', false),
    )
    .selectFrom('changed')
    .select([...publicColumns, 'status'])
    .executeTakeFirst()
}

/** Keeps the time of the first revocation. Returns undefined if the key does not exist. */
export async function revokeKey(db: Kysely<Tables>, id: string): Promise<ApiKey | undefined> {
  return db
    .updateTable('api_keys')
    .set({ revoked_at: sql`coalesce(revoked_at, now())` })
    .where('id', '=', id)
    .returning(publicColumns)
    .returning(keyStatus.as('status'))
    .executeTakeFirst()
}

/** Deletes a key that was never used. Other keys are revoked, so that their ids stay known. */
export async function deleteKey(db: Kysely<Tables>, id: string): Promise<void> {
  await db.deleteFrom('api_keys').where('id', '=', id).execute()
}

/**
 * Stores a successor with the name, permissions, limit and expiry of an active key. The old key expires after
 * `overlapSeconds`, never later than before. Returns undefined, and changes nothing, if `id` is not an active key or if
 * the successor's id exists.
 *
 * Compares with clock_timestamp(), not now(): of two concurrent rotations, the second waits for the row lock and then
 * finds an expiry that may be later than its own now().
 */
export async function rotateKey(
  db: Kysely<Tables>,
  { id, successorId, secretHash, overlapSeconds }: RotatedKey,
): Promise<ApiKey | undefined> {
  const { rows } = await sql<ApiKey>`
    with old as (
      select id, name, permissions, rate_limit, expires_at from api_keys
      where id = ${id} and revoked_at is null and (expires_at is null or expires_at > clock_timestamp())
        and not exists (select from api_keys where id = ${successorId})
      for update
    ), created as (
      insert into api_keys (id, secret_hash, name, permissions, rate_limit, expires_at, rotated_from)
      select ${successorId}, ${secretHash}, name, permissions, rate_limit, expires_at, id from old
      on conflict (id) do nothing
      returning *
    ), ended as (
      update api_keys
      set expires_at = least(old.expires_at, date_trunc('second', now() + make_interval(secs => ${overlapSeconds})))
      from old, created where api_keys.id = old.id
    )
    select ${sql.join(publicColumns.map((column) => sql.ref(column)))}, ${keyStatus} as status from created`.execute(
    db,
  )
  return rows[0]
}

type RotatedKey = { id: string; successorId: string; secretHash: string; overlapSeconds: number }

/** Returns the hashes in the order of the ids: undefined for a key that does not exist. */
export async function findHashes(
  db: Kysely<Tables>,
  ids: readonly string[],
): Promise<(string | undefined)[]> {
  const { rows } = await prepared(sql<{ id: string; secret_hash: string }>`
    select id, secret_hash from api_keys where id = any(${ids})`).execute(db)
  const hashes = new Map(rows.map(({ id, secret_hash }) => [id, secret_hash]))
  return ids.map((id) => hashes.get(id))
}

/** Stores a hash with the current parameters, unless another replica has replaced `from` already. */
export async function replaceHash(
  db: Kysely<Tables>,
  { id, from, to }: { id: string; from: string; to: string },
): Promise<void> {
  await db
    .updateTable('api_keys')
    .set({ secret_hash: to })
    .where('id', '=', id)
    .where('secret_hash', '=', from)
    .execute()
}

/** Updates `last_used_at`. Skips locked rows: the next request updates them. */
export async function touchKeys(db: Kysely<Tables>, ids: readonly string[]): Promise<void> {
  await prepared(sql`
    update api_keys set last_used_at = now()
    where id in (
      select id from api_keys where id = any(${ids}) and ${isLastUsedStale} for no key update skip locked
    )`).execute(db)
}

/** Limits writes to one per minute and key. `last_used_at` is documented as accurate to 5 minutes. */
export const isLastUsedStale = sql<boolean>`coalesce(last_used_at < now() - interval '1 minute', true)`
