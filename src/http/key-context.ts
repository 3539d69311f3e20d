import type { FastifyRequest } from 'fastify'
import type { KeyContext } from '../keys/lifecycle.ts'
import { requirePrincipal } from './auth.ts'
import { clientAddress } from './client-address.ts'

/** Returns the context of a change to keys by the calling key. Log lines name the key and the client's address. */
export function toKeyContext(request: Caller): KeyContext {
  const { server, log } = request
  const caller = requirePrincipal(request)
  return {
    db: server.db,
    secrets: server.secrets,
    log: log.child({ keyId: caller.id, address: clientAddress(request) }),
    caller,
    lifetimeMaxDays: server.config.keyLifetimeMaxDays,
  }
}

type Caller = Pick<FastifyRequest, 'server' | 'log' | 'principal' | 'ips' | 'socket'>
