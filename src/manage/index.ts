import { join } from 'node:path'
import cookie from '@fastify/cookie'
import csrfProtection from '@fastify/csrf-protection'
import formbody from '@fastify/formbody'
import staticFiles from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { formRequired } from '../errors.ts'
import { securePages } from '../http/page-security.ts'
import accountRoutes from './account.tsx'
import auditRoutes from './audit.tsx'
import apiKeyRoutes from './api-keys/routes.ts'
import incidentRoutes from './incidents/routes.ts'
import logInRoutes from './log-in.tsx'
import maintenanceRoutes from './maintenances/routes.ts'
import monitorRoutes from './monitors/routes.ts'
import { addedFieldsBytes, checkForm, isDestructive, showOrConfirm } from './entered-forms.tsx'
import overviewRoutes from './overview.tsx'
import { sendErrorPage, toErrorPage } from './error-page.tsx'
import session from './session.ts'

export { sendErrorPage, toErrorPage }

/** Longest body of a form whose route declares no other limit. */
const formLimitBytes = 16_384

/**
 * Admin panel: server-rendered pages, which work without JavaScript. It authenticates by a session cookie and accepts a
 * key only in its log-in form; /api accepts keys and no cookies. Both call the same domain functions.
 */
export default async function manage(app: FastifyInstance) {
  app.addHook('onRoute', (route) => {
    route.schema = { ...route.schema, hide: true }
  })
  securePages(app)
  await app.register(staticFiles, {
    root: join(import.meta.dirname, '../manage/assets'),
    prefix: '/assets/',
    index: false,
    // Registers a route per file, so that an unknown path reaches the not-found handler of the pages.
    wildcard: false,
    decorateReply: false,
    // Revalidated with each page, so that a new release never uses an old stylesheet.
    cacheControl: false,
    setHeaders: (reply) => {
      reply.setHeader('cache-control', 'no-cache')
    },
  })
  await app.register(pages)
}

async function pages(app: FastifyInstance) {
  app.setErrorHandler(sendErrorPage)
  app.addHook('onSend', (_request, reply, _payload, next) => {
    reply.header('cache-control', 'no-store')
    next()
  })
  app.addHook('onRoute', (route) => {
    route.bodyLimit ??= formLimitBytes
  })
  app.removeAllContentTypeParsers()
  await app.register(formbody)
  app.addContentTypeParser('*', (_request, _payload, done) => {
    done(formRequired())
  })
  await app.register(cookie)
  app.decorateRequest('isShownAgain', false)
  await app.register(session)
  await app.register(csrfProtection, {
    // Selects the mode that keeps the secret in request.session, which ./session.ts sets.
    sessionPlugin: '@fastify/session',
    sessionKey: 'csrfSecret',
    getToken: ({ body }) => (body as { _csrf?: string } | undefined)?._csrf,
    logLevel: 'debug',
  })
  // Here, so that no route can omit the check.
  app.addHook('preValidation', checkForm)
  app.setNotFoundHandler(async (request, reply) => {
    await app.requireSession.call(app, request, reply)
    return reply.sent ? reply : app.handleNotFound(request)
  })

  app.register(logInRoutes)
  app.register(authenticatedPages)
}

/**
 * A page requires the permission admin, unless its route declares another one. A route that deletes, revokes or rotates
 * without `config.recentLogIn` is a boot error.
 */
async function authenticatedPages(app: FastifyInstance) {
  app.addHook('onRoute', (route) => {
    route.config = { permission: 'admin', ...route.config }
    if (route.method !== 'POST') return
    if (isDestructive(route.url) && route.config.recentLogIn === undefined)
      throw new Error(`${route.url} declares no config.recentLogIn`)
    route.bodyLimit = (route.bodyLimit ?? formLimitBytes) + addedFieldsBytes
    route.preHandler = [...[route.preHandler ?? []].flat(), showOrConfirm]
  })
  app.addHook('onRequest', app.requireSession)
  app.addHook('onRequest', (request, reply) => app.authorize(request, reply))
  app.addHook('onSend', app.countKeyUsage)
  app.register(overviewRoutes)
  app.register(accountRoutes, { prefix: '/account' })
  app.register(monitorRoutes, { prefix: '/monitors' })
  app.register(incidentRoutes, { prefix: '/incidents' })
  app.register(maintenanceRoutes, { prefix: '/maintenances' })
  app.register(auditRoutes, { prefix: '/audit' })
  app.register(apiKeyRoutes, { prefix: '/settings' })
}
