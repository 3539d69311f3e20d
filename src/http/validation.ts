import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type ApiError, invalidRequest, unsupportedMediaType } from '../errors.ts'
import { isUnderApi } from '../permissions.ts'
import { EmptyObject } from '../wire/envelope.ts'
import { compileCoercing, compileJson, compileSerializer, isStorable } from '../wire/validator.ts'

/**
 * What a request may look like: for one host, with JSON in UTF-8, checked against the route's schema. Nothing is dropped
 * in silence, and nothing in a body is turned into another type.
 */
export default fp(
  (app, _options, done) => {
    app.removeAllContentTypeParsers()
    addJsonParser(app, 'application/json')
    app.setValidatorCompiler(({ schema, httpPart }) =>
      httpPart === 'body' ? compileJson(schema as object) : compileCoercing(schema as object),
    )
    app.setSerializerCompiler(({ schema }) => compileSerializer(schema as object))
    app.addHook('onRoute', (route) => {
      if (!storedTextPath.test(route.url)) return
      route.preHandler = [rejectUnstorableText, ...[route.preHandler ?? []].flat()]
    })
    app.addHook('onRoute', (route) => {
      // A route that says nothing of its query or its body takes none. Probes may put into theirs what they like.
      if (!isUnderApi(route.url)) return
      route.schema = {
        querystring: EmptyObject,
        ...(takesBody(route.method) && { body: EmptyObject }),
        ...route.schema,
      }
    })
    app.addHook('onRequest', (request, _reply, next) => {
      next(validateHost(request.raw))
    })
    // Fastify would wait for ever for the body of a client that has gone meanwhile.
    app.addHook('preParsing', (request, _reply, _payload, next) => {
      next(request.raw.errored)
    })
    app.addHook('preValidation', (request, _reply, next) => {
      if (request.body === undefined && request.routeOptions.schema?.body !== undefined) request.body = {}
      next()
    })
    done()
  },
  { name: 'validation' },
)

/** RFC 9112, section 3.2: one Host header, without which only HTTP/1.0 does. */
function validateHost({ headers: { host }, httpVersion }: IncomingMessage): ApiError | undefined {
  if (host === undefined)
    return httpVersion === '1.1' ? invalidRequest('The header Host is missing') : undefined
  return host.includes(',') ? invalidRequest('There is more than one header Host') : undefined
}

/** @param type the media types under which JSON may come; `*` for whatever no other parser takes. */
export function addJsonParser(app: FastifyInstance, type: string): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser<Buffer>(type, { parseAs: 'buffer' }, (request, body, done) => {
    if (!isUncompressedUtf8(request.headers)) {
      done(unsupportedMediaType())
    } else if (body.length === 0) {
      done(null, undefined)
    } else if (!isUtf8(body)) {
      done(invalidRequest('The body is not valid UTF-8'))
    } else {
      // It answers by callback; the type allows for a promise too.
      void parse(request, body.toString(), (error, value) => {
        done(error && invalidRequest('The body is not valid JSON'), value)
      })
    }
  })
}

/** Neither compressed nor in another encoding: JSON is UTF-8 (RFC 8259, section 8.1). */
function isUncompressedUtf8(headers: FastifyRequest['headers']): boolean {
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headers['content-type'] ?? '')?.[1] ?? 'utf-8'
  const encoding = headers['content-encoding'] ?? 'identity'
  return /^utf-?8$/i.test(charset) && encoding.toLowerCase() === 'identity'
}

function takesBody(method: string | string[]): boolean {
  return [method].flat().some((name) => name !== 'GET' && name !== 'HEAD')
}

/** Everywhere else there is nothing to store, and probes may ask as they like. */
const storedTextPath = /^\/(api|manage)(\/|$)/

/** preHandler hook: PostgreSQL stores neither NUL characters nor lone surrogates, in any column. */
function rejectUnstorableText(
  { body, query, params }: FastifyRequest,
  _reply: FastifyReply,
  next: (error?: ApiError) => void,
): void {
  const violation = findViolation(body) ?? findViolation(query) ?? findViolation(params)
  next(violation && invalidRequest(violation.summary, [{ path: violation.path, message: violation.message }]))
}

/** As deep as a schema of ours goes, and as anyone nests what we keep for him. */
const maxDepth = 32

type Violation = { path: string; summary: string; message: string }

const unstorable: Violation = {
  path: '',
  summary: 'The request contains text that cannot be stored',
  message: 'must not contain NUL characters or lone surrogates',
}
const tooDeep: Violation = {
  path: '',
  summary: `The body is nested deeper than ${maxDepth} levels`,
  message: `must not be nested deeper than ${maxDepth} levels`,
}

/** The first fault, with the JSON pointer to it. Nothing is made for what is well: a body may hold half a million things. */
function findViolation(value: unknown, depth = 0): Violation | undefined {
  if (typeof value === 'string') return isStorable(value) ? undefined : unstorable
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === maxDepth) return tooDeep
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const violation = findViolation(value[index], depth + 1)
      if (violation) return { ...violation, path: `/${index}${violation.path}` }
    }
    return undefined
  }
  for (const name of Object.keys(value)) {
    const violation = isStorable(name)
      ? findViolation((value as Record<string, unknown>)[name], depth + 1)
      : unstorable
    if (violation) return { ...violation, path: `/${name}${violation.path}` }
  }
  return undefined
}
