import fp from 'fastify-plugin'
import type { Kysely } from 'kysely'
import type { Tables } from '../database/schema.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Kysely<Tables>
  }
}

/** Decorates the app with the database. Does not close it, because the last requests still need it. */
export default fp<{ db: Kysely<Tables> }>(
  (app, { db }, done) => {
    app.decorate('db', db)
    done()
  },
  { name: 'database' },
)
