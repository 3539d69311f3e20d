import type { FastifyReply } from 'fastify'
import type { Static } from 'typebox'
import { keyReturnedOnce } from '../errors.ts'
import type { IssuedKey } from '../keys/lifecycle.ts'
import { Envelope } from '../wire/envelope.ts'
import { formatEtag } from '../wire/etag.ts'
import { type RotateKey, serializeKey, serializeNewKey } from '../wire/keys.ts'
import { parseOptionalTime } from '../wire/time.ts'
import { compileSerializer } from '../wire/validator.ts'
import { Key } from './schemas/keys.ts'

const stringifyKey = compileSerializer(Envelope(Key))

/** Sends a new key with its token. The ETag is that of the key without its token. */
export function sendNewKey(reply: FastifyReply, issued: IssuedKey) {
  const { key } = issued
  return reply
    .code(201)
    .withSecret(keyReturnedOnce(key.id))
    .header('etag', formatEtag(key.version, stringifyKey({ success: true, data: serializeKey(key) })))
    .send({ success: true, data: serializeNewKey(issued) })
}

export function toRotation(body: Static<typeof RotateKey>) {
  return { overlapSeconds: body.overlap_seconds, expiresAt: parseOptionalTime(body.expires_at) }
}
