import { type Kysely, sql } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { isStillPrimary } from '../database/still-primary.ts'
import { isLastUsedStale } from '../keys/authentication.ts'
import { type KeyWithStatus, principalColumns } from '../keys/counters.ts'
import { isActive } from '../keys/repository.ts'

type SessionPrincipal = Omit<KeyWithStatus, 'status'>

const principal = sql.join(principalColumns.map((column) => sql.ref(column)))

/** A session ends after 30 minutes without a request. */
const isIdle = sql<boolean>`(seen_at <= now() - interval '30 minutes')`

/** Changes that cannot be undone require that the key was entered in the last 15 minutes. */
const isRecent = sql<boolean>`(logged_in_at > now() - interval '15 minutes')`

/** Most sessions of a key. */
export const maxSessions = 50

type Session = {
  principal: SessionPrincipal
  /** The time by the clock of the database. */
  now: Date
  /** True if the key was entered recently. */
  is_recent: boolean
  /** True if this request must update the last use of the key. */
  is_last_used_stale: boolean
}

/**
 * Starts a session that ends after 8 hours, or earlier if its key expires earlier. If its key has too many sessions, it ends
 * those that were not used for the longest time.
 * @param digest of the token in the browser's cookie. The token itself is not stored.
 * @returns the time by the clock of the database; undefined, with nothing stored, if the key is not active.
 */
export async function startSession(
  db: Kysely<Tables>,
  digest: string,
  keyId: string,
): Promise<Date | undefined> {
  const started = await db
    .with('excess', (db) =>
      db.deleteFrom('admin_sessions').where('token_digest', 'in', (db) =>
        db
          .selectFrom('admin_sessions')
          .select('token_digest')
          .where('key_id', '=', keyId)
          .orderBy('seen_at', 'desc')
          .offset(maxSessions - 1),
      ),
    )
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
        .where(isActive),
    )
    .returning('logged_in_at')
    .executeTakeFirst()
  return started?.logged_in_at
}

/**
 * Returns the active sessions by digest, with the current state of their keys, and marks them as seen. Deletes a session
 * that has ended or whose key is not active, so that it stays ended if its key gets a later expiry. Does not
 * write rows that another transaction has locked, because the statement serves several sessions: the next request does.
 * A deposed primary returns nothing, not even that there is no session.
 */
export async function readSessions(
  db: Kysely<Tables>,
  digests: readonly string[],
): Promise<Map<string, Session>> {
  const { rows } = await prepared(sql<
    SessionPrincipal & Omit<Session, 'principal'> & { token_digest: string | null }
  >`
    with found as (
      select token_digest, ${principal}, ${isRecent} as is_recent, ${isLastUsedStale} as is_last_used_stale,
        ${isActive} and ends_at > now() and not ${isIdle} as is_active
      from admin_sessions join api_keys on id = key_id
      where token_digest = any(${digests}::text[])
    ), unlocked as (
      select token_digest, is_active from admin_sessions join found using (token_digest)
      for update of admin_sessions skip locked
    ), seen as (
      update admin_sessions set seen_at = now() from unlocked
      where unlocked.token_digest = admin_sessions.token_digest and is_active
    ), ended as (
      delete from admin_sessions using unlocked
      where unlocked.token_digest = admin_sessions.token_digest and not is_active
    )
    select token_digest, ${principal}, is_recent, is_last_used_stale, now() as now
    from (select ${isStillPrimary} as is_confirmed) as server left join found on is_active
    where is_confirmed`).execute(db)
  const sessions = new Map<string, Session>()
  for (const { token_digest, now, is_recent, is_last_used_stale, ...principal } of rows) {
    // The left join has a row without a session if there is none.
    if (token_digest !== null) sessions.set(token_digest, { principal, now, is_recent, is_last_used_stale })
  }
  return sessions
}

export async function endSession(db: Kysely<Tables>, digest: string): Promise<void> {
  await db.deleteFrom('admin_sessions').where('token_digest', '=', digest).execute()
}

/** Ends all sessions of a key. Returns their number. */
export async function endSessionsOfKey(db: Kysely<Tables>, keyId: string): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('admin_sessions')
    .where('key_id', '=', keyId)
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}

/** Deletes the ended sessions that no later request has deleted. Skips locked ones. */
export async function removeEndedSessions(db: Kysely<Tables>): Promise<void> {
  await sql`
    delete from admin_sessions where token_digest in (
      select token_digest from admin_sessions where ends_at <= now() or ${isIdle} for update skip locked
    )`.execute(db)
}
