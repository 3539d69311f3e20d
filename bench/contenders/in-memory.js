import { createHash, randomBytes } from 'node:crypto'
import bearerAuth from '@fastify/bearer-auth'
import rateLimit from '@fastify/rate-limit'
import { me } from './me.js'

export const key = randomBytes(32).toString('hex')
export const maxPerMinute = 1_000_000_000

const digest = (text) => createHash('sha256').update(text).digest('base64')
const keys = new Map([[digest(key), me.data]])

/** Checks keys and counts requests in memory. */
export async function guardInMemory(app) {
  app.decorateRequest('principal', null)
  await app.register(bearerAuth, {
    keys: [],
    auth: (text, request) => {
      request.principal = keys.get(digest(text)) ?? null
      return request.principal !== null
    },
  })
  await app.register(rateLimit, {
    max: maxPerMinute,
    timeWindow: 60_000,
    keyGenerator: (request) => request.principal.id,
  })
}
