/**
 * @fastify/bearer-auth and @fastify/rate-limit with keys and counters in memory: exact for one process only, and
 * without notice of a revocation by another process.
 */
import { createHash, randomBytes } from 'node:crypto'
import bearerAuth from '@fastify/bearer-auth'
import rateLimit from '@fastify/rate-limit'
import { me, serveMe } from './me.js'

const key = randomBytes(32).toString('hex')
const digest = (text) => createHash('sha256').update(text).digest('base64')
const keys = new Map([[digest(key), me.data]])

await serveMe(async (app) => {
  app.decorateRequest('principal', null)
  await app.register(bearerAuth, {
    keys: [],
    auth: (text, request) => {
      request.principal = keys.get(digest(text)) ?? null
      return request.principal !== null
    },
  })
  await app.register(rateLimit, {
    max: 1_000_000_000,
    timeWindow: 60_000,
    keyGenerator: (request) => request.principal.id,
  })
}, key)
