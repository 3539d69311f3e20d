import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { ApiError } from '../errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What the request was refused with, if it was. */
    apiError: ApiError | null
  }
}

/** What a refusal is to those who watch over security. The names stay: alerts hang on them. */
const securityEvents: Partial<Record<number, string>> = {
  401: 'authentication_failed',
  403: 'forbidden',
  429: 'rate_limit_exceeded',
}

/**
 * Every reply names its request, and every request is one line in the log. The line holds the route's pattern, not
 * the URL: people put keys into URLs.
 */
export default fp(
  (app, _options, done) => {
    app.decorateRequest('apiError', null)
    app.addHook('onRequest', (request, reply, next) => {
      reply.header('x-request-id', request.id)
      next()
    })
    // When the client has gone before its reply, onResponse never comes; a guess must not go unseen for that.
    app.addHook('onSend', (request, reply, _payload, next) => {
      if (isAborted(request, reply)) logRequest(request, reply)
      next()
    })
    app.addHook('onResponse', (request, reply, next) => {
      logRequest(request, reply)
      next()
    })
    done()
  },
  { name: 'request-log' },
)

/** The client has hung up before its reply, be it this one's turn on the connection or not yet. */
export function isAborted(request: FastifyRequest, reply: FastifyReply): boolean {
  return reply.raw.destroyed || request.socket.destroyed
}

export function logRequest(request: FastifyRequest, reply: FastifyReply): void {
  const line = {
    method: request.method,
    route: request.routeOptions.url ?? null,
    keyId: request.principal?.id ?? null,
    status: reply.statusCode,
    durationMs: Math.round(reply.elapsedTime * 1000) / 1000,
  }
  request.log.info(request.apiError ? { ...line, ...describeError(request) } : line, 'request completed')
}

function describeError({ apiError, ip }: FastifyRequest) {
  const event = apiError && securityEvents[apiError.status]
  return event ? { event, reason: apiError.reason, presentedKeyId: apiError.keyId, address: ip } : {}
}
