import { type Kysely, sql } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { isStillPrimary } from '../database/still-primary.ts'

/**
 * Returns the hashes in the order of the ids: undefined for a key that does not exist. A deposed primary does not know the
 * keys that its successor has created, and cannot answer that they do not exist.
 */
export async function findHashes(
  db: Kysely<Tables>,
  ids: readonly string[],
): Promise<(string | undefined)[]> {
  const { rows } = await prepared(sql<{ hashes: Record<string, string> | null }>`
    select (select json_object_agg(id, secret_hash) from api_keys where id = any(${ids})) as hashes
    where ${isStillPrimary}`).execute(db)
  const hashes = rows[0]?.hashes ?? {}
  return ids.map((id) => (Object.hasOwn(hashes, id) ? hashes[id] : undefined))
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

/** `address` is that of the client. */
export type LastUse = { id: string; address: string }

/** Updates `last_used_at` and `last_used_address`. Skips locked rows: the next request updates them. */
export async function touchKeys(db: Kysely<Tables>, uses: readonly LastUse[]): Promise<void> {
  const addresses = new Map(uses.map(({ id, address }) => [id, address]))
  await prepared(sql`
    with unlocked as (
      select id, address
      from unnest(${[...addresses.keys()]}::text[], ${[...addresses.values()]}::text[]) as use (id, address)
      join api_keys using (id)
      where ${isLastUsedStale} for no key update of api_keys skip locked
    )
    update api_keys set last_used_at = now(), last_used_address = unlocked.address
    from unlocked where unlocked.id = api_keys.id`).execute(db)
}

/** Limits writes to one per minute and key. `last_used_at` is documented as accurate to 5 minutes. */
export const isLastUsedStale = sql<boolean>`coalesce(last_used_at < now() - interval '1 minute', true)`
