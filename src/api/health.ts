import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { batch } from '../database/batch.ts'
import { isMigrated } from '../database/migrate.ts'
import { serviceUnavailable } from '../errors.ts'
import { Envelope } from '../wire/envelope.ts'

const schema = { response: { 200: Envelope(Type.Object({ status: Type.Literal('ok') })) } }
const ok = { success: true as const, data: { status: 'ok' as const } }

/** For those who watch over the process: never limited, and cheap however often they ask. */
const routes: FastifyPluginAsyncTypebox<{ isDraining: () => boolean }> = async (app, { isDraining }) => {
  const checkDatabase = batch(async (items: null[]) => {
    const migrated = await isMigrated(app.db)
    return items.map(() => migrated)
  })

  app.get('/healthz', { schema }, function readHealth() {
    return ok
  })

  app.get('/readyz', { schema }, async function readReadiness() {
    if (isDraining()) throw serviceUnavailable('This process is about to end')
    const migrated = await checkDatabase(null).catch((error: unknown) => {
      throw serviceUnavailable('The database does not answer', error)
    })
    if (!migrated) throw serviceUnavailable('The database is not migrated')
    return ok
  })
}

export default routes
