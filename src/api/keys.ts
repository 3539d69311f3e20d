import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { revokedKeyConflict } from '../errors.ts'
import { toKeyContext } from '../http/change-context.ts'
import { preconditionOf } from '../http/etags.ts'
import * as lifecycle from '../keys/lifecycle.ts'
import { listKeys } from '../keys/repository.ts'
import { Conflict, describe, Envelope, Page } from '../wire/envelope.ts'
import { CreateKey, KeyParams, RotateKey, serializeKey } from '../wire/keys.ts'
import { paginate, parseCursor } from '../wire/pagination.ts'
import { parseOptionalTime } from '../wire/time.ts'
import { sendNewKey, toRotation } from './key-object.ts'
import { Key, ListKeys, NewKey, RevokeKey, RotationConflict, UpdateKey } from './schemas/keys.ts'

const config = { permission: 'admin' } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/',
    {
      config: { ...config, hasEtag: true },
      schema: {
        operationId: 'createKey',
        summary: 'Create a key',
        body: CreateKey,
        response: { 201: describe(Envelope(NewKey), 'The new key, with the key itself') },
      },
    },
    async (request, reply) => {
      const attributes = { ...request.body, expires_at: toExpiry(request.body.expires_at) }
      return sendNewKey(reply, await lifecycle.createKey(toKeyContext(request), attributes))
    },
  )

  app.get(
    '/',
    {
      config,
      schema: {
        operationId: 'listKeys',
        summary: 'List keys, newest first',
        querystring: ListKeys,
        response: { 200: describe(Page(Key), 'A page of keys') },
      },
    },
    async ({ query: { status, q, expires_before, unused_since, cursor, limit } }) => {
      const rows = await listKeys(app.db, {
        status,
        text: q,
        expires_before: parseOptionalTime(expires_before),
        unused_since: parseOptionalTime(unused_since),
        cursor: cursor === undefined ? undefined : parseCursor(cursor, 'keys', /^\d{1,18}$/),
        limit: limit + 1,
      })
      const { data, pagination } = paginate(rows, limit, 'keys', ({ seq }) => seq)
      return { success: true as const, data: data.map(serializeKey), pagination }
    },
  )

  app.get(
    '/:id',
    {
      config: { ...config, hasEtag: true },
      schema: {
        operationId: 'readKey',
        summary: 'Get a key',
        params: KeyParams,
        response: { 200: describe(Envelope(Key), 'The key') },
      },
    },
    async ({ params }, reply) => {
      const key = await lifecycle.getKey(app.db, params.id)
      reply.version = key.version
      return { success: true as const, data: serializeKey(key) }
    },
  )

  app.patch(
    '/:id',
    {
      config: { ...config, hasEtag: true },
      schema: {
        operationId: 'updateKey',
        summary: 'Update a key',
        params: KeyParams,
        body: UpdateKey,
        response: {
          200: describe(Envelope(Key), 'The updated key'),
          409: Conflict('the key is revoked', revokedKeyConflict()),
        },
      },
    },
    async (request, reply) => {
      const { params, body } = request
      const { expires_at, ...rest } = body
      const changes = { ...rest, ...(expires_at !== undefined && { expires_at: toExpiry(expires_at) }) }
      const key = await lifecycle.updateKey(
        toKeyContext(request),
        params.id,
        changes,
        preconditionOf(request),
      )
      reply.version = key.version
      return { success: true as const, data: serializeKey(key) }
    },
  )

  app.post(
    '/:id/revoke',
    {
      config: { ...config, hasEtag: true },
      schema: {
        operationId: 'revokeKey',
        summary: 'Revoke a key',
        params: KeyParams,
        body: RevokeKey,
        response: { 200: describe(Envelope(Key), 'The revoked key') },
      },
    },
    async (request, reply) => {
      const key = await lifecycle.revokeKey(toKeyContext(request), request.params.id)
      reply.version = key.version
      return { success: true as const, data: serializeKey(key) }
    },
  )

  app.post(
    '/:id/rotate',
    {
      config: { ...config, hasEtag: true },
      schema: {
        operationId: 'rotateKey',
        summary: 'Rotate a key',
        params: KeyParams,
        body: RotateKey,
        response: {
          201: describe(Envelope(NewKey), 'The successor, with the key itself'),
          409: RotationConflict,
        },
      },
    },
    async (request, reply) => {
      const { params, body } = request
      return sendNewKey(reply, await lifecycle.rotateKey(toKeyContext(request), params.id, toRotation(body)))
    },
  )
}

export default routes

function toExpiry(text: string | null | undefined): Date | null {
  return parseOptionalTime(text ?? undefined) ?? null
}
