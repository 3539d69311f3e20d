import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import {
  type ApiError,
  duplicateHost,
  invalidJson,
  invalidUtf8,
  missingHost,
  nestedTooDeeply,
  tooManyValues,
  unstorableText,
  unsupportedMediaType,
} from '../errors.ts'
import { maxDepth } from '../limits.ts'
import { isUnderApi } from '../permissions.ts'
import { AnyObject, EmptyObject } from '../wire/envelope.ts'
import {
  compileCoercing,
  compileJson,
  compileParams,
  compileSerializer,
  isStorable,
} from '../wire/validator.ts'

/**
 * Validates requests: one Host header, a JSON body in UTF-8, and the route's schema. Unknown fields are rejected, and
 * values in a body are never converted to another type.
 */
export default fp(
  (app, _options, done) => {
    app.removeAllContentTypeParsers()
    addJsonParser(app, 'application/json')
    // Accepts a chunked body of any type, and without a valid one, if it is empty.
    app.addContentTypeParser('*', { parseAs: 'buffer' }, ({ is404 }, body, done) => {
      done(body.length === 0 || is404 ? null : unsupportedMediaType(), undefined)
    })
    app.setValidatorCompiler(({ schema, httpPart }) => {
      if (httpPart === 'body') return compileJson(schema)
      return httpPart === 'params' ? compileParams(schema) : compileCoercing(schema)
    })
    app.setSerializerCompiler(({ schema }) => compileSerializer(schema as object))
    app.addHook('onRoute', (route) => {
      if (!storedTextPath.test(route.url) || route.config?.isPublicOutput) return
      route.preHandler = [rejectUnstorableText, ...[route.preHandler ?? []].flat()]
    })
    app.addHook('onRoute', (route) => {
      // Rejects every query or body field if the route has no schema for it. Routes outside /api ignore them, and public
      // output ignores unknown query fields, which links and caches add.
      if (!isUnderApi(route.url)) return
      route.schema = {
        querystring: route.config?.isPublicOutput ? AnyObject : EmptyObject,
        ...(takesBody(route.method) && { body: EmptyObject }),
        ...route.schema,
      }
    })
    app.addHook('onRequest', (request, _reply, next) => {
      next(validateHost(request.raw))
    })
    app.addHook('preParsing', (request, _reply, _payload, next) => {
      const { headers } = request
      // Many clients send a Content-Type without content, which Fastify would parse. It would reject an invalid one before
      // it reads whether a chunked body has content.
      if (!hasContent(headers) || request.mediaType === undefined) delete headers['content-type']
      // Otherwise Fastify never stops waiting for the body if the client has disconnected before.
      next(request.raw.errored)
    })
    app.addHook('preValidation', (request, _reply, next) => {
      // Treats null like no content, so that the error about a body with required fields names them.
      if (request.routeOptions.schema?.body !== undefined) request.body ??= {}
      next()
    })
    done()
  },
  { name: 'validation' },
)

/** RFC 9112, section 3.2: exactly one Host header, which is optional in HTTP/1.0. */
function validateHost({ headers: { host }, httpVersion }: IncomingMessage): ApiError | undefined {
  if (host === undefined) return httpVersion === '1.1' ? missingHost() : undefined
  return host.includes(',') ? duplicateHost() : undefined
}

/** RFC 9112, section 6.3: without Transfer-Encoding and Content-Length, a request has no content. */
function hasContent(headers: FastifyRequest['headers']): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0
}

/** @param type the media type that is parsed as JSON; `*` for every media type without another parser */
export function addJsonParser(app: FastifyInstance, type: string): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser<Buffer>(type, { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) {
      done(null, undefined)
    } else if (!isUncompressedUtf8(request.headers)) {
      done(unsupportedMediaType())
    } else if (!isUtf8(body)) {
      done(invalidUtf8())
    } else if (body.length > maxUncheckedBytes && isExpensive(body)) {
      done(tooManyValues(maxCommas, maxBrackets))
    } else {
      // It calls back; its type also allows a promise.
      void parse(request, body.toString(), (error, value) => {
        done(error && invalidJson(), value)
      })
    }
  })
}

/** Bodies up to this size are parsed within a few milliseconds, whatever they contain. */
const maxUncheckedBytes = 65_536

/** 10,000 reports have 30,000 commas. */
const maxCommas = 40_000

/** Deeper nesting is rejected after parsing: see maxDepth. */
const maxBrackets = 1_000

/** True for JSON that would block the event loop for 50 ms or more: with very many values, or very deep nesting. */
function isExpensive(body: Buffer): boolean {
  let commas = 0
  let depth = 0
  for (let index = 0, isText = false; index < body.length; index++) {
    const byte = body[index]
    if (isText) {
      if (byte === 0x5c) index++
      else if (byte === 0x22) isText = false
    } else if (byte === 0x22) isText = true
    else if (byte === 0x2c) commas++
    else if (byte === 0x5b || byte === 0x7b) depth++
    else if (byte === 0x5d || byte === 0x7d) depth--
    if (commas > maxCommas || depth > maxBrackets) return true
  }
  return false
}

/** JSON is UTF-8 (RFC 8259, section 8.1). */
function isUncompressedUtf8(headers: FastifyRequest['headers']): boolean {
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headers['content-type'] ?? '')?.[1] ?? 'utf-8'
  const encoding = headers['content-encoding'] ?? 'identity'
  return /^utf-?8$/i.test(charset) && encoding.toLowerCase() === 'identity'
}

function takesBody(method: string | string[]): boolean {
  return [method].flat().some((name) => name !== 'GET' && name !== 'HEAD')
}

/** Other routes store nothing, so they ignore such text. */
const storedTextPath = /^\/(api|manage)(\/|$)/

/** preHandler hook: PostgreSQL cannot store NUL characters or lone surrogates in any column. */
function rejectUnstorableText(
  { body, query, params }: FastifyRequest,
  _reply: FastifyReply,
  next: (error?: ApiError) => void,
): void {
  const violation = findViolation(body) ?? findViolation(query) ?? findViolation(params)
  if (!violation) next()
  else next(violation.isTooDeep ? nestedTooDeeply(violation.path, maxDepth) : unstorableText(violation.path))
}

type Violation = { path: string; isTooDeep: boolean }

/**
 * Returns the first violation, with the JSON pointer to it. Builds paths only if there is one: a body may have 500,000
 * values.
 */
function findViolation(value: unknown, depth = 0): Violation | undefined {
  if (typeof value === 'string') return isStorable(value) ? undefined : { path: '', isTooDeep: false }
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === maxDepth) return { path: '', isTooDeep: true }
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
      : { path: '', isTooDeep: false }
    if (violation) return { ...violation, path: `/${name}${violation.path}` }
  }
  return undefined
}
