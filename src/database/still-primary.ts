import { sql } from 'kysely'

/**
 * Always true. A statement with this condition, and no FROM, writes WAL if there is a synchronous standby, so that its
 * commit waits for the standby: the response then proves that the server is still the primary, because the standby would
 * have been promoted before another server could acknowledge a change. Reads alone do not wait, and neither do writes to
 * an UNLOGGED table. docs/decisions/0022-failover.md
 */
export const isStillPrimary = sql`
  case when current_setting('synchronous_standby_names') = '' then true
    else pg_logical_emit_message(true, 'kener-api', '') is not null end`
