import type { ClosingState, EventState } from './enums.ts'

/**
 * Every error that the service sends, named once. Messages are public: they say what the client can do, and contain no
 * internal details. `cause`, `reason` and `keyId` are only logged.
 */

/** `path` is a JSON pointer (RFC 6901) to the invalid value. */
export type ErrorDetail = { path: string; message: string }

export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly headers: Record<string, string>
  readonly details: ErrorDetail[] | undefined
  /** Why the request was rejected. Alerts and metrics rely on these values. */
  readonly reason: string | undefined
  /** The id in the token that was rejected. */
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
    // Capturing a stack costs more than the rest of a 401, and its line is of no use.
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

// 400

/** @param details by default one, about the request as a whole */
export const invalidRequest = (message: string, details: ErrorDetail[] = [{ path: '', message }]) =>
  new ApiError(400, 'INVALID_REQUEST', message, { details })

export const invalidField = (path: string, message: string) =>
  invalidRequest(`Invalid body: ${path} ${message}`, [{ path, message }])

export const invalidQuery = (path: string, message: string) =>
  invalidRequest(`Invalid query: ${path} ${message}`, [{ path, message }])

export const invalidPath = (path: string, message: string) =>
  invalidRequest(`Invalid path: ${path} ${message}`, [{ path, message }])

export const malformedRequest = () => invalidRequest('This is not a valid HTTP request')
export const headersTooLarge = () =>
  invalidRequest('The URL and the headers of a request must not be larger than 16 KiB together')
export const requestTimedOut = () => invalidRequest('The request took too long to arrive')
export const requestAborted = () =>
  invalidRequest('The connection was closed before the request was complete')
export const malformedUrl = () => invalidRequest('The URL is not correctly percent-encoded')
export const invalidIdempotencyKey = () =>
  invalidRequest('The header Idempotency-Key must be 1 to 255 visible ASCII characters, without spaces')
export const missingHost = () => invalidRequest('The header Host is required')
export const invalidHost = () =>
  invalidRequest('The header Host must be a name or an address, with an optional port')
export const duplicateHost = () => invalidRequest('The header Host must occur only once')
export const invalidUtf8 = () => invalidRequest('The body must be valid UTF-8')
export const invalidJson = () => invalidRequest('The body must be valid JSON')

/** Longest path in an error: a response must not repeat a very long field name. */
const maxPathLength = 500

export function shortenPath(path: string): string {
  return path.length > maxPathLength ? `${path.slice(0, maxPathLength)}…`.toWellFormed() : path
}

export const unstorableText = (path: string) =>
  invalidRequest('The request contains text that cannot be stored', [
    { path: shortenPath(path), message: 'must not contain NUL characters or lone surrogates' },
  ])

export const tooManyValues = (maxCommas: number, maxDepth: number) =>
  invalidRequest(`The body must not contain more than ${maxCommas} commas or ${maxDepth} levels of nesting`)

export const nestedTooDeeply = (path: string, maxDepth: number) =>
  invalidRequest(`The request must not be nested more than ${maxDepth} levels deep`, [
    { path: shortenPath(path), message: `must not be nested more than ${maxDepth} levels deep` },
  ])

export const invalidCursor = () =>
  invalidQuery(
    '/cursor',
    'must be the next_cursor of the previous page, unchanged; omit it for the first page',
  )

export const rangeReversed = () => invalidQuery('/to', 'must not be before from')

export const tagMismatch = (tag: string) =>
  invalidField('/tag', `must be ${tag}, as in the path: the tag of a monitor cannot be changed`)

export const expiryInPast = () => invalidField('/expires_at', 'must be in the future')

/** @param latest the expiry of the calling key, as an RFC 3339 time */
export const expiryTooLate = (latest: string) =>
  invalidField('/expires_at', `must not be later than ${latest}, when the calling key expires`)

/** @param latest the latest allowed expiry, as an RFC 3339 time */
export const lifetimeTooLong = (days: number, latest: string) =>
  invalidField(
    '/expires_at',
    `must not be later than ${latest}: keys may be valid for at most ${days} days (KEY_LIFETIME_MAX_DAYS)`,
  )

/** @param latest as for expiryTooLate */
export const adminTooLong = (latest: string) =>
  invalidField(
    '/permissions',
    `must not add admin to a key that expires later than ${latest}, when the calling key expires`,
  )

/** @param path the field that binds an admin key, or makes a bound key an admin key */
export const adminBoundToMonitors = (path: '/monitors' | '/permissions') =>
  invalidField(
    path,
    path === '/monitors'
      ? 'must be null for a key with the permission admin, which may use all monitors'
      : 'must not contain admin, because the key is bound to monitors: also set monitors to null',
  )

// 401

// RFC 6750, section 3: without credentials, the challenge contains only the scheme and the realm.
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

/** Has the response of malformedKey, so that it does not reveal whether the id exists. */
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

// 403

