import type { ClosingState, EventState } from './enums.ts'

/**
 * Every failure this service answers with, named once. What stands here is public: words for the client, never
 * the inside of the service. What only the log may know goes into `cause` and `reason`.
 */

export type ErrorDetail = { path: string; message: string }

export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly headers: Record<string, string>
  readonly details: ErrorDetail[] | undefined
  /** For the log alone: why, in a word that stays the same. */
  readonly reason: string | undefined
  /** For the log alone: the id inside the key that was refused. */
  readonly keyId: string | undefined

  constructor(
    status: number,
    code: string,
    message: string,
    options: {
      headers?: Record<string, string>
      details?: ErrorDetail[]
      reason?: string
      keyId?: string
      cause?: unknown
    } = {},
  ) {
    // An answer, not a fault: taking down where it was made would cost a flood of garbage more than it costs the sender.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message, { cause: options.cause })
    Error.stackTraceLimit = stackTraceLimit
    this.status = status
    this.code = code
    this.headers = options.headers ?? {}
    this.details = options.details
    this.reason = options.reason
    this.keyId = options.keyId
  }
}

// RFC 6750, section 3: without credentials the challenge names the scheme and the realm alone.
const challenge = 'Bearer realm="kener"'
const invalidToken = { 'www-authenticate': `${challenge}, error="invalid_token"` }

export const missingCredentials = () =>
  new ApiError(401, 'UNAUTHORIZED', "Missing API key: send the header 'Authorization: Bearer YOUR_API_KEY'", {
    headers: { 'www-authenticate': challenge },
    reason: 'missing',
  })

export const malformedKey = () =>
  new ApiError(401, 'UNAUTHORIZED', 'Invalid API key provided', {
    headers: invalidToken,
    reason: 'malformed',
  })

/** The caller hears no more than of a malformed one: neither that the id exists, nor that only the secret is wrong. */
export const invalidKey = (reason: 'unknown' | 'wrong_secret', keyId: string) =>
  new ApiError(401, 'UNAUTHORIZED', 'Invalid API key provided', { headers: invalidToken, reason, keyId })

export const keyExpired = (keyId: string) =>
  new ApiError(401, 'KEY_EXPIRED', 'This API key has expired', {
    headers: invalidToken,
    reason: 'expired',
    keyId,
  })

export const keyRevoked = (keyId: string) =>
  new ApiError(401, 'KEY_REVOKED', 'This API key has been revoked', {
    headers: invalidToken,
    reason: 'revoked',
    keyId,
  })

export const forbidden = (permission: string) =>
  new ApiError(403, 'FORBIDDEN', `This API key lacks the permission ${permission}`, {
    headers: { 'www-authenticate': `${challenge}, error="insufficient_scope", scope="${permission}"` },
    reason: permission,
  })

/** A form without the token that this browser was given for it: from another site, or from before the log-in. */
export const invalidCsrfToken = () =>
  new ApiError(403, 'FORBIDDEN', 'This form has expired: open the page again, and send it from there', {
    reason: 'csrf',
  })

const retryAfter = (seconds: number) => ({ 'retry-after': String(seconds) })

export const rateLimitExceeded = (limit: number, seconds: number) =>
  new ApiError(
    429,
    'RATE_LIMIT_EXCEEDED',
    `The limit of ${limit} requests a minute is used up: try again in ${seconds} s`,
    { headers: retryAfter(seconds), reason: 'key' },
  )

export const tooManyAuthenticationFailures = (seconds: number) =>
  new ApiError(
    429,
    'RATE_LIMIT_EXCEEDED',
    `Too many failed authentications from this address: try again in ${seconds} s`,
    { headers: retryAfter(seconds), reason: 'authentication_failures' },
  )

export const tooManyPublicRequests = (seconds: number) =>
  new ApiError(429, 'RATE_LIMIT_EXCEEDED', `Too many requests from this address: try again in ${seconds} s`, {
    headers: retryAfter(seconds),
    reason: 'address',
  })

/** @param details each place that is wrong, as a JSON pointer; by default the request as a whole is. */
export const invalidRequest = (message: string, details: ErrorDetail[] = [{ path: '', message }]) =>
  new ApiError(400, 'INVALID_REQUEST', message, { details })

export const notFound = (message: string) => new ApiError(404, 'NOT_FOUND', message)

export const methodNotAllowed = (method: string, allowed: readonly string[]) =>
  new ApiError(
    405,
    'METHOD_NOT_ALLOWED',
    `${method} is not possible at this path: use ${allowed.join(', ')}`,
    { headers: { allow: allowed.join(', ') } },
  )

export const connectNotAllowed = () =>
  new ApiError(405, 'METHOD_NOT_ALLOWED', 'CONNECT is not possible: this is no proxy', {
    headers: { allow: '' },
  })

export const conflict = (message: string) => new ApiError(409, 'CONFLICT', message)

export const payloadTooLarge = (limitBytes: number) =>
  new ApiError(413, 'PAYLOAD_TOO_LARGE', `The body is larger than ${limitBytes} bytes`)

export const unsupportedMediaType = () =>
  new ApiError(
    415,
    'UNSUPPORTED_MEDIA_TYPE',
    'Send the body as application/json, in UTF-8 and not compressed',
  )

export const formRequired = () =>
  new ApiError(415, 'UNSUPPORTED_MEDIA_TYPE', 'This is not a form: open its page, and send it from there')

export const serviceUnavailable = (message: string, cause?: unknown) =>
  new ApiError(503, 'SERVICE_UNAVAILABLE', message, { headers: retryAfter(1), cause })

export const internalError = (cause: unknown) =>
  new ApiError(500, 'INTERNAL_ERROR', 'Something went wrong on our side', { cause })

export const maintenanceNotFound = () => notFound('There is no maintenance of this id')
export const eventNotFound = () => notFound('There is no event of this id of this maintenance')

export const eventNotClosable = (state: EventState, closing: ClosingState, allowed: readonly EventState[]) =>
  conflict(`The event is ${state}: only an event that is ${allowed.join(' or ')} can become ${closing}`)

export const invalidField = (path: string, message: string) =>
  invalidRequest(`Invalid body: ${path} ${message}`, [{ path, message }])

export const monitorNotFound = () => notFound('There is no monitor of this tag')

export const tagTaken = (tag: string) =>
  conflict(`There is a monitor ${tag} already: PUT /api/monitors/${tag} replaces it, PATCH changes it`)

export const tagMismatch = (tag: string) =>
  invalidRequest('Invalid body: /tag is not that of the path', [
    { path: '/tag', message: `must be ${tag}, as in the path: a tag does not change` },
  ])

export const incidentNotFound = () => notFound('There is no incident of this id')
export const commentNotFound = () => notFound('There is no comment of this id on this incident')

export const keyNotFound = () => notFound('There is no key of this id')

export const keyAlreadyCreated = () =>
  conflict('This form was sent before: the key exists, and was shown then. Was it lost? Rotate or revoke it.')

export const expiryInPast = () =>
  invalidRequest('Invalid body: /expires_at has passed', [
    { path: '/expires_at', message: 'must be in the future' },
  ])
