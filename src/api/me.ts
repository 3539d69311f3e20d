import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Principal, requirePrincipal } from '../http/auth.ts'
import { toKeyContext } from '../http/change-context.ts'
import { revokeKey, rotateKey } from '../keys/lifecycle.ts'
import { describe, Envelope } from '../wire/envelope.ts'
import { RotateKey, serializeKey } from '../wire/keys.ts'
import { formatTime, formatTimeOrNull } from '../wire/time.ts'
import { compileSerializer } from '../wire/validator.ts'
import { sendNewKey, toRotation } from './key-object.ts'
import { Key, Me, NewKey, RevokeKey, RotationConflict } from './schemas/keys.ts'

const OneMe = Envelope(Me)
const stringifyMe = compileSerializer(OneMe)

const routes: FastifyPluginAsyncTypebox = async (app) => {
  /** Requests that share the statement of authentication share the principal, and so its text: docs/decisions/0009. */
  const texts = new WeakMap<Principal, string>()

  app.get(
    '/',
    {
      config: { permission: 'any-key', sharesStatements: true },
      schema: {
        operationId: 'identifyKey',
        summary: 'Get the calling key',
        response: { 200: describe(OneMe, 'The calling key') },
      },
    },
    (request, reply) => {
      const key = requirePrincipal(request)
      let text = texts.get(key)
      if (text === undefined) {
        text = stringifyMe({ success: true, data: serializeMe(key) })
        texts.set(key, text)
      }
      void reply.type('application/json; charset=utf-8').send(text as never)
    },
  )

  app.post(
    '/rotate',
    {
      config: { permission: 'any-key', hasEtag: true },
      schema: {
        operationId: 'rotateOwnKey',
        summary: 'Rotate the calling key',
        description:
          'The new key may do what the calling key may do, and expires when it would have expired, or earlier. The key that ' +
          'the calling key replaced expires now, if it is still in its overlap.',
        body: RotateKey,
        response: {
          201: describe(Envelope(NewKey), 'The successor, with the key itself'),
          409: RotationConflict,
        },
      },
    },
    async function rotateOwnKey(request, reply) {
      const { id } = requirePrincipal(request)
      return sendNewKey(reply, await rotateKey(toKeyContext(request), id, toRotation(request.body)))
    },
  )

  app.post(
    '/revoke',
    {
      config: { permission: 'any-key', hasEtag: true },
      schema: {
        operationId: 'revokeOwnKey',
        summary: 'Revoke the calling key',
        body: RevokeKey,
        response: { 200: describe(Envelope(Key), 'The revoked key') },
      },
    },
    async function revokeOwnKey(request, reply) {
      const key = await revokeKey(toKeyContext(request), requirePrincipal(request).id)
      reply.version = key.version
      return { success: true as const, data: serializeKey(key) }
    },
  )
}

export default routes

function serializeMe(key: Principal) {
  return {
    key_name: key.name,
    permissions: key.permissions,
    created_at: formatTime(key.created_at),
    id: key.id,
    description: key.description,
    monitors: key.monitors,
    allowed_ips: key.allowed_ips,
    expires_at: formatTimeOrNull(key.expires_at),
    rate_limit: key.rate_limit,
    last_used_at: formatTimeOrNull(key.last_used_at),
  }
}