export const forbidden = (permission: string) =>
  new ApiError(403, 'FORBIDDEN', `This API key lacks the permission ${permission}`, {
    headers: { 'www-authenticate': `${challenge}, error="insufficient_scope", scope="${permission}"` },
    reason: permission,
  })

/** The address is not among `allowed_ips`. The response does not contain it, because a proxy may hide it from clients. */
export const forbiddenAddress = (keyId: string) =>
  new ApiError(403, 'FORBIDDEN', 'This API key may not be used from this address', {
    headers: { 'www-authenticate': `${challenge}, error="insufficient_scope"` },
    reason: 'address_not_allowed',
    keyId,
  })

/** @param permission that the route requires: RFC 6750, section 3.1, names the scope that would be needed */
const outsideOfScope = (message: string, permission: string) =>
  new ApiError(403, 'FORBIDDEN', message, {
    headers: { 'www-authenticate': `${challenge}, error="insufficient_scope", scope="${permission}"` },
    reason: 'monitors',
  })

export const forbiddenMonitor = (tag: string, permission: string) =>
  outsideOfScope(
    `This API key may not use the monitor ${shortenPath(tag)}: it is bound to others`,
    permission,
  )

export const forbiddenWithoutMonitor = (permission: string) =>
  outsideOfScope('This API key is bound to monitors: name at least one of them in monitors', permission)

/** For an incident or a maintenance. */
export const affectsOtherMonitors = () =>
  outsideOfScope(
    'This API key may not change this, because it also affects monitors that the key may not use',
    'write:incidents',
  )

/** For a change in the panel that must be confirmed with the key of the session. */
export const otherKey = (keyId: string) =>
  new ApiError(403, 'FORBIDDEN', 'This is another key: enter the key that you are logged in with', {
    reason: 'other_key',
    keyId,
  })

/** The form lacks this browser's CSRF token: it is from another site, or from before the log-in. */
export const invalidCsrfToken = () =>
  new ApiError(403, 'FORBIDDEN', 'This form has expired: open the page again and submit it there', {
    reason: 'csrf',
  })

// 404

const notFound = (message: string) => new ApiError(404, 'NOT_FOUND', message)

export const pathNotFound = () => notFound('There is nothing at this path')

/** @param limit in characters */
export const pathTooLong = (limit: number) =>
  notFound(`There is nothing at this path: a part of it is longer than ${limit} characters`)

export const keyNotFound = () => notFound('There is no key with this id')
export const monitorNotFound = () => notFound('There is no monitor with this tag')

/** Has the response of pathNotFound, so that it does not reveal whether the monitor or its URL exists. */
export const heartbeatUrlNotFound = () =>
  new ApiError(404, 'NOT_FOUND', 'There is nothing at this path', { reason: 'heartbeat_url' })

export const noHeartbeatUrl = () => notFound('This monitor has no heartbeat URL')
export const reportNotFound = () => notFound('This monitor has no data for this minute')
export const incidentNotFound = () => notFound('There is no incident with this id')
export const commentNotFound = () => notFound('This incident has no comment with this id')
export const maintenanceNotFound = () => notFound('There is no maintenance with this id')
export const eventNotFound = () => notFound('This maintenance has no event with this id')

// 405

export const methodNotAllowed = (method: string, allowed: readonly string[]) =>
  new ApiError(
    405,
    'METHOD_NOT_ALLOWED',
    `${method} is not allowed at this path: use ${allowed.join(', ')}`,
    { headers: { allow: allowed.join(', ') } },
  )

export const connectNotAllowed = () =>
  new ApiError(405, 'METHOD_NOT_ALLOWED', 'CONNECT is not allowed: this server is not a proxy', {
    headers: { allow: '' },
  })

// 409

export const conflict = (message: string) => new ApiError(409, 'CONFLICT', message)

export const revokedKeyConflict = () => conflict('The key is revoked, which is final: create a new key')

export const expiredKeyConflict = () =>
  conflict('The key has expired: first set a later expires_at, or create a new key')

/** @param successorId the key that replaced it. Its id is not secret. */
export const rotatedKeyConflict = (successorId: string) =>
  conflict(
    `The key was already rotated: its successor is ${successorId}. If the successor's key is lost, rotate the successor.`,
  )

export const keyAlreadyCreated = () =>
  conflict(
    'This form was already submitted, and its key was shown once. If the key is lost, rotate or revoke it.',
  )

export const tagTaken = (tag: string) =>
  conflict(
    `A monitor with the tag ${tag} already exists: PUT /api/monitors/${tag} replaces it, PATCH updates it`,
  )

export const eventNotClosable = (state: EventState, closing: ClosingState, allowed: readonly EventState[]) =>
  conflict(`The event is ${state}: only an event that is ${allowed.join(' or ')} can become ${closing}`)

export const idempotencyKeyInFlight = () =>
  new ApiError(409, 'CONFLICT', 'A request with this Idempotency-Key is in flight: try again in 1 s', {
    headers: retryAfter(1),
  })

