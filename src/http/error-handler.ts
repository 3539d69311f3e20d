import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { FastifySchemaValidationError } from 'fastify/types/schema.js'
import { isUnavailable } from '../database/unavailable.ts'
import {
  ApiError,
  internalError,
  invalidCsrfToken,
  invalidRequest,
  notFound,
  payloadTooLarge,
  serviceUnavailable,
  unsupportedMediaType,
} from '../errors.ts'
import { fromAjvErrors } from '../wire/ajv-errors.ts'
import { findErrors } from '../wire/validator.ts'

export const bodyLimitBytes = 1_048_576

/** Answers every failure with `{"success": false, "error": {"code", "message", "details"?}}`. */
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

/** What to answer with, whatever went wrong; the log is told the rest. */
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

function toApiError(error: unknown, request: FastifyRequest): ApiError {
  // The client has gone before its body was whole. Nobody hears it, but the log must not blame the database.
  if (error === request.raw.errored) return invalidRequest('The connection ended before the request did')
  return isFastifyError(error) ? fromFastifyError(error, request) : fromOtherError(error)
}

function fromOtherError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (isUnavailable(error)) return serviceUnavailable('The database does not answer: try again', error)
  return internalError(error)
}

/** What Fastify itself refuses: it names the status, we name the code and choose the words. */
function fromFastifyError(error: FastifyError, request: FastifyRequest): ApiError {
  if (error.validationContext === 'params' && error.validation?.every(isOutOfRange)) {
    return notFound('There is nothing at this path')
  }
  if (error.validation)
    return fromAjvErrors(
      findAllErrors(error.validation, error.validationContext, request),
      error.validationContext,
    )
  if (error.code === 'FST_ERR_BAD_URL') return invalidRequest('The URL cannot be decoded')
  if (error.code === 'FST_ERR_MAX_PARAM_LENGTH') return notFound('There is nothing at this path')
  if (error.code.startsWith('FST_CSRF_')) return invalidCsrfToken()
  if (error.statusCode === 413) return payloadTooLarge(bodyLimitBytes)
  if (error.statusCode === 415) return unsupportedMediaType()
  if (error.statusCode === 400) return invalidRequest(error.message)
  return fromOtherError(error)
}

/** An id that no row can have is well-formed, and names nothing. */
function isOutOfRange({ keyword }: FastifySchemaValidationError): boolean {
  return keyword === 'maximum'
}

/** Small bodies are searched for everything that is wrong with them, so that people can mend it in one go. */
function findAllErrors(found: Validation, part: string | undefined, request: FastifyRequest): Validation {
  const schema = request.routeOptions.schema?.body
  const isSmall = Number(request.headers['content-length'] ?? Infinity) <= 16_384
  return part === 'body' && isSmall ? (findErrors(schema as object, request.body) as Validation) : found
}

type Validation = NonNullable<FastifyError['validation']>

/** An outage fails every request: a line each is enough, without its stack. */
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
