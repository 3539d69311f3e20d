import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { ApiError } from '../errors.ts'
import { clientAddress } from './client-address.ts'
import { parseTraceparent } from './correlation.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The error that was sent, if any. */
    apiError: ApiError | null
  }
}

/** Security events by status. The names are stable, because alerts rely on them. */
const securityEvents: Partial<Record<number, string>> = {
  401: 'authentication_failed',
  403: 'forbidden',
  429: 'rate_limit_exceeded',
}

/**
 * Adds X-Request-Id and nosniff to every response, and logs one line per request, with the route's pattern. URLs are not logged,
 * because clients may put keys into them, and those of heartbeats contain secrets.
 */
export default fp(
  (app, _options, done) => {
    app.decorateRequest('apiError', null)
    app.addHook('onRequest', (request, reply, next) => {
      setSharedHeaders(request, reply)
      next()
    })
    // onResponse is not called if the client disconnects before the response. Such requests are logged here, so that
    // every failed authentication is logged.
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

export function setSharedHeaders({ id }: FastifyRequest, reply: FastifyReply): void {
  reply.header('x-request-id', id).header('x-content-type-options', 'nosniff')
}

/** True if the client disconnected before the response, even one that is queued behind a pipelined response. */
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
  const trace = parseTraceparent(request.headers.traceparent)
  if (trace) Object.assign(line, trace)
  request.log.info(request.apiError ? { ...line, ...describeError(request) } : line, 'request completed')
}

function describeError(request: FastifyRequest) {
  const { apiError } = request
  if (!apiError) return {}
  const { status, reason, keyId: presentedKeyId } = apiError
  const event = reason === 'heartbeat_url' ? 'authentication_failed' : securityEvents[status]
  if (event === undefined) return {}
  return { event, reason, presentedKeyId, address: clientAddress(request) }
}
