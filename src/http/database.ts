import fp from 'fastify-plugin'
import type { Database } from '../database/open.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Database['db']
    listDb: Database['listDb']
    admissionDb: Database['admissionDb']
    maxLockWaitMs: number
  }
}

/** Decorates the app with the databases. Does not close them, because the last requests still need them. */
export default fp<Pick<Database, 'db' | 'listDb' | 'admissionDb' | 'maxLockWaitMs'>>(
  (app, { db, listDb, admissionDb, maxLockWaitMs }, done) => {
    app.decorate('db', db)
    app.decorate('listDb', listDb)
    app.decorate('admissionDb', admissionDb)
    app.decorate('maxLockWaitMs', maxLockWaitMs)
    done()
  },
  { name: 'database' },
)
