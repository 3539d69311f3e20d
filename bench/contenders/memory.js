/**
 * @fastify/bearer-auth and @fastify/rate-limit with keys and counters in memory: exact for one process only, and
 * without notice of a revocation by another process.
 */
import { guardInMemory, key } from './in-memory.js'
import { serveMe } from './me.js'

await serveMe(guardInMemory, key)
