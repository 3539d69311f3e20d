import type { FastifyRequest, onSendHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { permissionColumns, type UsageColumn } from '../keys/usage-columns.ts'
import { createUsageCounter, type UsageCounter } from '../keys/usage-counter.ts'

const flushMs = 10_000

declare module 'fastify' {
  interface FastifyInstance {
    keyUsage: UsageCounter
    /** onSend hook, which unlike onResponse also runs if the client has disconnected. */
    countKeyUsage: onSendHookHandler
  }
}

/** Counts the requests of each key, and writes the counts every 10 s. */
export default fp(
  (app, _options, done) => {
    const usage = createUsageCounter(app.db, (error) => {
      app.log.warn({ err: error }, 'could not write the usage of keys; trying again in 10 s')
    })
    app.decorate('keyUsage', usage)
    app.decorate('countKeyUsage', (request, _reply, _payload, next) => {
      const id = request.principal?.id ?? deniedKeyId(request)
      if (id !== undefined) usage.count(id, toColumn(request))
      next()
    })
    const timer = setInterval(() => void usage.flush(), flushMs).unref()
    app.addHook('onClose', async () => {
      clearInterval(timer)
      await usage.flush()
    })
    done()
  },
  { name: 'key-usage', dependencies: ['database', 'auth'] },
)

/** Returns the id of a key that was rejected because of its `allowed_ips`, whose secret was correct. */
function deniedKeyId({ apiError }: FastifyRequest): string | undefined {
  return apiError?.status === 403 ? apiError.keyId : undefined
}

function toColumn({ apiError, routeOptions }: FastifyRequest): UsageColumn {
  if (apiError?.status === 429) return 'rate_limited'
  if (apiError?.status === 403) return 'forbidden'
  const { permission } = routeOptions.config
  // An unknown path requires no permission.
  return permission === undefined || permission === 'any-key' || permission === 'public'
    ? 'no_permission'
    : permissionColumns[permission]
}
