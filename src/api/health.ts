import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { batch } from '../database/batch.ts'
import { assertWritable, isMigrated } from '../database/migrate.ts'
import { databaseNotMigrated, databaseUnavailable, shuttingDown } from '../errors.ts'
import { Envelope } from '../wire/envelope.ts'

const schema = {
  response: {
    200: Envelope(
      Type.Object({
        status: Type.Literal('ok', { description: 'Always ok: errors have another status code' }),
      }),
    ),
  },
}
const ok = { success: true as const, data: { status: 'ok' as const } }

/** Probes for orchestrators and load balancers. They have no rate limit; concurrent readiness checks share a query. */
const routes: FastifyPluginAsyncTypebox<{ isDraining: () => boolean }> = async (app, { isDraining }) => {
  const checkDatabase = batch(async (items: null[]) => {
    const migrated = await isMigrated(app.admissionDb)
    if (migrated) await assertWritable(app.admissionDb)
    return items.map(() => migrated)
  })

  app.get('/healthz', { schema: { ...schema, operationId: 'readHealth', summary: 'Read health' } }, () => ok)

  app.get(
    '/readyz',
    { schema: { ...schema, operationId: 'readReadiness', summary: 'Read readiness' } },
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
