import type { FastifyRequest } from 'fastify'
import type { KeyContext } from '../keys/lifecycle.ts'
import { clientAddress } from './client-address.ts'

/** Returns the context of a change to keys. Its log lines name the calling key and the client's address. */
export function toKeyContext(request: Caller): KeyContext {
  const { server, log, principal } = request
  return {
    db: server.db,
    secrets: server.secrets,
    log: log.child({ keyId: principal?.id, address: clientAddress(request) }),
  }
}

type Caller = Pick<FastifyRequest, 'server' | 'log' | 'principal' | 'ips' | 'socket'>
