import { type RawBuilder, sql } from 'kysely'
import type { KeyStatus } from '../enums.ts'

/** Limits of the expiry of keys that are created or changed. */
export type ExpiryLimits = {
  /** Expiry of the calling key. Null: no limit. */
  callerExpiresAt: Date | null
  /** KEY_LIFETIME_MAX_DAYS. Null: no limit. */
  lifetimeMaxDays: number | null
}

/** A key that expires within so many days expires soon. */
export const soonDays = 14

/** True for an active key that expires soon. A rotated key is meant to expire. */
export function isExpiringSoon({ status, expires_at, rotated_to }: ExpiringKey, now: Date): boolean {
  const latest = now.getTime() + soonDays * 86_400_000
  return status === 'active' && rotated_to === null && expires_at !== null && expires_at.getTime() <= latest
}

type ExpiringKey = { status: KeyStatus; expires_at: Date | null; rotated_to: string | null }

/** The latest expiry that a lifetime from now allows. Null: no limit. */
export const lifetimeEnd = ({ lifetimeMaxDays }: ExpiryLimits) =>
  sql<Date | null>`(now() + make_interval(days => ${lifetimeMaxDays}::integer))`

/** The latest allowed expiry. Null: no limit, because least() ignores nulls. */
export const latestExpiry = (limits: ExpiryLimits): RawBuilder<Date | null> =>
  sql`least(${limits.callerExpiresAt}::timestamptz, ${lifetimeEnd(limits)})`

export const wholeSecond = (time: RawBuilder<Date | null>) => sql<Date | null>`date_trunc('second', ${time})`
