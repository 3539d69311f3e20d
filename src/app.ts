import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import auditRoutes from './api/audit.ts'
import docsRoutes from './api/docs.ts'
import healthRoutes from './api/health.ts'
import heartbeatRoutes from './api/heartbeats.ts'
import incidentCommentRoutes from './api/incident-comments.ts'
import incidentRoutes from './api/incidents.ts'
import keyUsageRoutes from './api/key-usage.ts'
import keyRoutes from './api/keys.ts'
import maintenanceRoutes from './api/maintenances.ts'
import meRoutes from './api/me.ts'
import monitorDataRoutes from './api/monitor-data.ts'
import monitorRoutes from './api/monitors.ts'
import statusRoutes from './api/status.ts'
import type { Config } from './config.ts'
import type { Database } from './database/open.ts'
import addressCounters from './http/address-counters.ts'
import authFailures from './http/auth-failures.ts'
import auth from './http/auth.ts'
import { requireAddress, toTrustProxy } from './http/client-address.ts'
import concurrency from './http/concurrency.ts'
import { toRequestId } from './http/correlation.ts'
import credentials from './http/credentials.ts'
import database from './http/database.ts'
import draining from './http/draining.ts'
import {
  createRejectionLog,
  sendClientError,
  sendConnectError,
  sendFrameworkError,
  unparsedPath,
} from './http/early-errors.ts'
import errorHandler, { bodyLimitBytes } from './http/error-handler.ts'
import etags from './http/etags.ts'
import keyUsage from './http/key-usage.ts'
import { heartbeatPrefix } from './http/heartbeat-url.ts'
import idempotency from './http/idempotency.ts'
import notFound, { routerOptions } from './http/not-found.ts'
import openapi from './http/openapi.ts'
import permissionGuard from './http/permission-guard.ts'
import publicOutput from './http/public-output.ts'
import rateLimit from './http/rate-limit.ts'
import requestLog from './http/request-log.ts'
import responseBursts from './http/response-bursts.ts'
import { toPath } from './http/request-target.ts'
import sharedReads from './http/shared-reads.ts'
import type { Tracing } from './http/tracing.ts'
import traffic from './http/traffic.ts'
import unsent, { idleTimeoutMs } from './http/unsent.ts'
import validation from './http/validation.ts'
import kener from './kener/index.ts'
import manage, { sendErrorPage, toErrorPage } from './manage/index.ts'
import { createHeartbeatQuotas, type HeartbeatQuotas } from './monitors/heartbeats.ts'
import publicRoutes from './public/index.ts'
import statuspageRoutes from './public/statuspage/routes.ts'
import { createReportWriter, type ReportWriter } from './reports/writer.ts'

declare module 'fastify' {
  interface FastifyInstance {
    config: Config
    writeReports: ReportWriter
    consumeHeartbeat: HeartbeatQuotas
  }
}

type Parts = Pick<Database, 'db' | 'batchDb' | 'listDb' | 'admissionDb' | 'maxLockWaitMs' | 'connections'> & {
  config: Config
  logger?: FastifyBaseLogger
  tracing?: Tracing | null
  /** True after a signal to shut down. */
  isDraining?: () => boolean
}

/** Paths of the panel, whose errors are pages. */
const isPanel = /^\/manage([/?]|$)/

