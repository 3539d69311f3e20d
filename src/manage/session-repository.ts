import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import type { KeyWithStatus } from '../keys/quota.ts'
import { isActiveAdmin } from '../keys/repository.ts'

type SessionPrincipal = Omit<KeyWithStatus, 'secret_hash' | 'status'>

/** Not seen for so long, a session ends. */
const isIdle = sql<boolean>`(seen_at <= now() - interval '30 minutes')`

/**
 * Begins a session of 8 hours at most, and never longer than its key lives.
 * @param digest of the token that the browser keeps; the token itself is stored nowhere.
 * @returns false, with nothing stored, when the key is no active admin key (any more).
 */
export async function startSession(db: Kysely<Tables>, digest: string, keyId: string): Promise<boolean> {
  const started = await db
    .insertInto('admin_sessions')
    .columns(['token_digest', 'key_id', 'ends_at'])
    .expression(
      db
        .selectFrom('api_keys')
        .select([
          sql<string>`${digest}::text`.as('token_digest'),
          'id',
          sql<Date>`least(now() + interval '8 hours', expires_at)`.as('ends_at'),
        ])
        .where('id', '=', keyId)
        .where(isActiveAdmin),
    )
    .returning('key_id')
    .executeTakeFirst()
  return started !== undefined
}

/**
 * Whose sessions these are, by digest, with the keys as they are now; they count as seen. Those that are over go for
 * good: their time has passed, or their key is no active admin key any more. `now` is the time, by the database's clock.
 * The rows are locked in the order of their digests, so that two replicas cannot wait for each other.
 */
export async function readSessions(
  db: Kysely<Tables>,
  digests: readonly string[],
): Promise<Map<string, { principal: SessionPrincipal; now: Date }>> {
  const { rows } = await sql<SessionPrincipal & { token_digest: string; now: Date }>`
    with found as (
      select token_digest, id, name, permissions, rate_limit, expires_at, created_at,
        ${isActiveAdmin} and ends_at > now() and not ${isIdle} as is_active
      from admin_sessions join api_keys on id = key_id
      where token_digest = any(${digests}::text[])
      order by token_digest for update of admin_sessions
    ), seen as (
      update admin_sessions set seen_at = now() from found
      where found.token_digest = admin_sessions.token_digest and is_active
    ), ended as (
      delete from admin_sessions using found
      where found.token_digest = admin_sessions.token_digest and not is_active
    )
    select token_digest, id, name, permissions, rate_limit, expires_at, created_at, now() as now from found where is_active`.execute(
    db,
  )
  return new Map(rows.map(({ token_digest, now, ...principal }) => [token_digest, { principal, now }]))
}

export async function endSession(db: Kysely<Tables>, digest: string): Promise<void> {
  await db.deleteFrom('admin_sessions').where('token_digest', '=', digest).execute()
}

/** Those that nobody came back to. */
export async function removeEndedSessions(db: Kysely<Tables>): Promise<void> {
  await sql`delete from admin_sessions where ends_at <= now() or ${isIdle}`.execute(db)
}
