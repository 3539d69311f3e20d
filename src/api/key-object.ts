import type { FastifyReply } from 'fastify'
import type { Static } from 'typebox'
import type { IssuedKey } from '../keys/lifecycle.ts'
import { type RotateKey, serializeNewKey } from '../wire/keys.ts'
import { parseOptionalTime } from '../wire/time.ts'

/** Sends a new key with its token, which no cache may store. */
export function sendNewKey(reply: FastifyReply, issued: IssuedKey) {
  return reply
    .code(201)
    .header('cache-control', 'no-store')
    .send({ success: true, data: serializeNewKey(issued) })
}

export function toRotation(body: Static<typeof RotateKey>) {
  return { overlapSeconds: body.overlap_seconds, expiresAt: parseOptionalTime(body.expires_at) }
}
