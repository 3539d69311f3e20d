import { type RawBuilder, sql } from 'kysely'

/** Limits of the expiry of keys that are created or changed. */
export type ExpiryLimits = {
  /** Expiry of the calling key. Null: no limit. */
  callerExpiresAt: Date | null
  /** KEY_LIFETIME_MAX_DAYS. Null: no limit. */
  lifetimeMaxDays: number | null
}

/** The latest expiry that a lifetime from now allows. Null: no limit. */
export const lifetimeEnd = ({ lifetimeMaxDays }: ExpiryLimits) =>
  sql<Date | null>`(now() + make_interval(days => ${lifetimeMaxDays}::integer))`

/** The latest allowed expiry. Null: no limit, because least() ignores nulls. */
export const latestExpiry = (limits: ExpiryLimits): RawBuilder<Date | null> =>
  sql`least(${limits.callerExpiresAt}::timestamptz, ${lifetimeEnd(limits)})`

export const wholeSecond = (time: RawBuilder<Date | null>) => sql<Date | null>`date_trunc('second', ${time})`
