import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { requirePrincipal } from '../http/auth.ts'
import { describe, Envelope } from '../wire/envelope.ts'
import { formatTime, formatTimeOrNull } from '../wire/time.ts'
import { Me } from './schemas/keys.ts'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: { permission: 'any-key' },
      schema: {
        operationId: 'identifyKey',
        summary: 'Get the calling key',
        response: { 200: describe(Envelope(Me), 'The calling key') },
      },
    },
    (request) => {
      const key = requirePrincipal(request)
      return {
        success: true as const,
        data: {
          key_name: key.name,
          permissions: key.permissions,
          created_at: formatTime(key.created_at),
          id: key.id,
          expires_at: formatTimeOrNull(key.expires_at),
          rate_limit: key.rate_limit,
        },
      }
    },
  )
}

export default routes