/** For a response that a repeated request does not get. */
const handledBefore = (reason: string) => conflict(`This request was already handled: ${reason}`)

export const keyReturnedOnce = (id: string) =>
  handledBefore(
    `it created the key ${id}, which is returned only once. If it is lost, rotate or revoke ${id}.`,
  )

export const heartbeatUrlReturnedOnce = () =>
  handledBefore('it created a heartbeat URL, which is returned only once. If it is lost, create another one.')

export const responseTooLarge = () =>
  handledBefore('its response is too large to be stored for a repetition. Read what it created.')

export const responseOutOfScope = () =>
  handledBefore('its response may contain monitors that this API key may no longer use.')

// 412

const preconditionFailed = (message: string) => new ApiError(412, 'PRECONDITION_FAILED', message)

export const changedSinceRead = () =>
  preconditionFailed(
    'The resource was changed or deleted since it had the ETag in If-Match: read it again, and use its new ETag',
  )

export const existsAlready = () =>
  preconditionFailed('The resource already exists, and If-None-Match allows the request only if it does not')

export const hasNoEtag = () =>
  preconditionFailed(
    'The resource has no ETag that If-Match or If-None-Match could be compared with: send the request without it',
  )

// 413, 415

/** @param limitBytes a multiple of 1,024 */
export const payloadTooLarge = (limitBytes: number) =>
  new ApiError(
    413,
    'PAYLOAD_TOO_LARGE',
    `The body must not be larger than ${formatBytes(limitBytes)} (${limitBytes} bytes)`,
  )

/** `16 KiB`, `1 MiB` */
function formatBytes(bytes: number): string {
  return bytes % 1_048_576 === 0 ? `${bytes / 1_048_576} MiB` : `${Math.floor(bytes / 1_024)} KiB`
}

export const unsupportedMediaType = () =>
  new ApiError(
    415,
    'UNSUPPORTED_MEDIA_TYPE',
    'Send the body as application/json, in UTF-8 and without compression',
  )

export const formRequired = () =>
  new ApiError(415, 'UNSUPPORTED_MEDIA_TYPE', 'This is not a form: open its page and submit it there')

// 422

export const idempotencyKeyReused = () =>
  new ApiError(
    422,
    'IDEMPOTENCY_KEY_REUSED',
    'This Idempotency-Key was used for another request at this path: use a new one for each request',
  )

// 429

const retryAfter = (seconds: number) => ({ 'retry-after': String(seconds) })

export const rateLimitExceeded = (limit: number, seconds: number) =>
  new ApiError(
    429,
    'RATE_LIMIT_EXCEEDED',
    `The limit of ${limit} requests per minute is exceeded: try again in ${seconds} s`,
    { headers: retryAfter(seconds), reason: 'key' },
  )

export const tooManyAuthenticationFailures = (seconds: number) =>
  new ApiError(
    429,
    'RATE_LIMIT_EXCEEDED',
    `Too many failed authentications from this address: try again in ${seconds} s`,
    { headers: retryAfter(seconds), reason: 'authentication_failures' },
  )

export const tooManyHeartbeats = (limit: number, seconds: number) =>
  new ApiError(
    429,
    'RATE_LIMIT_EXCEEDED',
    `The limit of ${limit} requests per minute of this URL is exceeded: try again in ${seconds} s`,
    { headers: retryAfter(seconds), reason: 'heartbeat' },
  )

export const tooManyPublicRequests = (seconds: number) =>
  new ApiError(429, 'RATE_LIMIT_EXCEEDED', `Too many requests from this address: try again in ${seconds} s`, {
    headers: retryAfter(seconds),
    reason: 'address',
  })

// 500, 503

export const internalError = (cause: unknown) =>
  new ApiError(500, 'INTERNAL_ERROR', 'An internal error occurred', { cause })

const serviceUnavailable = (message: string, cause?: unknown) =>
  new ApiError(503, 'SERVICE_UNAVAILABLE', message, { headers: retryAfter(1), cause })

export const databaseUnavailable = (cause?: unknown) =>
  serviceUnavailable('The database is unavailable: try again', cause)

export const rowLocked = (cause?: unknown) =>
  serviceUnavailable('Another change holds a lock that this request needs: try again', cause)

export const tooManyInFlight = () =>
  serviceUnavailable('Too many requests of this API key are in flight: try again')

export const databaseNotMigrated = () => serviceUnavailable('The database is not migrated yet: try again')
export const shuttingDown = () => serviceUnavailable('This process is shutting down: try again')
export const changedConcurrently = () =>
  serviceUnavailable('Other requests are changing this resource: try again')
export const evaluationQueueFull = () =>
  serviceUnavailable('Too many recurrence rules wait for evaluation: try again')
export const hashQueueFull = () => serviceUnavailable('Too many keys wait for verification: try again')
