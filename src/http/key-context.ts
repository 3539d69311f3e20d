import type { FastifyRequest } from 'fastify'
import type { KeyContext } from '../keys/lifecycle.ts'
import { clientAddress } from './client-address.ts'

/** Returns the context of a change to keys by the calling key. Log lines name the key and the client's address. */
export function toKeyContext(request: Caller): KeyContext {
  const { server, log, principal } = request
  return {
    db: server.db,
    secrets: server.secrets,
    log: log.child({ keyId: principal?.id, address: clientAddress(request) }),
    maxExpiry: principal?.expires_at ?? null,
  }
}

type Caller = Pick<FastifyRequest, 'server' | 'log' | 'principal' | 'ips' | 'socket'>
