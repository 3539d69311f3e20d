import { buildApp } from '../src/app.ts'
import { readConfig } from '../src/config.ts'
import type { Database } from '../src/database/open.ts'

/**
 * Prints the description of the API, for linters and generators. It needs no database, because it sends no statement.
 * With --client, prints only what src/client has types for: successful JSON responses of this service's own API.
 */
const app = buildApp({ config: readConfig({}), ...({} as Database) })
await app.ready()
const document = app.swagger() as unknown as Document
process.stdout.write(
  `${JSON.stringify(process.argv.includes('--client') ? forClient(document) : document, null, 2)}\n`,
)

type Response = { description?: string; content?: Record<string, { schema: unknown }> }
type Operation = { parameters?: unknown; requestBody?: unknown; responses: Record<string, Response> }
type Document = { openapi: string; info: unknown; paths: Record<string, Record<string, Operation>> }

function forClient({ openapi, info, paths }: Document): object {
  // The formats of Kener and of Statuspage have clients of their own.
  const own = Object.entries(paths).filter(([path]) => /^\/api\/(?!v\d)/.test(path))
  return { openapi, info, paths: mapValues(own, (methods) => mapValues(Object.entries(methods), reduce)) }
}

function reduce({
  parameters,
  requestBody,
  responses,
  ...operation
}: Operation & { [name: string]: unknown }) {
  const successful = Object.entries(responses).filter(([status]) => status < '300')
  return {
    operationId: operation.operationId,
    summary: operation.summary,
    description: operation.description,
    parameters,
    requestBody,
    responses: mapValues(successful, ({ description, content }) => ({
      description,
      content: content && { 'application/json': { schema: content['application/json']?.schema } },
    })),
  }
}

function mapValues<Value, Result>(entries: [string, Value][], map: (value: Value) => Result) {
  return Object.fromEntries(entries.map(([name, value]) => [name, map(value)]))
}
