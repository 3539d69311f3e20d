/** Fastify with the route only: the cost of a request without authentication. */
import { serveMe } from './me.js'

await serveMe(async () => {}, 'not checked')
