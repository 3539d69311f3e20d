import swagger from '@fastify/swagger'
import type { FastifySchema, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import {
  type ApiError,
  databaseUnavailable,
  forbidden,
  internalError,
  invalidField,
  missingCredentials,
  monitorNotFound,
  payloadTooLarge,
  rateLimitExceeded,
  unsupportedMediaType,
} from '../errors.ts'
import { permissionDescriptions } from '../permissions.ts'
import { AnyObject, EmptyObject, ErrorEnvelope } from '../wire/envelope.ts'
import { bodyLimitBytes, toBody } from './error-handler.ts'

/**
 * The description of the API, made from the routes themselves: their schemas, their `config.permission`, and the names
 * of their handlers. What all of them share (credentials, limits, failures) is added to each here.
 */
export default fp(
  (app, _options, done) => {
    app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'kener-api',
          version: '0.1.0',
          description:
            'The API of a status page. Keys go into the header `Authorization: Bearer YOUR_API_KEY`; each operation ' +
            'names the permission that its key needs.',
          license: { name: 'MIT', identifier: 'MIT' },
        },
        servers: [{ url: '/', description: 'This service' }],
        tags: tags.map(([name, description]) => ({ name, description })),
        components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      },
      transform: ({ schema, url, route }) => ({
        url: url.replace(/(.)\/$/, '$1'),
        schema: { ...schema, ...makeRequestDefaultsOptional(schema), ...describeRoute(route) },
      }),
      transformObject: (document) => addSharedResponses(document as { openapiObject: Document }) as never,
    })
    done()
  },
  { name: 'openapi' },
)

const tags: [name: string, description: string][] = [
  ['me', 'The key in use'],
  ['keys', 'API keys and their permissions, expiry, limits, rotation and revocation'],
  ['monitors', 'What is watched, and what was reported about it'],
  ['incidents', 'What went wrong, whom it concerns, and the story of it'],
  ['maintenances', 'What is to be worked on, whom it concerns, and when'],
  ['status', 'What everyone may see'],
  ['v4', 'Kener 4 as its clients know it; a bad request has the code BAD_REQUEST here'],
  ['health', 'For those who watch over the process'],
]

type Operation = {
  tags: string[]
  'x-permission'?: string
  requestBody?: { required?: boolean; content: Record<string, { schema: JsonObject }> }
  parameters?: { in: string }[]
  responses: Record<string, ResponseObject>
  security?: object[]
}
type ResponseObject = {
  description: string
  headers?: object
  content?: Record<string, Media>
  $ref?: string
}
type Media = { schema: object; example?: unknown }
type Document = { paths: Record<string, Record<string, Operation>>; components: Record<string, object> }

/** A route outside /api may have no schema at all. */
function makeRequestDefaultsOptional(schema: FastifySchema | undefined): FastifySchema {
  return {
    body:
      schema?.body === EmptyObject || schema?.body === AnyObject
        ? undefined
        : makeDefaultsOptional(schema?.body),
    querystring: makeDefaultsOptional(schema?.querystring),
  }
}

/** What has a default may be left out, which the validator sees to by filling it in before it looks. */
function makeDefaultsOptional(schema: unknown): unknown {
  const { properties, required, ...rest } = (schema ?? {}) as JsonObject
  if (!properties || !required) return schema
  const remaining = required.filter((name) => !('default' in (properties[name] ?? {})))
  return { ...rest, properties, ...(remaining.length > 0 && { required: remaining }) }
}

type JsonObject = { properties?: Record<string, object>; required?: string[] }

function describeRoute({ url, config, schema, handler }: RouteOptions) {
  const permission = config?.permission ?? 'public'
  const words = handler.name.replace(/([A-Z])/g, ' $1').toLowerCase()
  const permissionText =
    permission in permissionDescriptions ? ` (${permissionDescriptions[permission as 'admin']})` : ''
  return {
    operationId: schema?.operationId ?? handler.name,
    summary: schema?.summary ?? words.charAt(0).toUpperCase() + words.slice(1),
    description:
      permission === 'public'
        ? 'Needs no key.'
        : permission === 'any-key'
          ? 'Needs any valid key.'
          : `Needs the permission \`${permission}\`${permissionText}.`,
    tags: [/^\/api\/([a-z0-9]+)/.exec(url)?.[1] ?? 'health'],
    'x-permission': permission,
  }
}

