/** One SELECT of the key and one upsert by rate-limiter-flexible per request, on the same PostgreSQL. */
import { createHash, randomBytes } from 'node:crypto'
import pg from 'pg'
import { RateLimiterPostgres } from 'rate-limiter-flexible'
import { me, sendUnauthorized, serveMe } from './me.js'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 })
const key = randomBytes(32).toString('hex')
const digest = (text) => createHash('sha256').update(text).digest('base64')

await pool.query(
  'create table keys (digest text primary key, id text not null, permissions text[], revoked_at timestamptz)',
)
await pool.query('insert into keys values ($1, $2, $3)', [digest(key), me.data.id, me.data.permissions])
const limiter = await new Promise((resolve, reject) => {
  const made = new RateLimiterPostgres({ storeClient: pool, points: 1_000_000_000, duration: 60 }, (error) =>
    error ? reject(error) : resolve(made),
  )
})

await serveMe(async (app) => {
  app.addHook('onRequest', async (request, reply) => {
    const { rows } = await pool.query({
      name: 'find_key',
      text: 'select id, permissions from keys where digest = $1 and revoked_at is null',
      values: [digest(request.headers.authorization?.slice('Bearer '.length) ?? '')],
    })
    if (rows.length === 0) return sendUnauthorized(reply)
    const { remainingPoints } = await limiter.consume(rows[0].id)
    reply.header('x-ratelimit-remaining', remainingPoints)
  })
}, key)
