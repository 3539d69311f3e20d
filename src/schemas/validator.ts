import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import { parseTime } from './time.ts'

const options = {
  // The schemas are our own, and the tests hold them against JSON Schema: compiling it takes a tenth of the start.
  validateSchema: false,
  allowUnionTypes: true,
  useDefaults: true,
  formats: { 'date-time': (text: string) => parseTime(text) !== undefined },
}

const first = new Ajv2020(options)

// A large body could hold a million errors, and finding them all would hold up everyone else.
const thorough = new Ajv2020({ ...options, allErrors: true })

/** For JSON, whose types stay as they are: `"5"` is no number. Stops at the first error. */
export function compileExact(schema: object): ValidateFunction {
  return first.compile(schema)
}

/** All that is wrong with a small value. */
export function findErrors(schema: object, value: unknown): ErrorObject[] {
  const validate = thorough.compile(schema)
  return validate(value) ? [] : (validate.errors ?? [])
}

/** For what comes out of a URL or a command line, where all is text: numbers and booleans are read out of it first. */
export function compileText(
  schema: object,
): (value: unknown) => { value: unknown } | { error: ErrorObject[] } {
  const validate = thorough.compile(schema)
  const { properties = {} } = schema as { properties?: Record<string, { type?: string | string[] }> }
  const types = new Map(Object.entries(properties).map(([name, { type }]) => [name, [type].flat()]))
  return (value) => {
    // Without a prototype, by which a field named __proto__ would be lost.
    const read = Object.create(null) as Record<string, unknown>
    for (const name in value as object) {
      read[name] = readText((value as Record<string, unknown>)[name], types.get(name) ?? [])
    }
    return validate(read) ? { value: read } : { error: validate.errors ?? [] }
  }
}

function readText(text: unknown, types: (string | undefined)[]): unknown {
  if (typeof text !== 'string') return text
  // Beyond 2^53 it is not the same number any more, but beyond what any integer may be as well.
  if (types.includes('integer') && /^-?(0|[1-9]\d{0,300})$/.test(text)) return Number(text)
  if (types.includes('boolean') && (text === 'true' || text === 'false')) return text === 'true'
  return text
}
