import { Ajv2020 } from 'ajv/dist/2020.js'
import { parseTime } from './time.ts'

/**
 * @param coerceTypes true for what comes out of a URL, where all is text. A body keeps its types: `"5"` is no number.
 */
export function createValidator({ coerceTypes }: { coerceTypes: boolean }): Ajv2020 {
  return new Ajv2020({
    allErrors: true,
    allowUnionTypes: true,
    coerceTypes,
    useDefaults: true,
    formats: { 'date-time': (text: string) => parseTime(text) !== undefined },
  })
}
