import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import type { KeyStatus } from '../enums.ts'
import { type ExpiryLimits, latestExpiry, lifetimeEnd, wholeSecond } from './expiry.ts'
import { type ApiKey, keyColumns } from './repository.ts'
import { permissionColumns } from './usage-columns.ts'

/** The state of a key after its rotation. */
export type OldKey = Pick<ApiKey, 'id' | 'status' | 'expires_at'>

/** A key whose overlap was ended, with its expiry before and after. */
export type EndedKey = { id: string; name: string; before: Date; after: Date }

type Rotation = {
  id: string
  successorId: string
  secretHash: string
  overlapSeconds: number
  /** Expiry of the successor. Null: that of the old key before the rotation, or the end of the longest lifetime. */
  expiresAt: Date | null
  /** Id of the calling key. */
  callerId: string | null
}

/**
 * Stores a successor with the attributes of an active key that was not rotated before. The old key expires after
 * `overlapSeconds`, never later than before. Returns undefined, and changes nothing, if `id` is not such a key, if the
 * successor's id exists, or if the successor's expiry is not in the future or later than allowed. A key that rotates
 * itself is bound by the expiry that it has now, not by the one that it had when it was authenticated.
 *
 * A key that rotates itself also ends the overlap of the key that it replaced. Otherwise a chain of rotations would be
 * many valid keys, each with a rate limit of its own.
 *
 * Compares with clock_timestamp(), not now(): of two concurrent rotations, the second waits for the row lock and then
 * finds an expiry that may be later than its own now().
 */
export async function storeRotation(
  db: Kysely<Tables>,
  { id, successorId, secretHash, overlapSeconds, expiresAt, callerId }: Rotation,
  limits: ExpiryLimits,
): Promise<{ key: ApiKey; old: OldKey; ended: EndedKey | null } | undefined> {
  const newExpiry = sql`
    coalesce(${expiresAt}::timestamptz, least(expires_at, ${wholeSecond(lifetimeEnd(limits))}), 'infinity')`
  const latest = sql`
    coalesce(least(${latestExpiry(limits)}, case when id = ${callerId} then expires_at end), 'infinity')`
  const copied = sql`name, description, permissions, rate_limit, monitors, allowed_ips`
  // The successor inherits what is known about the use of its permissions, because its client is the same.
  const lastUses = sql.join(Object.values(permissionColumns).map((column) => sql.ref(column)))
  type Ended = { ended_name: string; ended_before: Date; ended_after: Date }
  const { rows } = await sql<
    ApiKey & { old_status: KeyStatus; old_expires_at: Date; ended_id: string | null } & Ended
  >`
    with old as (
      select id, rotated_from, ${copied}, coalesce(permissions_since, created_at) as permissions_since, expires_at,
        nullif(${newExpiry}, 'infinity') as new_expiry from api_keys
      where id = ${id} and revoked_at is null and rotated_to is null
        and (expires_at is null or expires_at > clock_timestamp())
        and ${newExpiry} > now() and ${newExpiry} <= ${latest}
        and not exists (select from api_keys where id = ${successorId})
      for update
    ), created as (
      insert into api_keys (id, secret_hash, ${copied}, permissions_since, expires_at, rotated_from, created_by)
      select ${successorId}, ${secretHash}, ${copied}, permissions_since, new_expiry, id, ${callerId} from old
      on conflict (id) do nothing
      returning ${keyColumns}
    ), used as (
      insert into key_last_uses (key_id, ${lastUses}) select created.id, ${lastUses} from created, key_last_uses
      where key_id = rotated_from
    ), ended as (
      update api_keys
      set rotated_to = created.id,
        expires_at = least(old.expires_at, date_trunc('second', now() + make_interval(secs => ${overlapSeconds})))
      from old, created where api_keys.id = old.id
      returning api_keys.expires_at as old_expires_at,
        case when api_keys.expires_at <= now() then 'expired' else 'active' end as old_status
    ), overlapping as (
      select api_keys.id, api_keys.expires_at from api_keys join old on api_keys.id = old.rotated_from, created
      where old.id = ${callerId} and api_keys.revoked_at is null and api_keys.expires_at > now()
    ), overlap_ended as (
      update api_keys set expires_at = date_trunc('second', now())
      from overlapping where api_keys.id = overlapping.id
      returning api_keys.id as ended_id, api_keys.name as ended_name,
        overlapping.expires_at as ended_before, api_keys.expires_at as ended_after
    )
    select * from created cross join ended left join overlap_ended on true`.execute(db)
  const [row] = rows
  if (!row) return undefined
  const { old_status, old_expires_at, ended_id, ended_name, ended_before, ended_after, ...key } = row
  return {
    key,
    old: { id, status: old_status, expires_at: old_expires_at },
    ended:
      ended_id === null ? null : { id: ended_id, name: ended_name, before: ended_before, after: ended_after },
  }
}
