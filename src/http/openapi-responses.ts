import {
  type ApiError,
  changedSinceRead,
  databaseUnavailable,
  forbidden,
  idempotencyKeyInFlight,
  idempotencyKeyReused,
  internalError,
  invalidField,
  missingCredentials,
  monitorNotFound,
  payloadTooLarge,
  rateLimitExceeded,
  unsupportedMediaType,
} from '../errors.ts'
import { ErrorEnvelope } from '../wire/envelope.ts'
import { bodyLimitBytes, toBody } from './error-handler.ts'
import { isChange } from './etags.ts'
import { idempotencyKeyPattern } from './idempotency.ts'

type Operation = {
  tags: string[]
  'x-permission'?: string
  'x-has-etag'?: boolean
  requestBody?: { required?: boolean; content: Record<string, { schema: JsonObject }> }
  parameters?: Parameter[]
  responses: Record<string, ResponseObject>
  security?: object[]
}
type Parameter = { name: string; in: string; description: string; schema: object }
type ResponseObject = {
  description: string
  headers?: object
  content?: Record<string, Media>
  $ref?: string
}
type Media = { schema: object; example?: unknown }
export type Document = {
  paths: Record<string, Record<string, Operation>>
  components: Record<string, object>
}
export type JsonObject = { properties?: Record<string, object>; required?: string[] }

/**
 * Adds to each operation the responses and headers that it shares with others, and examples.
 * @param openapiObject the description that @fastify/swagger generates
 */
