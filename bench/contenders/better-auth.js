/** The API-key plugin of better-auth with its own rate limiter, on the same PostgreSQL. */
import { apiKey } from '@better-auth/api-key'
import { betterAuth } from 'better-auth'
import { getMigrations } from 'better-auth/db/migration'
import pg from 'pg'
import { sendUnauthorized, serveMe } from './me.js'

const options = {
  database: new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 }),
  baseURL: 'http://127.0.0.1',
  secret: 'nothing is signed with this in a benchmark',
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  logger: { disabled: true },
  plugins: [apiKey({ rateLimit: { enabled: true, timeWindow: 60_000, maxRequests: 1_000_000_000 } })],
}
const { runMigrations } = await getMigrations(options)
await runMigrations()
const auth = betterAuth(options)
const { user } = await auth.api.signUpEmail({
  body: { name: 'bench', email: 'bench@example.org', password: 'as long as it takes' },
})
const { key } = await auth.api.createApiKey({ body: { name: 'bench', userId: user.id } })

await serveMe(async (app) => {
  app.addHook('onRequest', async (request, reply) => {
    const { valid } = await auth.api.verifyApiKey({
      body: { key: request.headers.authorization?.slice('Bearer '.length) ?? '' },
    })
    if (!valid) return sendUnauthorized(reply)
  })
}, key)
