import type { onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { forbidden } from '../errors.ts'
import { type Access, allows, isUnderApi } from '../permissions.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a caller of this route needs. Every route under /api declares it. */
    permission?: Access
  }
  interface FastifyInstance {
    /** onRequest hook, after authenticate. @throws ApiError 403 */
    checkPermission: onRequestHookHandler
  }
}

/** The one place where a permission is enforced. A route under /api that declares none refuses to boot. */
export default fp(
  (app, _options, done) => {
    app.addHook('onRoute', ({ url, method, config }) => {
      if (isUnderApi(url) && config?.permission === undefined) {
        throw new Error(`${String(method)} ${url} declares no config.permission`)
      }
    })
    app.decorate('checkPermission', (request, _reply, next) => {
      const { permission } = request.routeOptions.config
      // A path that does not exist needs nothing but a valid key.
      const isDenied = permission && !allows(request.principal?.permissions ?? [], permission)
      next(isDenied ? forbidden(permission) : undefined)
    })
    done()
  },
  { name: 'permission-guard', dependencies: ['auth'] },
)
