import { isOutdatedPlan } from './prepared.ts'

/**
 * SQLSTATEs of a server that is unreachable, starting, stopping or out of resources, of statement and lock timeouts, and
 * of a deadlock (40P01). Source: PostgreSQL documentation, appendix A.
 */
const states = /^(08...|57P0[1-5]|57014|53[0-3]00|55P03|40P01)$/

const network = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
])

/** Errors of pg without a code. */
const messages =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client (has encountered a connection error|was closed) and is not queryable|Cannot use a pool after calling end)/

/** True if the database cannot be reached or cannot respond now, so that a retry may succeed. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isUnavailable)
  if (!(error instanceof Error)) return false
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return isOutdatedPlan(error) || states.test(code) || network.has(code) || messages.test(error.message)
}
