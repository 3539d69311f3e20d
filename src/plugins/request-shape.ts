import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type ApiError, invalidRequest, unsupportedMediaType } from '../errors.ts'
import { isUnderApi } from '../permissions.ts'
import { Nothing } from '../schemas/envelope.ts'
import { compileExact, compileSerializer, compileText } from '../schemas/validator.ts'

/**
 * What a request may look like: for one host, with JSON in UTF-8, checked against the route's schema. Nothing is dropped
 * in silence, and nothing in a body is turned into another type.
 */
export default fp(
  (app, _options, done) => {
    app.removeAllContentTypeParsers()
    parseJson(app, 'application/json')
    app.setValidatorCompiler(({ schema, httpPart }) =>
      httpPart === 'body' ? compileExact(schema as object) : compileText(schema as object),
    )
    app.setSerializerCompiler(({ schema }) => compileSerializer(schema as object))
    app.addHook('onRoute', (route) => {
      if (!storesText.test(route.url)) return
      route.preHandler = [refuseUnstorableText, ...[route.preHandler ?? []].flat()]
    })
    app.addHook('onRoute', (route) => {
      // A route that says nothing of its query or its body takes none. Probes may put into theirs what they like.
      if (!isUnderApi(route.url)) return
      route.schema = {
        querystring: Nothing,
        ...(takesBody(route.method) && { body: Nothing }),
        ...route.schema,
      }
    })
    app.addHook('onRequest', (request, _reply, next) => {
      next(refuseUnclearHost(request.raw))
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
  { name: 'request-shape' },
)

/** RFC 9112, section 3.2: one Host header, without which only HTTP/1.0 does. */
function refuseUnclearHost({ headers: { host }, httpVersion }: IncomingMessage): ApiError | undefined {
  if (host === undefined)
    return httpVersion === '1.1' ? invalidRequest('The header Host is missing') : undefined
  return host.includes(',') ? invalidRequest('There is more than one header Host') : undefined
}

/** @param type the media types under which JSON may come; `*` for whatever no other parser takes. */
export function parseJson(app: FastifyInstance, type: string): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser<Buffer>(type, { parseAs: 'buffer' }, (request, body, done) => {
    if (!isPlainUtf8(request.headers)) {
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
function isPlainUtf8(headers: FastifyRequest['headers']): boolean {
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headers['content-type'] ?? '')?.[1] ?? 'utf-8'
  const encoding = headers['content-encoding'] ?? 'identity'
  return /^utf-?8$/i.test(charset) && encoding.toLowerCase() === 'identity'
}

function takesBody(method: string | string[]): boolean {
  return [method].flat().some((name) => name !== 'GET' && name !== 'HEAD')
}

/** Everywhere else there is nothing to store, and probes may ask as they like. */
const storesText = /^\/(api|manage)(\/|$)/

/** preHandler hook: PostgreSQL stores neither NUL characters nor lone surrogates, in any column. */
function refuseUnstorableText(
  { body, query, params }: FastifyRequest,
  _reply: FastifyReply,
  next: (refusal?: ApiError) => void,
): void {
  const fault = findUnstorable(body) ?? findUnstorable(query) ?? findUnstorable(params)
  next(fault && invalidRequest(fault.summary, [{ path: fault.path, message: fault.message }]))
}

/** As deep as a schema of ours goes, and as anyone nests what we keep for him. */
const depthMax = 32

type Fault = { path: string; summary: string; message: string }

const unstorable: Fault = {
  path: '',
  summary: 'The request contains text that cannot be stored',
  message: 'must not contain NUL characters or lone surrogates',
}
const tooDeep: Fault = {
  path: '',
  summary: `The body is nested deeper than ${depthMax} levels`,
  message: `must not be nested deeper than ${depthMax} levels`,
}

/** The first fault, with the JSON pointer to it. Nothing is made for what is well: a body may hold half a million things. */
function findUnstorable(value: unknown, depth = 0): Fault | undefined {
  if (typeof value === 'string') return isStorable(value) ? undefined : unstorable
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === depthMax) return tooDeep
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const fault = findUnstorable(value[index], depth + 1)
      if (fault) return { ...fault, path: `/${index}${fault.path}` }
    }
    return undefined
  }
  for (const name of Object.keys(value)) {
    const fault = isStorable(name)
      ? findUnstorable((value as Record<string, unknown>)[name], depth + 1)
      : unstorable
    if (fault) return { ...fault, path: `/${name}${fault.path}` }
  }
  return undefined
}

export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
