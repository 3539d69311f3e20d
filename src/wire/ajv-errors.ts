import type { FastifySchemaValidationError } from 'fastify/types/schema.js'
import { type ApiError, type ErrorDetail, invalidRequest } from '../errors.ts'
import { timeErrorMessage } from './time.ts'

const maxDetails = 20

/**
 * What the validator found, in the words of the contract.
 * @param httpPart body, querystring or params.
 */
export function fromAjvErrors(errors: FastifySchemaValidationError[], httpPart = 'body'): ApiError {
  const details = errors.slice(0, maxDetails).map(toDetail)
  const location = httpPart === 'querystring' ? 'query' : httpPart === 'params' ? 'path' : httpPart
  const [first] = details
  const field = first?.path ? ` ${first.path}` : ''
  return invalidRequest(`Invalid ${location}:${field} ${first?.message ?? 'is not as it should be'}`, details)
}

/** `path` is a JSON pointer (RFC 6901) into the part of the request that is wrong. */
function toDetail({ keyword, instancePath, params, message }: FastifySchemaValidationError): ErrorDetail {
  switch (keyword) {
    case 'required':
      return { path: `${instancePath}/${escape(params.missingProperty)}`, message: 'is required' }
    case 'additionalProperties':
      return { path: `${instancePath}/${escape(params.additionalProperty)}`, message: 'is not a known field' }
    case 'type':
      return { path: instancePath, message: `must be ${[params.type].flat().join(' or ')}` }
    case 'enum':
      return { path: instancePath, message: `must be one of ${list(params.allowedValues)}` }
    case 'format':
      return { path: instancePath, message: timeErrorMessage }
    case 'pattern':
      return { path: instancePath, message: params.pattern === '\\S' ? 'must not be blank' : (message ?? '') }
    default:
      return { path: instancePath, message: message ?? 'is not as it should be' }
  }
}

function list(values: unknown): string {
  return Array.isArray(values) ? values.map(String).join(', ') : String(values)
}

function escape(name: unknown): string {
  return String(name).replaceAll('~', '~0').replaceAll('/', '~1')
}
