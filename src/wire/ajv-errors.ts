import type { ErrorObject } from 'ajv'
import { type ApiError, type ErrorDetail, invalidRequest, shortenPath } from '../errors.ts'
import { timeExample } from './time.ts'

const maxDetails = 20

/**
 * Converts validation errors to an ApiError that says what is allowed. A schema can state this itself in an
 * `errorMessage`, and must if it has a pattern.
 */
export function fromAjvErrors(errors: ErrorObject[], httpPart = 'body'): ApiError {
  // Ajv also reports why each alternative of a oneOf does not match, which says nothing about what the client wants.
  const relevant = errors.filter(({ schemaPath }) => !schemaPath.includes('/oneOf/'))
  const details = relevant.slice(0, maxDetails).flatMap(toDetails).map(shorten).filter(isFirst)
  const location = httpPart === 'querystring' ? 'query' : httpPart === 'params' ? 'path' : httpPart
  const [first] = details
  const field = first?.path ? ` ${first.path}` : ''
  return invalidRequest(`Invalid ${location}:${field} ${first?.message ?? 'is invalid'}`, details)
}

function shorten({ path, message }: ErrorDetail): ErrorDetail {
  return { path: shortenPath(path), message }
}

/** False for a repeated detail: `type` and `enum` of one value have the same message, and so have alternatives. */
function isFirst({ path, message }: ErrorDetail, index: number, details: ErrorDetail[]): boolean {
  return details.findIndex((other) => other.path === path && other.message === message) === index
}

function toDetails(error: ErrorObject): ErrorDetail[] {
  return isAboutAlternatives(error) ? explainAlternatives(error) : [toDetail(error)]
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

function toMessage({ keyword, parentSchema, data }: ErrorObject, params: Record<string, unknown>): string {
  const { errorMessage, minimum, maximum } = (parentSchema ?? {}) as Annotated
  const limit = Number(params.limit)
  switch (keyword) {
    case 'format':
      return errorMessage ?? `must be ${describeAllowed(parentSchema as Allowed)}`
    case 'type':
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
    case 'pattern':
      if (params.pattern === '\\S') return data === '' ? 'must not be empty' : 'must not be blank'
      return errorMessage ?? 'is invalid'
    default:
      return errorMessage ?? 'is invalid'
  }
}

type Allowed = { type: string | string[]; enum?: unknown[]; format?: string }

/** Describes the values that a schema allows. */
function describeAllowed({ type, enum: values, format }: Allowed): string {
  if (values) {
    const words = values.filter((value) => value !== '' && value !== null)
    const others = [...(values.includes('') ? ['empty'] : []), ...(values.includes(null) ? ['null'] : [])]
    return `one of ${[words.join(', '), ...others].join(' or ')}`
  }
  const [first, ...others] = [type].flat().map(typeName)
  return format === 'date-time' ? [timeExample, ...others].join(', or ') : [first, ...others].join(' or ')
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

/**
 * A schema whose `oneOf` lists the required fields of each alternative, and whose `dependentRequired` assigns optional
 * fields to an alternative: the fields of exactly one alternative must be given.
 */
type Alternatives = { oneOf: { required: string[] }[]; dependentRequired?: Record<string, string[]> }

function isAboutAlternatives({ keyword }: ErrorObject): boolean {
  return keyword === 'oneOf' || keyword === 'dependentRequired'
}

/** Explains from the given fields what the client wants, and names the field that is missing or one too many. */
function explainAlternatives({ instancePath, parentSchema, data }: ErrorObject): ErrorDetail[] {
  if (typeof data !== 'object' || Array.isArray(data))
    return [{ path: instancePath, message: 'must be an object' }]
  const { oneOf, dependentRequired = {} } = parentSchema as Alternatives
  const isGiven = (name: string) => (data as Record<string, unknown>)[name] !== undefined
  const begun = oneOf.flatMap(({ required }) => {
    const optional = Object.keys(dependentRequired).filter((name) =>
      dependentRequired[name]?.some((other) => required.includes(other)),
    )
    const given = [...required, ...optional].find(isGiven)
    return given === undefined ? [] : [{ given, missing: required.filter((name) => !isGiven(name)) }]
  })
  // A complete alternative is what the client wants, and another one is too much.
  const [first, second] = begun.sort((a, b) => a.missing.length - b.missing.length)
  if (!first) {
    const separator = oneOf.every(({ required }) => required.length === 1) ? ' or ' : ', or '
    const choices = oneOf.map(({ required }) => required.join(' and ')).join(separator)
    return [{ path: instancePath, message: `must have either ${choices}` }]
  }
  if (second) {
    return [
      { path: `${instancePath}/${second.given}`, message: `is not allowed together with ${first.given}` },
    ]
  }
  return first.missing.map((name) => ({
    path: `${instancePath}/${name}`,
    message: `is required together with ${first.given}`,
  }))
}

function escapePointer(name: unknown): string {
  return String(name).replaceAll('~', '~0').replaceAll('/', '~1')
}
