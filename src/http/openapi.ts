import swagger from '@fastify/swagger'
import type { FastifySchema, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { type TSchema, Type } from 'typebox'
import { isUnderApi, permissionDescriptions } from '../permissions.ts'
import { version } from '../version.ts'
import { AnyObject, EmptyObject, NotModified } from '../wire/envelope.ts'
import { addSharedResponses, type Document, type JsonObject } from './openapi-responses.ts'

/**
 * Generates the OpenAPI description from the schemas and `config.permission` of the routes, and adds the shared parts:
 * credentials, rate limit headers and error responses. A route under /api without `operationId` and `summary` is a boot
 * error.
 */
export default fp(
  (app, _options, done) => {
    app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'kener-api',
          version,
          description:
            'The API of a status page. Send an API key in the header `Authorization: Bearer YOUR_API_KEY`. Each ' +
            'operation names the permission that the key needs. Times are RFC 3339 (at /api/v4: seconds since 1970); ' +
            'responses contain them in UTC and whole seconds. A request without content, and a body of null, count as ' +
            'an empty object. Null in an optional field counts as an absent field, unless the field allows null. ' +
            'Booleans in a query may also be 1 or 0, in any case.',
          license: { name: 'MIT', identifier: 'MIT' },
        },
        servers: [{ url: '/', description: 'This service' }],
        tags: tags.map(([name, description]) => ({ name, description })),
        components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      },
      transform: ({ schema, url, route }) => ({
        url: url.replace(/(.)\/$/, '$1'),
        schema: {
          ...schema,
          ...makeRequestDefaultsOptional(schema),
          ...describeConditions(route),
          ...describeRoute(route),
        },
      }),
      transformObject: (document) => addSharedResponses(document as { openapiObject: Document }) as never,
    })
    app.addHook('onRoute', ({ url, method, schema }) => {
      if (isUnderApi(url) && (schema?.operationId === undefined || schema.summary === undefined)) {
        throw new Error(`${String(method)} ${url} declares no schema.operationId or no schema.summary`)
      }
    })
    done()
  },
  { name: 'openapi' },
)

const tags: [name: string, description: string][] = [
  ['me', 'The API key that authenticates the request'],
  ['keys', 'API keys: permissions, expiry, rate limits, rotation and revocation'],
  ['monitors', 'Monitored services, and reports of their status'],
  ['incidents', 'Incidents, the monitors that they affect, and their comments'],
  ['maintenances', 'Planned maintenances, the monitors that they affect, and their events'],
  ['audit', 'Audit events: what each key has changed'],
  ['status', 'The public status, without a key'],
  ['public', 'Feeds, calendar and badges, without a key'],
  ['v2', 'The public status in the JSON format of Atlassian Statuspage, without a key'],
  ['v4', 'The API of Kener 4, for its clients. An invalid request has the code BAD_REQUEST.'],
  ['heartbeat', 'URLs that report the status of one monitor without a key. Anything wrong is 404.'],
  ['health', 'Probes for orchestrators and load balancers'],
]

/** Routes outside /api may have no schema. */
function makeRequestDefaultsOptional(schema: FastifySchema | undefined): FastifySchema {
  return {
    body:
      schema?.body === EmptyObject || schema?.body === AnyObject
        ? undefined
        : makeDefaultsOptional(schema?.body),
    querystring: makeDefaultsOptional(schema?.querystring),
  }
}

/**
 * Fields with a default are optional in requests, because the validator adds the default before it checks `required`.
 */
function makeDefaultsOptional(schema: unknown): unknown {
  const { properties, required, ...rest } = (schema ?? {}) as JsonObject
  if (!properties || !required) return schema
  const remaining = required.filter((name) => !('default' in (properties[name] ?? {})))
  return { ...rest, properties, ...(remaining.length > 0 && { required: remaining }) }
}

function describeRoute({ url, config, schema }: RouteOptions) {
  const permission = config?.permission ?? 'public'
  const permissionText =
    permission in permissionDescriptions ? ` (${permissionDescriptions[permission as 'admin']})` : ''
  const access =
    permission === 'public'
      ? 'Requires no key.'
      : permission === 'any-key'
        ? 'Requires any valid key.'
        : `Requires the permission \`${permission}\`${permissionText}.`
  return {
    description: schema?.description === undefined ? access : `${access} ${schema.description}`,
    tags: [
      /^\/(?:api|ext)\/([a-z0-9]+)/.exec(url)?.[1] ??
        (/^\/(healthz|readyz)$/.test(url) ? 'health' : 'public'),
    ],
    'x-permission': permission,
    'x-has-etag': config?.hasEtag ?? false,
  }
}

/** Describes conditional requests for a resource with an ETag: RFC 9110, section 13.1. */
function describeConditions({ config, method, schema }: RouteOptions): FastifySchema {
  const headers = config?.hasEtag ? conditions[String(method)] : undefined
  if (!headers) return {}
  const response = schema?.response as object | undefined
  return { headers, ...(method === 'GET' && { response: { ...response, 304: NotModified } }) }
}

const ifMatch = Type.Optional(
  Type.String({
    description:
      'ETags of which the resource must have one, or * if it only has to exist. Otherwise the response is 412. Compares ' +
      'the part before the hyphen, which is the version of the resource.',
    examples: ['*'],
  }),
)

const ifNoneMatch = (description: string) => Type.Optional(Type.String({ description, examples: ['*'] }))

/** Headers by method. */
const conditions: Record<string, TSchema> = {
  GET: Type.Object({
    'If-None-Match': ifNoneMatch(
      'ETags of known responses. The response is 304 if it would have one of them.',
    ),
  }),
  PUT: Type.Object({
    'If-Match': ifMatch,
    'If-None-Match': ifNoneMatch('* to create the resource, but not to replace it: 412 if it exists.'),
  }),
  PATCH: Type.Object({ 'If-Match': ifMatch }),
  DELETE: Type.Object({ 'If-Match': ifMatch }),
}
