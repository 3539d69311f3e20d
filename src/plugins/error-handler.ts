import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { FastifySchemaValidationError } from 'fastify/types/schema.js'
import { isUnavailable } from '../database/unavailable.ts'
import {
  ApiError,
  forgedForm,
  internalError,
  invalidRequest,
  notFound,
  payloadTooLarge,
  serviceUnavailable,
  unsupportedMediaType,
} from '../errors.ts'
import { invalidShape } from '../schemas/invalid-shape.ts'
import { findErrors } from '../schemas/validator.ts'

export const bodyLimitBytes = 1_048_576

/** Answers every failure with `{"success": false, "error": {"code", "message", "details"?}}`. */
export default fp(
  (app, _options, done) => {
    app.setErrorHandler(answerFailure)
    done()
  },
  { name: 'error-handler' },
)

export function answerFailure(error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const failure = noteFailure(error, request)
  return reply.code(failure.status).headers(failure.headers).send(toBody(failure))
}

/** What to answer with, whatever went wrong; the log is told the rest. */
export function noteFailure(error: unknown, request: FastifyRequest): ApiError {
  const failure = toFailure(error, request)
  request.failure = failure
  if (failure.status === 500) request.log.error({ err: failure.cause ?? failure }, failure.message)
  if (failure.status === 503) request.log.warn({ cause: describe(failure.cause) }, failure.message)
  return failure
}

export function toBody({ code, message, details }: ApiError) {
  const shown = details && details.length > 0 ? { details } : {}
  return { success: false, error: { code, message, ...shown } }
}

function toFailure(error: unknown, request: FastifyRequest): ApiError {
  // The client has gone before its body was whole. Nobody hears it, but the log must not blame the database.
  if (error === request.raw.errored) return invalidRequest('The connection ended before the request did')
  return isFastifyError(error) ? fromFastify(error, request) : toApiError(error)
}

function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (isUnavailable(error)) return serviceUnavailable('The database does not answer: try again', error)
  return internalError(error)
}

/** What Fastify itself refuses: it names the status, we name the code and choose the words. */
function fromFastify(error: FastifyError, request: FastifyRequest): ApiError {
  if (error.validationContext === 'params' && error.validation?.every(isTooLarge)) {
    return notFound('There is nothing at this path')
  }
  if (error.validation)
    return invalidShape(
      allErrors(error.validation, error.validationContext, request),
      error.validationContext,
    )
  if (error.code === 'FST_ERR_BAD_URL') return invalidRequest('The URL cannot be decoded')
  if (error.code === 'FST_ERR_MAX_PARAM_LENGTH') return notFound('There is nothing at this path')
  if (error.code.startsWith('FST_CSRF_')) return forgedForm()
  if (error.statusCode === 413) return payloadTooLarge(bodyLimitBytes)
  if (error.statusCode === 415) return unsupportedMediaType()
  if (error.statusCode === 400) return invalidRequest(error.message)
  return toApiError(error)
}

/** An id that no row can have is well-formed, and names nothing. */
function isTooLarge({ keyword }: FastifySchemaValidationError): boolean {
  return keyword === 'maximum'
}

/** Small bodies are searched for everything that is wrong with them, so that people can mend it in one go. */
function allErrors(found: Validation, part: string | undefined, request: FastifyRequest): Validation {
  const schema = request.routeOptions.schema?.body
  const isSmall = Number(request.headers['content-length'] ?? Infinity) <= 16_384
  return part === 'body' && isSmall ? (findErrors(schema as object, request.body) as Validation) : found
}

type Validation = NonNullable<FastifyError['validation']>

/** An outage fails every request: a line each is enough, without its stack. */
function describe(cause: unknown): string | undefined {
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
