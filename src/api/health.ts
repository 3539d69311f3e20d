import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { batch } from '../database/batch.ts'
import { retryWhileLocked } from '../database/locks.ts'
import { assertWritable, isMigrated } from '../database/migrate.ts'
import { databaseNotMigrated, databaseUnavailable, shuttingDown } from '../errors.ts'
import { describe, Envelope } from '../wire/envelope.ts'

const Health = Envelope(
  Type.Object({
    status: Type.Literal('ok', { description: 'Always ok: an error has another status code.' }),
  }),
)
const ok = { success: true as const, data: { status: 'ok' as const } }

/** Probes for orchestrators and load balancers. They have no rate limit; concurrent readiness checks share a query. */
const routes: FastifyPluginAsyncTypebox<{ isDraining: () => boolean }> = async (app, { isDraining }) => {
  const checkDatabase = batch(async (items: null[]) => {
    const migrated = await retryWhileLocked(isReady, app.maxLockWaitMs)
    return items.map(() => migrated)
  })

  async function isReady(): Promise<boolean> {
    const migrated = await isMigrated(app.admissionDb)
    if (migrated) await assertWritable(app.admissionDb)
    return migrated
  }

  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'readHealth',
        summary: 'Check that the process responds',
        response: { 200: describe(Health, 'The process responds') },
      },
    },
    () => ok,
  )

  app.get(
    '/readyz',
    {
      schema: {
        operationId: 'readReadiness',
        summary: 'Check that the service can handle requests',
        response: { 200: describe(Health, 'The database is reachable and migrated') },
      },
    },
    async () => {
      if (isDraining()) throw shuttingDown()
      const migrated = await checkDatabase(null).catch((error: unknown) => {
        throw databaseUnavailable(error)
      })
      if (!migrated) throw databaseNotMigrated()
      return ok
    },
  )
}

export default routes
