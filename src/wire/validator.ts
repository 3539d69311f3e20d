import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import fastJsonStringify from 'fast-json-stringify'
import { parseTime } from './time.ts'

const options = {
  // The schemas are our own, and the tests hold them against JSON Schema: compiling it takes a tenth of the start.
  validateSchema: false,
  allowUnionTypes: true,
  useDefaults: true,
  formats: { 'date-time': (text: string) => parseTime(text) !== undefined },
}

const firstErrorAjv = new Ajv2020(options)

// A large body could hold a million errors, and finding them all would hold up everyone else.
const allErrorsAjv = new Ajv2020({ ...options, allErrors: true })

/** Valid, or what is wrong. Fastify takes the same shape from a validator. */
type Validation = { value: unknown } | { error: ErrorObject[] }

/**
 * For JSON, whose types stay as they are: `"5"` is not a number. Stops at the first error.
 *
 * Here and below a schema is compiled on first use, because compiling all of them takes a sixth of the start. Ajv keeps
 * what it compiled by the schema's identity, so that several instances of the service in a process share it.
 */
export function compileJson(schema: object): (value: unknown) => Validation {
  let validate: ValidateFunction | undefined
  return (value) => {
    validate ??= firstErrorAjv.compile(schema)
    return validate(value) ? { value } : { error: validate.errors ?? [] }
  }
}

/** All that is wrong with a small value. */
export function findErrors(schema: object, value: unknown): ErrorObject[] {
  const validate = allErrorsAjv.compile(schema)
  return validate(value) ? [] : (validate.errors ?? [])
}

/** For what comes out of a URL or a command line, where all is text: numbers and booleans are read out of it first. */
export function compileCoercing(schema: object): (value: unknown) => Validation {
  let validate: ValidateFunction | undefined
  const { properties = {} } = schema as { properties?: Record<string, { type?: string | string[] }> }
  const types = new Map(Object.entries(properties).map(([name, { type }]) => [name, [type].flat()]))
  return (value) => {
    // Without a prototype, by which a field named __proto__ would be lost.
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
  // Beyond 2^53 it is not the same number any more, but beyond what any integer may be as well.
  if (types.includes('integer') && /^-?(0|[1-9]\d{0,300})$/.test(text)) return Number(text)
  if (types.includes('boolean') && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

const serializers = new WeakMap<object, (data: unknown) => string>()

/** Writes what has the schema's shape as JSON. */
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

export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
