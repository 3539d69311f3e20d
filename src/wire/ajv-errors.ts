import type { ErrorObject } from 'ajv'
import { type ApiError, type ErrorDetail, invalidRequest } from '../errors.ts'
import { timeExample } from './time.ts'

const maxDetails = 20

/**
 * Converts validation errors to an ApiError that says what is allowed. A schema can state this itself in an
 * `errorMessage`, and must if it has a pattern.
 */
export function fromAjvErrors(errors: ErrorObject[], httpPart = 'body'): ApiError {
  // Ajv reports the errors of each alternative of a oneOf before the error about the oneOf, which is the clearer message.
  const isOfAlternative = ({ schemaPath }: ErrorObject) => schemaPath.includes('/oneOf/')
  const details = [...errors.filter((error) => !isOfAlternative(error)), ...errors.filter(isOfAlternative)]
    .slice(0, maxDetails)
    .map(toDetail)
    .filter(isFirst)
  const location = httpPart === 'querystring' ? 'query' : httpPart === 'params' ? 'path' : httpPart
  const [first] = details
  const field = first?.path ? ` ${first.path}` : ''
  return invalidRequest(`Invalid ${location}:${field} ${first?.message ?? 'is invalid'}`, details)
}

/** False for a repeated detail: `type` and `enum` of one value have the same message. */
function isFirst({ path, message }: ErrorDetail, index: number, details: ErrorDetail[]): boolean {
  return details.findIndex((other) => other.path === path && other.message === message) === index
}

function toDetail(error: ErrorObject): ErrorDetail {
  const params = error.params as Record<string, unknown>
  switch (error.keyword) {
    case 'required':
      return {
        path: `${error.instancePath}/${escapePointer(params.missingProperty)}`,
        message: 'is required',
      }
    case 'additionalProperties':
      return {
        path: `${error.instancePath}/${escapePointer(params.additionalProperty)}`,
        message: 'is not a known field',
      }
    default:
      return { path: error.instancePath, message: toMessage(error, params) }
  }
}

/** The validator's `verbose` option adds the schema. */
type Annotated = {
  errorMessage?: string
  minimum?: number
  maximum?: number
}

function toMessage({ keyword, schema, parentSchema }: ErrorObject, params: Record<string, unknown>): string {
  const { errorMessage, minimum, maximum } = (parentSchema ?? {}) as Annotated
  const limit = Number(params.limit)
  switch (keyword) {
    case 'type':
    case 'format':
    case 'enum':
      return `must be ${describeAllowed(parentSchema as Allowed)}`
    case 'minimum':
    case 'maximum':
      if (minimum !== undefined && maximum !== undefined) return `must be from ${minimum} to ${maximum}`
      return `must be at ${keyword === 'minimum' ? 'least' : 'most'} ${limit}`
    case 'minLength':
      return limit === 1 ? 'must not be empty' : `must have at least ${limit} characters`
    case 'maxLength':
      return `must have at most ${limit} characters`
    case 'minItems':
      return limit === 1 ? 'must not be empty' : `must have at least ${limit} items`
    case 'maxItems':
      return `must have at most ${limit} items`
    case 'uniqueItems':
      return 'must not contain the same value twice'
    case 'dependentRequired':
      return `must have ${String(params.missingProperty)} if it has ${String(params.property)}`
    case 'oneOf':
      return errorMessage ?? describeAlternatives(schema as Alternative[])
    case 'pattern':
      return errorMessage ?? (params.pattern === '\\S' ? 'must not be blank' : 'is invalid')
    default:
      return errorMessage ?? 'is invalid'
  }
}

type Allowed = { type: string | string[]; enum?: unknown[]; format?: string }

/** Describes the values that a schema allows. The only format is that of a time. */
function describeAllowed({ type, enum: values, format }: Allowed): string {
  if (values) return `one of ${values.map(String).join(', ')}`
  const [first, ...others] = [type].flat().map(typeName)
  return format ? [timeExample, ...others].join(', or ') : [first, ...others].join(' or ')
}

const typeNames: Record<string, string> = {
  string: 'a string',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
}

function typeName(type: unknown): string {
  return typeNames[String(type)] ?? String(type)
}

type Alternative = { required: string[] }

function describeAlternatives(alternatives: Alternative[]): string {
  const separator = alternatives.every(({ required }) => required.length === 1) ? ' or ' : ', or '
  return `must have either ${alternatives.map(({ required }) => required.join(' and ')).join(separator)}`
}

function escapePointer(name: unknown): string {
  return String(name).replaceAll('~', '~0').replaceAll('/', '~1')
}
