import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { isUnavailable } from '../database/unavailable.ts'
import {
  ApiError,
  internalError,
  invalidRequest,
  payloadTooLarge,
  serviceUnavailable,
  unsupportedMediaType,
} from '../errors.ts'
import { invalidShape } from '../schemas/invalid-shape.ts'

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
  const failure = toApiError(error)
  request.failure = failure
  if (failure.status >= 500) request.log.error({ err: failure.cause ?? failure }, failure.message)
  return reply.code(failure.status).headers(failure.headers).send(toBody(failure))
}

export function toBody({ code, message, details }: ApiError) {
  const shown = details && details.length > 0 ? { details } : {}
  return { success: false, error: { code, message, ...shown } }
}

function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (isUnavailable(error)) return serviceUnavailable('The database does not answer: try again', error)
  return (isFastifyError(error) && fromFastify(error)) || internalError(error)
}

/** What Fastify itself refuses: it names the status, we name the code and choose the words. */
function fromFastify(error: FastifyError): ApiError | undefined {
  if (error.validation) return invalidShape(error.validation, error.validationContext)
  if (error.statusCode === 413) return payloadTooLarge(bodyLimitBytes)
  if (error.statusCode === 415) return unsupportedMediaType()
  if (error.statusCode === 400 || error.statusCode === 414) return invalidRequest(error.message)
  return undefined
}

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && 'statusCode' in error
}
