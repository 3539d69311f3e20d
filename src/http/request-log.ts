import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { ApiError } from '../errors.ts'
import { clientAddress } from './client-address.ts'
import { parseTraceparent } from './correlation.ts'
import type { Tracing } from './tracing.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The error that was sent, if any. */
    apiError: ApiError | null
  }
  interface FastifyInstance {
    /** Called once for each request: when its response is sent, or its client has disconnected before. */
    requestEndListeners: RequestEndListener[]
  }
}

type RequestEndListener = (request: FastifyRequest, reply: FastifyReply) => void

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
export default fp<{ tracing: Tracing | null }>(
  (app, { tracing }, done) => {
    app.decorateRequest('apiError', null)
    app.decorate('requestEndListeners', tracing ? [logRequest, tracing.endSpan] : [logRequest])
    app.addHook('onRequest', (request, reply, next) => {
      setSharedHeaders(request, reply)
      next()
    })
    // onResponse is not called if the client disconnects before the response. Such requests end here, so that every failed
    // authentication is logged.
    app.addHook('onSend', (request, reply, _payload, next) => {
      if (isAborted(request, reply)) endRequest(request, reply)
      next()
    })
    app.addHook('onResponse', (request, reply, next) => {
      endRequest(request, reply)
      next()
    })
    done()
  },
  { name: 'request-log' },
)

export function setSharedHeaders({ id }: FastifyRequest, reply: FastifyReply): void {
  reply.header('x-request-id', id).header('x-content-type-options', 'nosniff')
}

/** Fastify runs no hooks for a URL that the router cannot decode: call it at the end of such a request. */
export function endRequest(request: FastifyRequest, reply: FastifyReply): void {
  for (const listener of request.server.requestEndListeners) listener(request, reply)
}

/** True if the client disconnected before the response, even one that is queued behind a pipelined response. */
export function isAborted(request: FastifyRequest, reply: FastifyReply): boolean {
  return reply.raw.destroyed || request.socket.destroyed
}

function logRequest(request: FastifyRequest, reply: FastifyReply): void {
  const line = {
    method: request.method,
    route: request.routeOptions.url ?? null,
    keyId: request.principal?.id ?? null,
    status: reply.statusCode,
    durationMs: Math.round(reply.elapsedTime * 1000) / 1000,
  }
  // With tracing, each line of a request has these fields.
  const parent = request.server.config.tracing ? undefined : parseTraceparent(request.headers.traceparent)
  if (parent) Object.assign(line, { trace_id: parent.traceId, parent_span_id: parent.spanId })
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
