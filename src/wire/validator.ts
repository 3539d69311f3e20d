import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import fastJsonStringify from 'fast-json-stringify'
import { parseTime } from './time.ts'

const options = {
  // A test validates the schemas instead: compiling the meta-schema takes a tenth of the start.
  validateSchema: false,
  // Adds the schema to each error, for its errorMessage.
  verbose: true,
  keywords: ['errorMessage'],
  allowUnionTypes: true,
  useDefaults: true,
  formats: { 'date-time': (text: string) => parseTime(text) !== undefined },
}

const firstErrorAjv = new Ajv2020(options)

// Not for large bodies: one could have a million errors, and collecting them blocks the event loop.
const allErrorsAjv = new Ajv2020({ ...options, allErrors: true })

/** The shape that Fastify expects from a validator. */
type Validation = { value: unknown } | { error: ErrorObject[] }

/**
 * Compiles a validator for JSON. It does not convert types: `"5"` is not a number. It stops at the first error.
 *
 * Schemas are compiled on first use, because compiling all of them takes a sixth of the start. Ajv caches validators by
 * the identity of the schema, so that several instances of the app in one process share them.
 */
export function compileJson(schema: object): (value: unknown) => Validation {
  let validate: ValidateFunction | undefined
  return (value) => {
    validate ??= firstErrorAjv.compile(schema)
    return validate(value) ? { value } : { error: validate.errors ?? [] }
  }
}

/** Returns all errors of a value. Only for small values. */
export function findErrors(schema: object, value: unknown): ErrorObject[] {
  const validate = allErrorsAjv.compile(schema)
  return validate(value) ? [] : (validate.errors ?? [])
}

/**
 * Compiles a validator for a URL or a command line, where all values are strings: converts integers and booleans first.
 */
export function compileCoercing(schema: object): (value: unknown) => Validation {
  let validate: ValidateFunction | undefined
  const { properties = {} } = schema as { properties?: Record<string, { type?: string | string[] }> }
  const types = new Map(Object.entries(properties).map(([name, { type }]) => [name, [type].flat()]))
  return (value) => {
    // Without a prototype, so that a field named __proto__ is rejected like any unknown field.
    const coerced = Object.create(null) as Record<string, unknown>
    for (const name in value as object) {
      coerced[name] = coerce((value as Record<string, unknown>)[name], types.get(name) ?? [])
    }
    validate ??= allErrorsAjv.compile(schema)
    return validate(coerced) ? { value: coerced } : { error: validate.errors ?? [] }
  }
}

function coerce(text: unknown, types: (string | undefined)[]): unknown {
  if (typeof text !== 'string') return text
  // Integers above 2^53 lose precision, but they also exceed every maximum.
  if (types.includes('integer') && /^-?(0|[1-9]\d{0,300})$/.test(text)) return Number(text)
  if (types.includes('boolean') && (text === 'true' || text === 'false')) return text === 'true'
  return text
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
