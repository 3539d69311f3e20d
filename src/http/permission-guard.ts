import type { FastifyRequest, onRequestHookHandler, preValidationHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { type ApiError, forbidden, forbiddenMonitor, forbiddenWithoutMonitor } from '../errors.ts'
import { isInScope, type Scope } from '../monitors/scope.ts'
import { type Access, allows, isUnderApi } from '../permissions.ts'
import { requirePrincipal } from './auth.ts'

/**
 * Where a request names monitors, which must be those of the key if it is bound to monitors. `{}`: nowhere. In any case,
 * the handler passes scopeOf(request) on, so that a response shows only monitors of the key.
 */
type TagLocation = {
  /** Parameter of the path that is a tag. */
  param?: 'tag' | 'monitor_tag'
  /** Field of the body: a tag, or a list of objects with `monitor_tag`. An empty list names no monitor of the key. */
  field?: 'tag' | 'monitors'
  /** True if the field must name a monitor of the key. */
  isRequired?: boolean
}

/** Routes about monitors, and about what affects them. */
const tagRoutes = /^\/api(\/v4)?\/(monitors|incidents|maintenances)(\/|$)/

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Required on every route under /api. */
    permission?: Access
    /** Required on every route about monitors, incidents or maintenances. */
    tags?: TagLocation
  }
  interface FastifyInstance {
    /** onRequest hook, after authenticate. @throws ApiError 403 */
    checkPermission: onRequestHookHandler
  }
}

/**
 * Enforces permissions, and the monitors that a key is bound to: from the key and the request alone, before any other
 * query, so that a 403 reveals nothing about existence. A route under /api without `config.permission` is a boot error,
 * and so is a route about monitors without `config.tags`.
 */
export default fp(
  (app, _options, done) => {
    app.addHook('onRoute', (route) => {
      const { url, method, config } = route
      if (isUnderApi(url) && config?.permission === undefined) {
        throw new Error(`${String(method)} ${url} declares no config.permission`)
      }
      if (tagRoutes.test(url) && config?.tags === undefined) {
        throw new Error(`${String(method)} ${url} declares no config.tags`)
      }
      if (config?.tags?.field) route.preValidation = [checkBody, ...[route.preValidation ?? []].flat()]
    })
    app.decorate('checkPermission', (request, _reply, next) => {
      const { permission, tags } = request.routeOptions.config
      const { principal } = request
      // An unknown path has no permission: it needs any valid key.
      if (permission && !allows(principal?.permissions ?? [], permission)) next(forbidden(permission))
      else if (principal?.monitors && tags?.param) next(checkPath(principal.monitors, tags.param, request))
      else next()
    })
    done()
  },
  { name: 'permission-guard', dependencies: ['auth'] },
)

/** Returns the monitors that the calling key may use. */
export function scopeOf(request: Pick<FastifyRequest, 'principal'>): Scope {
  return requirePrincipal(request).monitors
}

function checkPath(scope: Scope, param: string, request: FastifyRequest): ApiError | undefined {
  const tag = (request.params as Record<string, string>)[param] ?? ''
  return isInScope(scope, tag) ? undefined : forbiddenMonitor(tag, permissionOf(request))
}

/** Runs before validation, so that a body may have any shape: what names no monitor is left to validation. */
const checkBody: preValidationHookHandler = (request, _reply, next) => {
  const scope = request.principal?.monitors ?? null
  const { field = 'tag', isRequired = false } = request.routeOptions.config.tags ?? {}
  if (scope === null) {
    next()
    return
  }
  const value = (request.body as Record<string, unknown> | null | undefined)?.[field]
  const tags = tagsIn(value)
  const other = tags.find((tag) => !isInScope(scope, tag))
  const namesNone = (Array.isArray(value) && value.length === 0) || (isRequired && value == null)
  if (other !== undefined) next(forbiddenMonitor(other, permissionOf(request)))
  else next(namesNone ? forbiddenWithoutMonitor(permissionOf(request)) : undefined)
}

/**
 * Checks monitors that a form names, as config.tags does for the body of a request under /api.
 * A key that is bound to monitors must name at least one of them. @throws ApiError 403
 */
export function assertMonitorsInScope(request: FastifyRequest, tags: readonly string[]): void {
  const scope = scopeOf(request)
  const other = tags.find((tag) => !isInScope(scope, tag))
  if (other !== undefined) throw forbiddenMonitor(other, permissionOf(request))
  if (scope !== null && tags.length === 0) throw forbiddenWithoutMonitor(permissionOf(request))
}

function tagsIn(value: unknown): string[] {
  const values = Array.isArray(value)
    ? value.map((item: unknown) => (item as { monitor_tag?: unknown } | null)?.monitor_tag)
    : [value]
  return values.filter((tag) => typeof tag === 'string')
}

function permissionOf({ routeOptions }: FastifyRequest): string {
  return String(routeOptions.config.permission)
}
