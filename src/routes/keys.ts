import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import * as keys from '../database/keys.ts'
import { type ApiError, conflict, invalidRequest, notFound } from '../errors.ts'
import { formatKey, generateKey } from '../keys/format.ts'
import { issueKey } from '../keys/issue.ts'
import { Conflict, Page, Success } from '../schemas/envelope.ts'
import {
  CreateKey,
  Key,
  KeyParams,
  ListKeys,
  NewKey,
  RevokeKey,
  RotateKey,
  UpdateKey,
} from '../schemas/keys.ts'
import { parseCursor, toPage } from '../schemas/page.ts'
import { formatTime, formatTimeOrNull, parseTime } from '../schemas/time.ts'

const config = { permission: 'admin' } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/',
    { config, schema: { body: CreateKey, response: { 201: Success(NewKey) } } },
    async function createKey({ body, log }, reply) {
      const issued = await issueKey(app.db, app.secrets, {
        name: body.name,
        permissions: body.permissions,
        rateLimit: body.rate_limit ?? null,
        expiresAt: toTime(body.expires_at) ?? null,
      })
      if (!issued) throw expiryHasPassed()
      const { stored, text } = issued
      log.info({ event: 'key_created', subjectKeyId: stored.id }, 'key created')
      return reply.code(201).send({ success: true, data: { ...toWire(stored), key: text } })
    },
  )

  app.get(
    '/',
    { config, schema: { querystring: ListKeys, response: { 200: Page(Key) } } },
    async function listKeys({ query: { status, limit, cursor } }) {
      const rows = await keys.listKeys(app.db, {
        ...(status && { status }),
        ...(cursor !== undefined && { beforeSeq: parseCursor(cursor, /^\d{1,18}$/) }),
        limit: limit + 1,
      })
      const { data, pagination } = toPage(rows, limit, ({ seq }) => seq)
      return { success: true as const, data: data.map(toWire), pagination }
    },
  )

  app.get(
    '/:id',
    { config, schema: { params: KeyParams, response: { 200: Success(Key) } } },
    async function readKey({ params }) {
      const key = await keys.findKey(app.db, params.id)
      if (!key) throw noSuchKey()
      return { success: true as const, data: toWire(key) }
    },
  )

  app.patch(
    '/:id',
    {
      config,
      schema: { params: KeyParams, body: UpdateKey, response: { 200: Success(Key), 409: Conflict } },
    },
    async function updateKey({ params, body, log }) {
      const { expires_at, ...rest } = body
      const changes = { ...rest, ...(expires_at !== undefined && { expires_at: toTime(expires_at) ?? null }) }
      const key = await keys.updateKey(app.db, params.id, changes)
      if (!key) throw await whyNotActive(params.id)
      log.info({ event: 'key_changed', subjectKeyId: key.id, fields: Object.keys(body) }, 'key changed')
      return { success: true as const, data: toWire(key) }
    },
  )

  app.post(
    '/:id/revoke',
    { config, schema: { params: KeyParams, body: RevokeKey, response: { 200: Success(Key) } } },
    async function revokeKey({ params, log }) {
      const key = await keys.revokeKey(app.db, params.id)
      if (!key) throw noSuchKey()
      log.info({ event: 'key_revoked', subjectKeyId: key.id }, 'key revoked')
      return { success: true as const, data: toWire(key) }
    },
  )

  app.post(
    '/:id/rotate',
    {
      config,
      schema: { params: KeyParams, body: RotateKey, response: { 201: Success(NewKey), 409: Conflict } },
    },
    async function rotateKey({ params, body, log }, reply) {
      const secret = generateKey()
      const key = await keys.rotateKey(app.db, {
        id: params.id,
        successorId: secret.id,
        secretHash: await app.secrets.hash(secret.secret),
        overlapSeconds: body.overlap_seconds,
      })
      if (!key) throw await whyNotActive(params.id)
      log.info({ event: 'key_rotated', subjectKeyId: params.id, successorKeyId: key.id }, 'key rotated')
      return reply.code(201).send({ success: true, data: { ...toWire(key), key: formatKey(secret) } })
    },
  )

  async function whyNotActive(id: string): Promise<ApiError> {
    const key = await keys.findKey(app.db, id)
    if (!key) return noSuchKey()
    return key.status === 'revoked'
      ? conflict('The key is revoked, which is for good: create a new one')
      : conflict('The key has expired: give it a later expires_at first, or create a new one')
  }
}

export default routes

const noSuchKey = () => notFound('There is no key of this id')

const expiryHasPassed = () =>
  invalidRequest('Invalid body: /expires_at has passed', [
    { path: '/expires_at', message: 'must be in the future' },
  ])

/** The schema has checked that it is one. */
function toTime(text: string | null | undefined): Date | undefined {
  return text == null ? undefined : parseTime(text)
}

function toWire(key: keys.ApiKey) {
  return {
    id: key.id,
    name: key.name,
    permissions: key.permissions,
    status: key.status,
    rate_limit: key.rate_limit,
    expires_at: formatTimeOrNull(key.expires_at),
    created_at: formatTime(key.created_at),
    last_used_at: formatTimeOrNull(key.last_used_at),
    revoked_at: formatTimeOrNull(key.revoked_at),
    rotated_from: key.rotated_from,
  }
}
