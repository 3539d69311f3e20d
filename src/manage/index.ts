import { join } from 'node:path'
import cookie from '@fastify/cookie'
import csrfProtection from '@fastify/csrf-protection'
import formbody from '@fastify/formbody'
import helmet from '@fastify/helmet'
import staticFiles from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { formRequired } from '../errors.ts'
import apiKeyRoutes from './api-keys.tsx'
import logInRoutes from './log-in.tsx'
import overviewRoutes from './overview.tsx'
import { sendErrorPage } from './page.tsx'
import session from './session.ts'

/** All that a page needs comes from here, and none of it stands in the page itself. */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'"],
    formAction: ["'self'"],
    baseUri: ["'none'"],
    frameAncestors: ["'none'"],
  },
}

/**
 * The admin panel: pages for people, which work without JavaScript. It goes by a cookie and takes a key at the log-in
 * alone; /api goes by keys and looks at no cookie. Below both are the same repositories.
 */
export default async function manage(app: FastifyInstance) {
  app.addHook('onRoute', (route) => {
    route.schema = { ...route.schema, hide: true }
  })
  await app.register(helmet, {
    contentSecurityPolicy,
    // The proxy that ends TLS knows whether the whole host is to be held to it.
    hsts: false,
    frameguard: { action: 'deny' },
    referrerPolicy: { policy: 'same-origin' },
  })
  await app.register(staticFiles, {
    root: join(import.meta.dirname, 'assets'),
    prefix: '/assets/',
    index: false,
    // A route for each file: what is not there meets the pages' own handler.
    wildcard: false,
    decorateReply: false,
    // Asked for with each page, and answered with 304: a new release never meets an old stylesheet.
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
  app.removeAllContentTypeParsers()
  await app.register(formbody, { bodyLimit: 16_384 })
  app.addContentTypeParser('*', (_request, _payload, done) => {
    done(formRequired())
  })
  await app.register(cookie)
  await app.register(session)
  await app.register(csrfProtection, {
    // The name of a mode: the secret is taken from request.session, which is ours.
    sessionPlugin: '@fastify/session',
    sessionKey: 'csrfSecret',
    getToken: ({ body }) => (body as { _csrf?: string } | undefined)?._csrf,
    logLevel: 'debug',
  })
  // No form is taken without its token; a route need not remember to ask.
  app.addHook('preValidation', (request, reply, next) => {
    if (request.method === 'GET' || request.method === 'HEAD' || request.is404) next()
    else app.csrfProtection(request, reply, next)
  })
  app.setNotFoundHandler(async (request, reply) => {
    await app.requireSession.call(app, request, reply)
    return reply.sent ? reply : app.handleNotFound(request)
  })

  app.register(logInRoutes)
  app.register(authenticatedPages)
}

async function authenticatedPages(app: FastifyInstance) {
  app.addHook('onRequest', app.requireSession)
  app.register(overviewRoutes)
  app.register(apiKeyRoutes, { prefix: '/settings' })
}
