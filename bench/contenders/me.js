import Fastify from 'fastify'

/** The response body of every contender. */
export const me = {
  success: true,
  data: {
    key_name: 'bench',
    permissions: ['read:monitors'],
    created_at: '2026-01-01T00:00:00Z',
    id: 'bench00000000000',
    description: null,
    monitors: null,
    allowed_ips: null,
    expires_at: null,
    rate_limit: null,
    last_used_at: '2026-01-01T00:00:00Z',
  },
}

const text = { type: 'string' }
const nothing = { type: 'null' }

/** Gives every contender the serializer that kener-api has. */
const schema = {
  response: {
    200: {
      type: 'object',
      properties: {
        success: { type: 'boolean' },
        data: {
          type: 'object',
          properties: {
            key_name: text,
            permissions: { type: 'array', items: text },
            created_at: text,
            id: text,
            description: nothing,
            monitors: nothing,
            allowed_ips: nothing,
            expires_at: nothing,
            rate_limit: nothing,
            last_used_at: text,
          },
        },
      },
    },
  },
}

/**
 * Serves GET /api/me behind the hooks that `guard` registers, and sends origin and key to the parent process.
 * @param options of Fastify
 */
export async function serveMe(guard, key, options = {}) {
  const app = Fastify(options)
  await guard(app)
  app.get('/api/me', { schema }, async () => me)
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.send({ origin: app.listeningOrigin, key })
  process.once('disconnect', () => process.exit(0))
}

export function sendUnauthorized(reply) {
  return reply.code(401).send({ success: false, error: { code: 'UNAUTHORIZED', message: 'Invalid API key' } })
}
