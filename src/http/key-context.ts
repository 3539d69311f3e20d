import type { FastifyRequest } from 'fastify'
import type { KeyContext } from '../keys/lifecycle.ts'

/** Returns the context of a change to keys. Its log lines name the calling key and the client's address. */
export function toKeyContext({ server, log, principal, ip }: Caller): KeyContext {
  return {
    db: server.db,
    secrets: server.secrets,
    log: log.child({ keyId: principal?.id, address: ip }),
  }
}

type Caller = Pick<FastifyRequest, 'server' | 'log' | 'principal' | 'ip'>
