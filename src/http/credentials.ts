import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { batch } from '../database/batch.ts'
import { retryWhileLocked } from '../database/locks.ts'
import { invalidKey, malformedKey } from '../errors.ts'
import { findHashes, replaceHash } from '../keys/authentication.ts'
import { createSecrets, digest, needsRehash, type Secrets } from '../keys/secrets.ts'
import { parseToken, type TokenParts } from '../keys/token.ts'
import type { Verification } from './verification-queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    secrets: Secrets
    /**
     * Returns the id of the key whose secret the token contains. The key may be revoked or expired.
     * @throws ApiError 401, 429 if the request's address has too many failed authentications, 503
     */
    verifyToken: (token: string, request: FastifyRequest) => string | Promise<string>
  }
}

/**
 * Verifies tokens, cheapest check first: format and checksum, then the caches of verified and wrong secrets, then the
 * hash from PostgreSQL, then Argon2.
 */
export default fp(
  (app, _options, done) => {
    const secrets = createSecrets()
    // Most clients send the same token with every request of a connection: it is parsed and digested once.
    const verifiedKeyBySocket = new WeakMap<Socket, { token: string; id: string }>()
    const findHash = batch((ids: string[]) =>
      retryWhileLocked(() => findHashes(app.admissionDb, ids), app.maxLockWaitMs),
    )

    app.decorate('secrets', secrets)
    app.decorate('verifyToken', (token, request) => {
      const latest = verifiedKeyBySocket.get(request.socket)
      return latest?.token === token ? latest.id : verifyAnew(token, request)
    })

    async function verifyAnew(token: string, request: FastifyRequest): Promise<string> {
      const parts = parseToken(token)
      if (!parts) throw malformedKey()
      if (!secrets.isVerified(parts)) await app.limitAuthFailures(request, toVerification(parts))
      verifiedKeyBySocket.set(request.socket, { token, id: parts.id })
      return parts.id
    }
    done()

    function toVerification(parts: TokenParts): Verification {
      return {
        keyId: parts.id,
        digest: digest(parts),
        lookUp: () => findHash(parts.id),
        verify: async (hash) => {
          const isValid = await secrets.verify(parts, hash)
          if (hash === undefined) throw invalidKey('unknown', parts.id)
          if (!isValid) throw invalidKey('wrong_secret', parts.id)
          if (needsRehash(hash)) await rehash(parts, hash)
        },
      }
    }

    async function rehash(parts: TokenParts, from: string): Promise<void> {
      try {
        await replaceHash(app.db, { id: parts.id, from, to: await secrets.hash(parts.secret) })
      } catch (error) {
        app.log.warn({ err: error }, 'could not store a hash with new parameters')
      }
    }
  },
  { name: 'credentials', dependencies: ['database', 'auth-failures'] },
)
