/**
 * Errors of the database, classified in one place: the response, and whether the connection is still usable. The table
 * of docs/operations.md describes it to operators. Every other error is a bug: 500, and the connection is kept.
 */

type Failure = {
  /** 'closed' if the connection, and probably the other ones to this server, fail in the same way from now on. */
  connection: 'kept' | 'closed'
  /** The transaction was rolled back because of another one: it is run again. */
  isRerun?: true
}

/** By SQLSTATE. All are 503. Source: PostgreSQL documentation, appendix A. */
const failures: [pattern: RegExp, failure: Failure][] = [
  // serialization_failure, deadlock_detected, lock_not_available
  [/^(40001|40P01|55P03)$/, { connection: 'kept', isRerun: true }],
  // query_canceled by statement_timeout; insufficient_resources: disk, memory, connections; object_in_use; system_error
  [/^(57014|53...|55006|58...)$/, { connection: 'kept' }],
  // connection_exception; operator_intervention: shutdown, crash, start, dropped database, idle_session_timeout
  [/^(08...|57P..)$/, { connection: 'closed' }],
  // read_only_sql_transaction: demoted, or read only by configuration
  [/^25006$/, { connection: 'closed' }],
  // idle_in_transaction_session_timeout, transaction_timeout
  [/^25P0[34]$/, { connection: 'closed' }],
  // invalid_authorization_specification, invalid_catalog_name, object_not_in_prerequisite_state
  [/^(28...|3D000|55000)$/, { connection: 'closed' }],
  // invalid_sql_statement_name, duplicate_prepared_statement: a pooler or a failover has lost or mixed prepared statements
  [/^(26000|42P05)$/, { connection: 'closed' }],
]

const network = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
])

/** Errors of pg without a code. */
const messages =
  /^(Connection terminated|Query read timeout|Client (has encountered a connection error|was closed) and is not queryable)/

/** Message of pg-pool if no connection became idle in time. */
const poolTimeout = 'timeout exceeded when trying to connect'

/** No connection could be opened, or none became idle in time. Always 503, whatever the cause. */
export class ConnectFailure extends Error {
  /** The code of the cause. */
  readonly code: string | undefined

  constructor(cause: unknown) {
    // A host with several addresses fails with an AggregateError without a message.
    const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
    super(first instanceof Error ? first.message : String(first), { cause })
    this.code = (first as { code?: string }).code
  }
}

/** True if the database cannot be reached or cannot respond now, so that a retry may succeed. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof ConnectFailure || classify(error) !== undefined
}

/** True if the connection on which the error occurred must be closed. */
export function closesConnection(error: unknown): boolean {
  return classify(error)?.connection === 'closed'
}

/** True if the server cannot be reached, so that other statements fail too. Not if all connections are in use. */
export function isDisconnected(error: unknown): error is Error {
  if (error instanceof ConnectFailure) return error.message !== poolTimeout
  return closesConnection(error)
}

/** True if the transaction was rolled back because of another transaction. */
export function isRerunnable(error: unknown): boolean {
  return classify(error)?.isRerun ?? false
}

/**
 * True if there was no response in time. The server's own timeout is shorter, so that it is not just a slow statement.
 */
export function isUnresponsive(error: unknown): boolean {
  return error instanceof Error && error.message === 'Query read timeout'
}

function classify(error: unknown): Failure | undefined {
  if (!(error instanceof Error)) return undefined
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const failure = failures.find(([pattern]) => pattern.test(code))?.[1]
  if (failure) return failure
  const isLost = network.has(code) || messages.test(error.message) || isUnsupportedForNow(error, code)
  return isLost ? { connection: 'closed' } : undefined
}

/**
 * Routines of PostgreSQL that report feature_not_supported for a cause that ends. The code has other causes too, and the
 * message is in the server's language.
 */
const routines = new Set([
  // A migration of a newer release has invalidated a prepared statement.
  'RevalidateCachedQuery',
  // A standby has no unlogged tables, such as the counters. It reports this before it reports that it is read only.
  'get_relation_info',
])

function isUnsupportedForNow(error: Error, code: string): boolean {
  return code === '0A000' && 'routine' in error && routines.has(String(error.routine))
}
