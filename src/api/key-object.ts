import type { FastifyReply } from 'fastify'
import type { Static } from 'typebox'
import type { IssuedKey } from '../keys/lifecycle.ts'
import type { ApiKey } from '../keys/repository.ts'
import type { RotateKey } from '../wire/keys.ts'
import { formatTime, formatTimeOrNull, parseOptionalTime } from '../wire/time.ts'

export function serializeKey(key: ApiKey) {
  return {
    id: key.id,
    name: key.name,
    description: key.description,
    permissions: key.permissions,
    status: key.status,
    rate_limit: key.rate_limit,
    monitors: key.monitors,
    allowed_ips: key.allowed_ips,
    expires_at: formatTimeOrNull(key.expires_at),
    created_at: formatTime(key.created_at),
    created_by:
      key.created_by === null ? null : { key_id: key.created_by, key_name: key.created_by_name ?? '' },
    last_used_at: formatTimeOrNull(key.last_used_at),
    last_used_address: key.last_used_address,
    revoked_at: formatTimeOrNull(key.revoked_at),
    rotated_from: key.rotated_from,
    rotated_to: key.rotated_to,
  }
}

/** Sends a new key with its token, which no cache may store. */
export function sendNewKey(reply: FastifyReply, { key, token }: IssuedKey) {
  return reply
    .code(201)
    .header('cache-control', 'no-store')
    .send({ success: true, data: { ...serializeKey(key), key: token } })
}

export function toRotation(body: Static<typeof RotateKey>) {
  return { overlapSeconds: body.overlap_seconds, expiresAt: parseOptionalTime(body.expires_at) }
}
