import type { onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { forbidden } from '../errors.ts'
import { type Access, allows, isUnderApi } from '../permissions.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Required on every route under /api. */
    permission?: Access
  }
  interface FastifyInstance {
    /** onRequest hook, after authenticate. @throws ApiError 403 */
    checkPermission: onRequestHookHandler
  }
}

/** Enforces permissions. A route under /api without `config.permission` is a boot error. */
export default fp(
  (app, _options, done) => {
    app.addHook('onRoute', ({ url, method, config }) => {
      if (isUnderApi(url) && config?.permission === undefined) {
        throw new Error(`${String(method)} ${url} declares no config.permission`)
      }
    })
    app.decorate('checkPermission', (request, _reply, next) => {
      const { permission } = request.routeOptions.config
      // An unknown path has no permission: it needs any valid key.
      const isDenied = permission && !allows(request.principal?.permissions ?? [], permission)
      next(isDenied ? forbidden(permission) : undefined)
    })
    done()
  },
  { name: 'permission-guard', dependencies: ['auth'] },
)
