import type { ErrorObject } from 'ajv'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { isRerunnable, isUnavailable } from '../database/failures.ts'
import {
  ApiError,
  databaseUnavailable,
  internalError,
  invalidCsrfToken,
  invalidRequest,
  malformedUrl,
  pathTooLong,
  payloadTooLarge,
  requestAborted,
  rowLocked,
  unsupportedMediaType,
} from '../errors.ts'
import { isNestedTooDeeply } from '../limits.ts'
import { fromAjvErrors } from '../wire/ajv-errors.ts'
import { findErrors } from '../wire/validator.ts'

export const bodyLimitBytes = 1_048_576

/** Longest parameter of a path, in characters. */
export const maxParamLength = 500

/** Sends every error as `{"success": false, "error": {"code", "message", "details"?}}`. */
export default fp(
  (app, _options, done) => {
    app.setErrorHandler(sendError)
    done()
  },
  { name: 'error-handler' },
)

export function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const apiError = recordError(error, request)
  return reply.code(apiError.status).headers(apiError.headers).send(toBody(apiError))
}

/** Returns the error to send. Sets request.apiError, and logs the cause of a 500 or 503. */
export function recordError(error: unknown, request: FastifyRequest): ApiError {
  const apiError = toApiError(error, request)
  request.apiError = apiError
  if (apiError.status === 500) request.log.error({ err: apiError.cause ?? apiError }, apiError.message)
  if (apiError.status === 503) request.log.warn({ cause: causeMessage(apiError.cause) }, apiError.message)
  return apiError
}

export function toBody({ code, message, details }: ApiError) {
  const shown = details && details.length > 0 ? { details } : {}
  return { success: false, error: { code, message, ...shown } }
}

export function toApiError(error: unknown, request: FastifyRequest): ApiError {
  // The client disconnected while it sent the body. The response is lost, but the log must not blame the database.
  if (error === request.raw.errored) return requestAborted()
  return isFastifyError(error) ? fromFastifyError(error, request) : fromOtherError(error)
}

function fromOtherError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (isRerunnable(error)) return rowLocked(error)
  return isUnavailable(error) ? databaseUnavailable(error) : internalError(error)
}

/** Maps the errors that Fastify throws itself. */
function fromFastifyError(error: FastifyError, request: FastifyRequest): ApiError {
  const { code, statusCode, validation, validationContext } = error
  if (validation) {
    return fromAjvErrors(
      collectErrors(validation as ErrorObject[], validationContext, request),
      validationContext,
    )
  }
  if (code === 'FST_ERR_BAD_URL') return malformedUrl()
  if (code === 'FST_ERR_MAX_PARAM_LENGTH') return pathTooLong(maxParamLength)
  if (code.startsWith('FST_CSRF_')) return invalidCsrfToken()
  if (statusCode === 413) return payloadTooLarge(request.routeOptions.bodyLimit)
  if (statusCode === 415) return unsupportedMediaType()
  if (statusCode === 400) return invalidRequest(error.message)
  return fromOtherError(error)
}

/**
 * Collects all errors of a small body, so that a client can fix them at once. The validator stops at the first error.
 */
function collectErrors(
  found: ErrorObject[],
  part: string | undefined,
  request: FastifyRequest,
): ErrorObject[] {
  if (part !== 'body') return found
  const { body, headers, routeOptions } = request
  // JSON.stringify would exceed the stack.
  if (isNestedTooDeeply(body)) return found
  // A chunked body has no Content-Length.
  const length = Number(headers['content-length'] ?? JSON.stringify(body).length)
  return length <= 16_384 ? findErrors(routeOptions.schema?.body as object, body) : found
}

/** Leaves out the stack, because an outage fails every request. */
function causeMessage(cause: unknown): string | undefined {
  return cause instanceof Error ? cause.message : undefined
}

function isFastifyError(error: unknown): error is FastifyError {
  return (
    error instanceof Error &&
    !(error instanceof ApiError) &&
    'code' in error &&
    String(error.code).startsWith('FST_')
  )
}