/** By status: what it means, one of its kind, and when an operation can answer so. */
const errorResponses: [
  name: string,
  description: string,
  example: ApiError,
  when: (operation: Operation, method: string) => boolean,
][] = [
  [
    'InvalidRequest',
    'INVALID_REQUEST (of /api/v4: BAD_REQUEST): `details` names each place',
    invalidField('/name', 'is required'),
    isLimited,
  ],
  ['Unauthorized', 'UNAUTHORIZED, KEY_EXPIRED or KEY_REVOKED', missingCredentials(), needsKey],
  ['Forbidden', 'FORBIDDEN: the key lacks the permission', forbidden('write:monitors'), needsPermission],
  ['NotFound', 'NOT_FOUND', monitorNotFound(), (operation) => hasParameter(operation, 'path')],
  // Of a DELETE too: it takes no body, but looks at one that is sent.
  [
    'PayloadTooLarge',
    'PAYLOAD_TOO_LARGE: a body may have 1 MiB',
    payloadTooLarge(bodyLimitBytes),
    (_, method) => method !== 'get',
  ],
  ['UnsupportedMediaType', 'UNSUPPORTED_MEDIA_TYPE', unsupportedMediaType(), (_, method) => method !== 'get'],
  ['RateLimitExceeded', 'RATE_LIMIT_EXCEEDED', rateLimitExceeded(100, 30), isLimited],
  ['InternalError', 'INTERNAL_ERROR', internalError(undefined), () => true],
  ['ServiceUnavailable', 'SERVICE_UNAVAILABLE: try again', databaseUnavailable(), () => true],
]

const header = (description: string, type: 'integer' | 'string') => ({ description, schema: { type } })

const headers = {
  'X-Request-Id': header('Names this request, in the log too', 'string'),
  'X-RateLimit-Limit': header('Requests a minute', 'integer'),
  'X-RateLimit-Remaining': header('Requests left in this minute', 'integer'),
  'X-RateLimit-Reset': header('Unix timestamp of the end of this minute', 'integer'),
  'RateLimit-Policy': header('The limit (IETF draft)', 'string'),
  RateLimit: header('Where the key stands (IETF draft)', 'string'),
  'Retry-After': header('Seconds to wait', 'integer'),
  'WWW-Authenticate': header('What is missing (RFC 6750)', 'string'),
}

const reference = (...names: (keyof typeof headers)[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))

const limitHeaders = reference(
  'X-RateLimit-Limit',
  'X-RateLimit-Remaining',
  'X-RateLimit-Reset',
  'RateLimit-Policy',
  'RateLimit',
)

function addSharedResponses({ openapiObject }: { openapiObject: Document }): Document {
  const document = withoutErrorMessages(openapiObject)
  const { paths, components } = document
  for (const [method, operation] of Object.values(paths).flatMap((methods) => Object.entries(methods))) {
    const body = operation.requestBody
    if (body) body.required = body.content['application/json']?.schema.required !== undefined
    operation.security = needsKey(operation) ? [{ key: [] }] : []
    for (const [status, reply] of Object.entries(operation.responses)) {
      if (reply.description === 'Default Response') reply.description = status === '201' ? 'Created' : 'Done'
      reply.headers = { ...reference('X-Request-Id'), ...(needsKey(operation) && limitHeaders) }
      if (operation.responses['204'] === reply) delete reply.content
      for (const media of Object.values(reply.content ?? {})) media.example ??= exampleOf(media.schema)
    }
    for (const [name, , { status }, when] of errorResponses) {
      if (when(operation, method))
        operation.responses[status] = { $ref: `#/components/responses/${name}` } as ResponseObject
    }
  }
  components.headers = headers
  components.schemas = { Failure: ErrorEnvelope }
  components.responses = Object.fromEntries(
    errorResponses.map(([name, description, example]) => [name, describeErrorResponse(description, example)]),
  )
  return document
}

/** `errorMessage` is an annotation for the validation errors of this service (src/wire/ajv-errors.ts). */
function withoutErrorMessages(document: Document): Document {
  return JSON.parse(
    JSON.stringify(document, (name, value: unknown) => (name === 'errorMessage' ? undefined : value)),
  ) as Document
}

type ExampleSchema = {
  enum?: unknown[]
  examples?: unknown[]
  properties?: Record<string, ExampleSchema>
  items?: ExampleSchema
}

/** What a schema's own example says, or else those of its parts, put together. */
function exampleOf({ examples, items, properties, ...schema }: ExampleSchema): unknown {
  if (examples) return examples[0]
  if (items) return [exampleOf(items)]
  if (!properties) return schema.enum?.[0]
  return Object.fromEntries(Object.entries(properties).map(([name, part]) => [name, exampleOf(part)]))
}

function describeErrorResponse(description: string, example: ApiError): ResponseObject {
  const { status } = example
  return {
    description,
    headers: {
      ...reference('X-Request-Id'),
      ...([401, 403].includes(status) && reference('WWW-Authenticate')),
      ...([429, 503].includes(status) && reference('Retry-After')),
      ...([400, 403, 404, 413, 415, 429].includes(status) && limitHeaders),
    },
    content: {
      'application/json': { schema: { $ref: '#/components/schemas/Failure' }, example: toBody(example) },
    },
  }
}

function needsKey(operation: Operation): boolean {
  return operation['x-permission'] !== 'public'
}

function needsPermission(operation: Operation): boolean {
  return needsKey(operation) && operation['x-permission'] !== 'any-key'
}

function hasParameter(operation: Operation, location: string): boolean {
  return operation.parameters?.some((parameter) => parameter.in === location) ?? false
}

/** All but the probes: these take anything, and are never refused. */
function isLimited(operation: Operation): boolean {
  return !operation.tags.includes('health')
}
