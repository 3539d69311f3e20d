import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { heartbeatUrlNotFound, tooManyHeartbeats } from '../errors.ts'
import { sendError, toApiError } from '../http/error-handler.ts'
import { heartbeatHeaders } from '../http/heartbeat-url.ts'
import { maxHeartbeats } from '../monitors/heartbeats.ts'
import { describe, Envelope } from '../wire/envelope.ts'
import { toWholeMs } from './monitor-data.ts'
import { HeartbeatParams, HeartbeatQuery } from './schemas/heartbeats.ts'
import { WriteResponse } from './schemas/monitor-data.ts'

const operations = [
  { method: 'GET', path: '', status: 'UP', operationId: 'heartbeat' },
  { method: 'POST', path: '', status: 'UP', operationId: 'postHeartbeat' },
  { method: 'GET', path: '/fail', status: 'DOWN', operationId: 'heartbeatFailure' },
  { method: 'POST', path: '/fail', status: 'DOWN', operationId: 'postHeartbeatFailure' },
] as const

/**
 * URLs that report the status of one monitor, for clients that cannot send a header. The public rate limit does not apply,
 * so that other clients at the same address do not affect them: docs/decisions/0019-heartbeat-urls.md.
 */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  // Ignores the body, whatever its type and size: Node discards it.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(null)
  })
  app.addHook('onRequest', (_request, reply, next) => {
    reply.headers(heartbeatHeaders)
    next()
  })
  app.setNotFoundHandler(() => {
    throw heartbeatUrlNotFound()
  })
  app.setErrorHandler(async (error, request, reply) => {
    const apiError = toApiError(error, request)
    const isWrongUrl = apiError.status < 500 && apiError.status !== 429
    const sent = await app.countAuthFailure(request, isWrongUrl ? heartbeatUrlNotFound() : apiError)
    return sendError(sent, request, reply)
  })

  for (const { method, path, status, operationId } of operations) {
    app.route({
      method,
      url: `/:tag/:secret${path}`,
      config: { permission: 'public', isWrite: true },
      schema: {
        operationId,
        summary: `Report ${status} for this minute, without a key`,
        params: HeartbeatParams,
        querystring: HeartbeatQuery,
        response: { 200: describe(Envelope(WriteResponse), 'The report is written') },
      },
      handler: async ({ params: { tag, secret }, query }) => {
        const quota = await app.consumeHeartbeat(tag, secret)
        if (!quota) throw heartbeatUrlNotFound()
        if (!quota.isAllowed) throw tooManyHeartbeats(maxHeartbeats, quota.secondsLeft)
        const result = await app.writeReports(tag, [{ status, latency_ms: toWholeMs(query.latency_ms) }])
        if (result.outcome !== 'written') throw heartbeatUrlNotFound()
        return { success: true as const, data: { written: result.minutes } }
      },
    })
  }
}

export default routes
