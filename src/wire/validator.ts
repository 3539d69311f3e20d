import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import fastJsonStringify from 'fast-json-stringify'
import { isNetwork } from '../networks.ts'
import { parseTime } from './time.ts'

const options = {
  // A test validates the schemas instead: compiling the meta-schema takes a tenth of the start.
  validateSchema: false,
  // Adds the schema to each error, for its errorMessage.
  verbose: true,
  keywords: ['errorMessage'],
  allowUnionTypes: true,
  useDefaults: true,
  formats: { 'date-time': (text: string) => parseTime(text) !== undefined, 'ip-network': isNetwork },
}

const firstErrorAjv = new Ajv2020(options)

// Not for large bodies: one could have a million errors, and collecting them blocks the event loop.
const allErrorsAjv = new Ajv2020({ ...options, allErrors: true })

/** The shape that Fastify expects from a validator. */
type Validation = { value: unknown } | { error: ErrorObject[] }

/**
 * Compiles a validator for JSON. It does not convert types: `"5"` is not a number. It stops at the first error. Before, it
 * removes the fields that compileRemoval describes.
 *
 * Schemas are compiled on first use, because compiling all of them takes a sixth of the start. Ajv caches validators by
 * the identity of the schema, so that several instances of the app in one process share them.
 */
export function compileJson(schema: object): (value: unknown) => Validation {
  let validate: ValidateFunction | undefined
  let removeIgnored: ((value: unknown) => void) | undefined
  return (value) => {
    removeIgnored ??= compileRemoval(schema) ?? (() => undefined)
    validate ??= firstErrorAjv.compile(schema)
    removeIgnored(value)
    return validate(value) ? { value } : { error: validate.errors ?? [] }
  }
}

type JsonSchema = {
  type?: string | string[]
  format?: string
  default?: unknown
  readOnly?: boolean
  maximum?: number | undefined
  properties?: Record<string, JsonSchema>
  required?: string[]
  items?: JsonSchema
}

/**
 * Returns a function that removes the fields of a body that count as absent: read-only ones, because a response may be
 * sent back, and those that are null, optional and not nullable. Returns undefined if the schema has no such field.
 */
function compileRemoval({
  properties = {},
  required = [],
  items,
}: JsonSchema): ((value: unknown) => void) | undefined {
  const removeFromItem = items && compileRemoval(items)
  const fields = Object.entries(properties).flatMap(([name, field]) => {
    const { readOnly = false, type } = field
    const isOptional = !required.includes(name) || 'default' in field
    const isNullIgnored = isOptional && type !== undefined && ![type].flat().includes('null')
    const removeWithin = compileRemoval(field)
    return readOnly || isNullIgnored || removeWithin ? [{ name, readOnly, isNullIgnored, removeWithin }] : []
  })
  if (fields.length === 0 && !removeFromItem) return undefined
  return (value) => {
    if (typeof value !== 'object' || value === null) return
    if (Array.isArray(value)) {
      if (removeFromItem) for (const item of value) removeFromItem(item)
      return
    }
    const object = value as Record<string, unknown>
    for (const { name, readOnly, isNullIgnored, removeWithin } of fields) {
      // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
      if (readOnly || (isNullIgnored && object[name] === null)) delete object[name]
      else removeWithin?.(object[name])
    }
  }
}

/** Returns all errors of a value. Only for small values. */
export function findErrors(schema: object, value: unknown): ErrorObject[] {
  const validate = allErrorsAjv.compile(schema)
  return validate(value) ? [] : (validate.errors ?? [])
}

/**
 * Compiles a validator for a query or a command line, where all values are strings: converts integers, booleans and times
 * first.
 */
export function compileCoercing(schema: object): (value: unknown) => Validation {
  let validate: ValidateFunction | undefined
  const fields = new Map(Object.entries((schema as JsonSchema).properties ?? {}))
  return (value) => {
    // Without a prototype, so that a field named __proto__ is rejected like any unknown field.
    const coerced = Object.create(null) as Record<string, unknown>
    for (const name in value as object) {
      coerced[name] = coerce((value as Record<string, unknown>)[name], fields.get(name) ?? {})
    }
    validate ??= allErrorsAjv.compile(schema)
    return validate(coerced) ? { value: coerced } : { error: validate.errors ?? [] }
  }
}

function coerce(text: unknown, { type, format }: JsonSchema): unknown {
  if (typeof text !== 'string') return text
  const types = [type].flat()
  // Integers above 2^53 lose precision, but they also exceed every maximum.
  if (types.includes('integer') && /^-?\d{1,300}$/.test(text)) return Number(text)
  if (types.includes('number') && /^-?\d{1,300}(\.\d{1,300})?$/.test(text)) return Number(text)
  if (types.includes('boolean') && /^(true|false|1|0)$/i.test(text)) return /^(true|1)$/i.test(text)
  // A + that is not percent-encoded arrives as a space.
  if (format === 'date-time') return text.replace(/ (?=\d\d:\d\d$)/, '+')
  return text
}

/** Largest id: that of the type integer. */
export const maxId = 2_147_483_647

/**
 * Compiles a validator for the parameters of a path. An id above maxId becomes 0, which no row has, so that the response
 * is the same 404 as for any other unknown id, after the rest of the request has been validated.
 */
export function compileParams(schema: object): (value: unknown) => Validation {
  const { properties = {}, ...rest } = schema as JsonSchema
  const ids = Object.keys(properties).filter((name) => properties[name]?.maximum === maxId)
  if (ids.length === 0) return compileCoercing(schema)
  const unbounded = { ...properties }
  for (const name of ids) unbounded[name] = { ...properties[name], maximum: undefined }
  const validate = compileCoercing({ ...rest, properties: unbounded })
  return (value) => {
    const outcome = validate(value)
    if ('error' in outcome) return outcome
    const params = outcome.value as Record<string, unknown>
    for (const name of ids) if (Number(params[name]) > maxId) params[name] = 0
    return outcome
  }
}

const serializers = new WeakMap<object, (data: unknown) => string>()

/** Compiles a JSON serializer for values that have the schema's shape. */
export function compileSerializer(schema: object): (data: unknown) => string {
  return (data) => {
    let serialize = serializers.get(schema)
    if (!serialize) {
      serialize = fastJsonStringify(schema)
      serializers.set(schema, serialize)
    }
    return serialize(data)
  }
}

/** False if PostgreSQL cannot store the text. */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
