/** Fastify with the route alone: what a request costs before anybody asks who sends it. */
import { serveMe } from './me.js'

await serveMe(async () => {}, 'none is asked for')
