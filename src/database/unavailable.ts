import { isOutdatedPlan } from './prepared.ts'

/**
 * Conditions of a server that is away, starting, stopping, or full; and 40P01, of a transaction that was given up to end
 * a deadlock. Source: PostgreSQL, appendix A, error codes.
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

/** pg gives these no code. */
const messages =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client (has encountered a connection error|was closed) and is not queryable|Cannot use a pool after calling end)/

/** True when an error means that the database cannot be reached or cannot answer now: trying again may help. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isUnavailable)
  if (!(error instanceof Error)) return false
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return isOutdatedPlan(error) || states.test(code) || network.has(code) || messages.test(error.message)
}
