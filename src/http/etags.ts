import type { FastifyRequest, onSendHookHandler, preHandlerHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { hasNoEtag } from '../errors.ts'
import { isUnderApi } from '../permissions.ts'
import type { Precondition } from '../preconditions.ts'
import { formatEtag, matchesEtag, parsePrecondition } from '../wire/etag.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True if the route shows, creates, changes or deletes a resource with an ETag. */
    hasEtag?: boolean
  }
  interface FastifyReply {
    /** Version of the record in the response. On a route with an ETag, the response has one if this is set. */
    version: string | undefined
  }
}

/**
 * ETags of single resources, from their version and the body. A matching If-None-Match of a GET is 304. Handlers of changes
 * pass preconditionOf(request) on; a change of a resource without an ETag is rejected if it has a condition, which must
 * not be ignored. Kener has no ETags, so that /api/v4 ignores conditions.
 */
export default fp(
  (app, _options, done) => {
    app.decorateReply('version', undefined)
    app.addHook('onRoute', (route) => {
      const { url, method, config } = route
      if (config?.hasEtag) {
        // First, because on a HEAD route the last hook removes the body.
        route.onSend = [...new Set([addEtag, ...[route.onSend ?? []].flat()])]
      } else if (isUnderApi(url) && !url.startsWith('/api/v4/') && isChange(String(method))) {
        route.preHandler = [rejectConditions, ...[route.preHandler ?? []].flat()]
      }
    })
    done()
  },
  { name: 'etags' },
)

/** The methods whose conditions are evaluated, apart from GET and HEAD. */
export function isChange(method: string): boolean {
  return ['PUT', 'PATCH', 'DELETE'].includes(method.toUpperCase())
}

/** Returns the conditions of a change. Pass them to the domain function, which evaluates them with the locked record. */
export function preconditionOf({ headers }: Pick<FastifyRequest, 'headers'>): Precondition {
  return parsePrecondition(headers['if-match'], headers['if-none-match'])
}

/** onSend hook. A handler that shares a text among requests sets the header ETag itself. */
const addEtag: onSendHookHandler = ({ method, headers }, reply, body, next) => {
  const { statusCode, version } = reply
  if (statusCode >= 300) {
    next(null, body)
    return
  }
  if (version !== undefined) reply.header('etag', formatEtag(version, body as string))
  const isRead = method === 'GET' || method === 'HEAD'
  if (!isRead || !matchesEtag(headers['if-none-match'], String(reply.getHeader('etag')))) {
    next(null, body)
    return
  }
  reply.code(304).removeHeader('content-type')
  // On a HEAD route, the next hook removes the body.
  next(null, method === 'HEAD' ? body : null)
}

const rejectConditions: preHandlerHookHandler = ({ headers }, _reply, next) => {
  const { match = 'any', noneMatch } = parsePrecondition(headers['if-match'], headers['if-none-match'])
  next(match === 'any' && noneMatch === undefined ? undefined : hasNoEtag())
}
