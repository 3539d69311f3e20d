import type { Static } from 'typebox'
import { ApiError, type ErrorDetail } from '../errors.ts'
import { assertNotBoundAdmin } from '../keys/lifecycle.ts'
import { OperatorError } from '../operator-error.ts'
import { fromAjvErrors } from '../wire/ajv-errors.ts'
import { parseBaseUrl } from '../wire/http-client.ts'
import { CreateKey, maxOverlapSeconds } from '../wire/keys.ts'
import { parseTime } from '../wire/time.ts'
import { compileCoercing } from '../wire/validator.ts'
import { UsageError } from './arguments.ts'

/** When a key expires: a time, or a duration from now in milliseconds. */
export type Expiry = { at: Date } | { afterMs: number }

/** The options of keys create, as texts. */
export type KeyOptions = {
  name: string
  permissions: string
  description?: string | undefined
  'rate-limit'?: string | undefined
  monitors?: string | undefined
  'allowed-ips'?: string | undefined
}

/** Validates the options against the schema of POST /api/keys. @throws UsageError */
export function parseKeyOptions(options: KeyOptions) {
  const fields = {
    name: options.name,
    description: options.description,
    permissions: toList(options.permissions),
    rate_limit: options['rate-limit'],
    monitors: toList(options.monitors),
    allowed_ips: toList(options['allowed-ips']),
  }
  const given = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
  const outcome = compileCoercing(CreateKey)(given)
  if ('error' in outcome) throw new UsageError(toOptionMessage(fromAjvErrors(outcome.error)))
  const attributes = outcome.value as Omit<Static<typeof CreateKey>, 'expires_at'>
  try {
    assertNotBoundAdmin(attributes)
  } catch (error) {
    throw error instanceof ApiError ? new UsageError(toOptionMessage(error)) : error
  }
  return attributes
}

function toList(text: string | undefined): string[] | undefined {
  return text?.split(',').map((item) => item.trim())
}

/** Parses --expires. @throws UsageError */
export function parseExpiry(text: string): Expiry {
  const afterMs = parseDuration(text)
  if (afterMs !== undefined) return { afterMs }
  const at = parseTime(text)
  if (at) return { at }
  throw new UsageError(
    '--expires must be a time like 2027-01-01T00:00:00Z, or a duration from now like 30d or 12h',
  )
}

/** Parses --since, a time or a duration before now. @throws UsageError */
export function parseSince(text: string | undefined): { at: Date } | { beforeMs: number } | undefined {
  if (text === undefined) return undefined
  const beforeMs = parseDuration(text)
  if (beforeMs !== undefined) return { beforeMs }
  const at = parseTime(text)
  if (at) return { at }
  throw new UsageError('--since must be a time like 2026-01-01T00:00:00Z, or a duration like 7d or 12h')
}

/** Parses --overlap, and returns seconds. @throws UsageError */
export function parseOverlap(text = '0'): number {
  const seconds = text === '0' ? 0 : (parseDuration(text) ?? NaN) / 1000
  if (seconds <= maxOverlapSeconds) return seconds
  throw new UsageError(
    `--overlap must be a duration like 30m, 1h or 2d, and at most ${maxOverlapSeconds / 86_400}d`,
  )
}

/** Parses --url. @throws UsageError */
export function parseUrl(text: string | undefined): string | undefined {
  const url = text === undefined ? undefined : parseBaseUrl(text)
  if (url !== undefined || text === undefined) return url
  throw new UsageError(
    '--url must be an http or https URL like https://status.example.com, without a password, query or fragment',
  )
}

const unitMs: Record<string, number> = { d: 86_400_000, h: 3_600_000, m: 60_000 }

/** Returns a duration such as `30d`, `12h` or `15m` in milliseconds, or undefined if the text is not a duration. */
function parseDuration(text: string): number | undefined {
  const [, count, unit = ''] = /^([1-9]\d{0,4})([dhm])$/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * (unitMs[unit] ?? NaN)
}

/** The text of a response with an error. */
type Failure = { message: string; details?: ErrorDetail[] | undefined }

/** Returns what the service rejected, as an error of the command line. */
export function toFailure(failure: Failure): OperatorError {
  return new OperatorError(toOptionMessage(failure))
}

/** Names of options that differ from those of their fields. */
const optionNames: Record<string, string> = { expires_at: 'expires', overlap_seconds: 'overlap' }

/** Returns the error's message, with the name of the option instead of the path of the field. */
function toOptionMessage({ message, details: [detail] = [] }: Failure): string {
  const [, field = '', index] = detail?.path.split('/') ?? []
  if (!detail || field === '') return message
  const option = optionNames[field] ?? field.replaceAll('_', '-')
  return `--${option}${index === undefined ? '' : `, item ${Number(index) + 1},`} ${detail.message}`
}
