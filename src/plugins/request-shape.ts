import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type ErrorDetail, invalidRequest } from '../errors.ts'
import { Nothing } from '../schemas/envelope.ts'
import { createValidator } from '../schemas/validator.ts'

/**
 * What a request may look like: JSON in UTF-8, checked against the route's schema. Nothing is dropped in silence,
 * and nothing in a body is turned into another type.
 */
export default fp(
  (app, _options, done) => {
    app.removeAllContentTypeParsers()
    parseJson(app)
    const exact = createValidator({ coerceTypes: false })
    const coercing = createValidator({ coerceTypes: true })
    app.setValidatorCompiler(({ schema, httpPart }) =>
      (httpPart === 'body' ? exact : coercing).compile(schema),
    )
    app.addHook('onRoute', (route) => {
      // A route that says nothing of its query or its body takes none.
      route.schema = {
        querystring: Nothing,
        ...(takesBody(route.method) && { body: Nothing }),
        ...route.schema,
      }
    })
    app.addHook('preValidation', (request, _reply, next) => {
      if (request.body === undefined && request.routeOptions.schema?.body !== undefined) request.body = {}
      next(refuseUnstorableText(request))
    })
    done()
  },
  { name: 'request-shape' },
)

function parseJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) {
      done(null, undefined)
    } else if (!isUtf8(body)) {
      done(invalidRequest('The body is not valid UTF-8'))
    } else {
      // It answers by callback; the type allows for a promise too.
      void parse(request, body.toString(), (error, value) => {
        done(error && invalidRequest(`The body is not valid JSON: ${error.message}`), value)
      })
    }
  })
}

function takesBody(method: string | string[]): boolean {
  return [method].flat().some((name) => name !== 'GET' && name !== 'HEAD')
}

/** PostgreSQL stores neither NUL characters nor lone surrogates, in any column. */
function refuseUnstorableText(request: FastifyRequest) {
  const details: ErrorDetail[] = []
  // Not by recursion: a body may be nested as deep as it is long.
  const open: [path: string, value: unknown][] = [
    ['', request.body],
    ['', request.query],
    ['', request.params],
  ]
  for (let next = open.pop(); next; next = open.pop()) {
    const [path, value] = next
    if (typeof value === 'string' && !isStorable(value)) {
      details.push({ path, message: 'must not contain NUL characters or lone surrogates' })
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, inner] of Object.entries(value)) open.push([`${path}/${name}`, inner])
    }
  }
  return details.length > 0
    ? invalidRequest('The request contains text that cannot be stored', details)
    : undefined
}

function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