/** Builds the service. Plugins are registered in the order in which they handle a request. */
export function buildApp({
  config,
  db,
  batchDb,
  listDb,
  admissionDb,
  maxLockWaitMs,
  connections,
  logger,
  tracing = null,
  isDraining = () => false,
}: Parts): FastifyInstance {
  const logRejection = createRejectionLog(() => app.log)
  const app = Fastify({
    ...(logger && { loggerInstance: logger }),
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: toRequestId,
    ...(tracing && { childLoggerFactory: tracing.childLoggerFactory }),
    rewriteUrl: toPath,
    trustProxy: toTrustProxy(config.trustProxy),
    routerOptions,
    bodyLimit: bodyLimitBytes,
    requestTimeout: 30_000,
    connectionTimeout: idleTimeoutMs,
    // Longer than a proxy's own timeout (Caddy: 2 min), so that a proxy never sends a request on a connection that just
    // closed.
    keepAliveTimeout: 130_000,
    http: {
      // Shorter than requestTimeout, because Node swaps the two otherwise. Checked more often than by default.
      headersTimeout: 15_000,
      connectionsCheckingInterval: 2_000,
      // Joins duplicate headers, so that two Authorization headers are rejected: a proxy may have checked the second
      // one.
      joinDuplicateHeaders: true,
      // Checked in validation.ts, because Node's own 400 has no body and no X-Request-Id.
      requireHostHeader: false,
    },
    // Completes requests that arrive before the listener is closed.
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => {
      const send = isPanel.test(request.url) ? sendErrorPage : undefined
      void sendFrameworkError(app, error, request, reply, send)
    },
    clientErrorHandler: (error, socket) => {
      const toPage = isPanel.test(unparsedPath(error)) ? toErrorPage : undefined
      sendClientError(error, socket, logRejection, toPage)
    },
  })

  // By default Node drops the headers beyond the 2,000th one: a second Authorization, or the X-Forwarded-For that a proxy
  // appends. The limit of 16 KiB remains.
  app.server.maxHeadersCount = 0
  app.server.on('connection', requireAddress)
  // RFC 9110, section 10.1.1: a server may ignore an expectation that it does not support.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  app.server.on('connect', (_request, socket) => {
    sendConnectError(socket, logRejection)
  })
  app.decorate('config', config)
  app.register(database, { db, listDb, admissionDb, maxLockWaitMs })
  app.decorate('writeReports', createReportWriter({ db, batchDb, maxLockWaitMs }))
  app.decorate('consumeHeartbeat', createHeartbeatQuotas(batchDb, maxLockWaitMs))
  app.register(traffic)
  app.register(responseBursts)
  app.register(requestLog, { tracing })
  if (config.metricsPort !== undefined) {
    // Loaded only if it is used: it is a large library, and counts each request.
    app.register(import('./http/metrics.ts'), { host: config.host, port: config.metricsPort, connections })
  }
  app.register(draining, { isDraining })
  app.register(unsent)
  app.register(errorHandler)
  app.register(openapi)
  app.register(validation)
  app.register(notFound)
  app.register(addressCounters)
  app.register(authFailures)
  app.register(credentials)
  app.register(auth)
  app.register(keyUsage)
  app.register(rateLimit)
  app.register(permissionGuard)
  app.register(concurrency)
  app.register(idempotency)
  app.register(etags)
  app.register(sharedReads)
  app.register(publicOutput)

  app.register(healthRoutes, { isDraining })
  app.register(docsRoutes)
  app.register(api, { prefix: '/api' })
  app.register(heartbeatRoutes, { prefix: heartbeatPrefix })
  app.register(manage, { prefix: '/manage' })
  if (config.publicPage) app.register(publicRoutes)
  return app
}

async function api(app: FastifyInstance) {
  app.addHook('onRequest', app.authenticate)
  app.addHook('onRequest', app.limitRate)
  app.addHook('onRequest', app.checkPermission)
  app.addHook('onRequest', app.rejectUnknownRoute)
  app.addHook('onRequest', app.rejectInFlight)
  app.addHook('onRequest', app.limitConcurrency)
  app.addHook('onSend', app.countKeyUsage)
  app.addHook('onResponse', app.countTraffic)
  app.setNotFoundHandler(app.handleNotFound)

  app.register(meRoutes, { prefix: '/me' })
  app.register(keyRoutes, { prefix: '/keys' })
  app.register(keyUsageRoutes, { prefix: '/keys' })
  app.register(monitorRoutes, { prefix: '/monitors' })
  app.register(monitorDataRoutes, { prefix: '/monitors' })
  app.register(incidentRoutes, { prefix: '/incidents' })
  app.register(incidentCommentRoutes, { prefix: '/incidents' })
  app.register(maintenanceRoutes, { prefix: '/maintenances' })
  app.register(auditRoutes, { prefix: '/audit' })
  app.register(statusRoutes, { prefix: '/status' })
  app.register(statuspageRoutes, { prefix: '/v2' })
  app.register(kener, { prefix: '/v4' })
}