export function addSharedResponses({ openapiObject }: { openapiObject: Document }): Document {
  const document = withoutErrorMessages(openapiObject)
  const { paths, components } = document
  for (const [method, operation] of Object.values(paths).flatMap((methods) => Object.entries(methods))) {
    const body = operation.requestBody
    if (body) body.required = body.content['application/json']?.schema.required !== undefined
    operation.security = needsKey(operation) ? [{ key: requiredPermissions(operation) }] : []
    const hasEtag = operation['x-has-etag'] && method !== 'delete'
    delete operation['x-has-etag']
    for (const [status, reply] of Object.entries(operation.responses)) {
      reply.headers = {
        ...reference('X-Request-Id'),
        ...(hasEtag && status < '400' && reference('ETag')),
        ...(needsKey(operation) && limitHeaders),
      }
      if ([operation.responses['204'], operation.responses['304']].includes(reply)) delete reply.content
      for (const media of Object.values(reply.content ?? {})) media.example ??= exampleOf(media.schema)
    }
    if (isIdempotent(operation, method)) addIdempotencyKey(operation)
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

/** Why a request with an Idempotency-Key is a conflict, whatever the route. */
const repetitionConflict =
  'a request with the same Idempotency-Key is in flight (see Retry-After), or its response is not repeated'

/** Error responses, each with an example, and a function that returns whether an operation can have it. */
const errorResponses: [
  name: string,
  description: string,
  example: ApiError,
  when: (operation: Operation, method: string) => boolean,
][] = [
  [
    'InvalidRequest',
    'INVALID_REQUEST (in /api/v4: BAD_REQUEST). `details` has an entry for each invalid value. The header Host is checked too.',
    invalidField('/name', 'is required'),
    isValidated,
  ],
  [
    'Unauthorized',
    'UNAUTHORIZED, KEY_EXPIRED or KEY_REVOKED: the key is missing, invalid, expired or revoked',
    missingCredentials(),
    needsKey,
  ],
  [
    'Forbidden',
    'FORBIDDEN: the key lacks the permission, is bound to other monitors, or may not be used from this address',
    forbidden('write:monitors'),
    needsKey,
  ],
  [
    'NotFound',
    'NOT_FOUND: the resource does not exist',
    monitorNotFound(),
    (operation) => hasParameter(operation, 'path'),
  ],
  [
    'PreconditionFailed',
    'PRECONDITION_FAILED: the resource does not match If-Match, or matches If-None-Match',
    changedSinceRead(),
    ({ tags }, method) => isChange(method) && !tags.includes('v4'),
  ],
  // DELETE too, because its body is parsed even though it must be empty.
  [
    'PayloadTooLarge',
    'PAYLOAD_TOO_LARGE: the body is larger than 1 MiB',
    payloadTooLarge(bodyLimitBytes),
    (operation, method) => isValidated(operation) && method !== 'get',
  ],
  [
    'UnsupportedMediaType',
    'UNSUPPORTED_MEDIA_TYPE: the body is not application/json in UTF-8',
    unsupportedMediaType(),
    (operation, method) => isValidated(operation) && method !== 'get',
  ],
  [
    'RepetitionConflict',
    `CONFLICT: ${repetitionConflict}`,
    idempotencyKeyInFlight(),
    (operation, method) => isIdempotent(operation, method) && !('409' in operation.responses),
  ],
  [
    'IdempotencyKeyReused',
    'IDEMPOTENCY_KEY_REUSED: the Idempotency-Key was used for a request with other content',
    idempotencyKeyReused(),
    isIdempotent,
  ],
  [
    'RateLimitExceeded',
    'RATE_LIMIT_EXCEEDED: retry after the seconds in Retry-After',
    rateLimitExceeded(100, 30),
    isLimited,
  ],
  ['InternalError', 'INTERNAL_ERROR: an error of the service', internalError(undefined), () => true],
  [
    'ServiceUnavailable',
    'SERVICE_UNAVAILABLE: the service is temporarily unavailable',
    databaseUnavailable(),
    () => true,
  ],
]

const header = (description: string, type: 'integer' | 'string') => ({ description, schema: { type } })

const headers = {
  ETag: header(
    'The version of the resource and a digest of the response, for If-Match and If-None-Match',
    'string',
  ),
  'X-Request-Id': header('The id of the request, which the log contains too', 'string'),
  'X-RateLimit-Limit': header('Maximum number of requests per minute', 'integer'),
  'X-RateLimit-Remaining': header('Remaining requests in this minute', 'integer'),
  'X-RateLimit-Reset': header('End of this minute: a Unix timestamp, in seconds', 'integer'),
  'RateLimit-Policy': header('The rate limit (IETF draft)', 'string'),
  RateLimit: header('The remaining requests (IETF draft)', 'string'),
  'Retry-After': header('Seconds to wait before a retry', 'integer'),
  'Idempotency-Replayed': header(
    '`true`: the response to the first request with this Idempotency-Key',
    'string',
  ),
  'WWW-Authenticate': header('The authentication challenge (RFC 6750)', 'string'),
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

const idempotencyKey: Parameter = {
  name: 'Idempotency-Key',
  in: 'header',
  description:
    'Identifies the request, so that it can be repeated safely: for 24 hours, the same request with the same value gets ' +
    'the response to the first one, and writes nothing. Use a new value, such as a UUID, for each new request.',
  schema: { type: 'string', pattern: idempotencyKeyPattern.source },
}

/** Describes the header Idempotency-Key and its effect on the responses of the route. */
function addIdempotencyKey(operation: Operation): void {
  operation.parameters = [...(operation.parameters ?? []), idempotencyKey]
  for (const [status, reply] of Object.entries(operation.responses)) {
    if (status < '300') reply.headers = { ...reply.headers, ...reference('Idempotency-Replayed') }
    if (status !== '409') continue
    reply.description += `; or ${repetitionConflict}`
    reply.headers = { ...reply.headers, ...reference('Retry-After') }
  }
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

/** Returns the schema's example, or an object of the examples of its properties. */
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
      ...([409, 429, 503].includes(status) && reference('Retry-After')),
      ...([400, 403, 404, 409, 412, 413, 415, 422, 429].includes(status) && limitHeaders),
    },
    content: {
      'application/json': { schema: { $ref: '#/components/schemas/Failure' }, example: toBody(example) },
    },
  }
}

/** As the roles of OpenAPI 3.1, so that tools that compare descriptions notice a change. */
function requiredPermissions(operation: Operation): string[] {
  const permission = operation['x-permission'] ?? 'any-key'
  return permission === 'any-key' ? [] : [permission]
}

function needsKey(operation: Operation): boolean {
  return operation['x-permission'] !== 'public'
}

function isIdempotent(operation: Operation, method: string): boolean {
  return method === 'post' && needsKey(operation)
}

function hasParameter(operation: Operation, location: string): boolean {
  return operation.parameters?.some((parameter) => parameter.in === location) ?? false
}

/** All operations except the probes have a rate limit. */
function isLimited(operation: Operation): boolean {
  return !operation.tags.includes('health')
}

/** At a heartbeat URL, invalid input is 404. */
function isValidated(operation: Operation): boolean {
  return !operation.tags.includes('heartbeat')
}
