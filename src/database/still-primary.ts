import { sql } from 'kysely'

/** On a standby, pg_current_wal_lsn fails with 55000. pg_logical_emit_message would fail with XX000, as after corruption. */
const condition = `
  case when pg_is_in_recovery() then pg_current_wal_lsn() is null
    when current_setting('synchronous_standby_names') = '' then true
    else pg_logical_emit_message(true, 'kener-api', '') is not null end`

/**
 * Always true, or an error on a standby. A statement with this condition, and no table in its FROM, writes WAL if there is a
 * synchronous standby, so that its commit waits for the standby: the response then proves that the server is still the
 * primary, because the standby would have been promoted before another server could acknowledge a change. Reads alone do
 * not wait, and neither do writes to an UNLOGGED table. docs/decisions/0022-failover.md
 */
export const isStillPrimary = sql<boolean>`${sql.raw(condition)}`

/** A statement that only checks this. */
export const confirmPrimary = `select where ${condition}`
