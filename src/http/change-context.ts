import type { FastifyRequest } from 'fastify'
import { auditedTransaction, type Change, type ChangeContext } from '../audit/transaction.ts'
import type { KeyContext } from '../keys/lifecycle.ts'
import { isUnderApi } from '../permissions.ts'
import { type Principal, requirePrincipal } from './auth.ts'
import { clientAddress } from './client-address.ts'

/** Returns the context of a change by a key, by default the calling key. */
export function toChangeContext(
  request: Caller,
  { id, name }: Pick<Principal, 'id' | 'name'> = requirePrincipal(request),
): ChangeContext {
  const { server, firstRequest, id: request_id } = request
  return {
    db: firstRequest?.db ?? server.db,
    actor: {
      key: { id, name },
      via: isUnderApi(request.url) ? 'api' : 'panel',
      address: clientAddress(request),
      request_id,
    },
    auditRetentionDays: server.config.auditRetentionDays,
  }
}

/** Runs a change by the calling key in a transaction, with its audit events. */
export function change<Result>(request: Caller, work: (change: Change) => Promise<Result>): Promise<Result> {
  return auditedTransaction(toChangeContext(request), work)
}

/** Returns the context of a change to keys by the calling key. Log lines name the key and the client's address. */
export function toKeyContext(request: Caller): KeyContext {
  const { server, log } = request
  const context = toChangeContext(request)
  const caller = requirePrincipal(request)
  return {
    ...context,
    secrets: server.secrets,
    log: log.child({ keyId: caller.id, address: context.actor.address }),
    caller,
    lifetimeMaxDays: server.config.keyLifetimeMaxDays,
  }
}

type Caller = Pick<
  FastifyRequest,
  'server' | 'log' | 'principal' | 'ips' | 'socket' | 'id' | 'url' | 'firstRequest'
>
