import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { shareConnections } from '../database/open.ts'
import { isDisconnected } from '../database/failures.ts'
import { requestAborted, tooManyInFlight } from '../errors.ts'
import { requirePrincipal } from './auth.ts'
import { isAborted } from './request-log.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True for requests that take no connection of their own, because they share statements with concurrent ones. */
    sharesStatements?: boolean | ((request: FastifyRequest) => boolean)
  }
  interface FastifyRequest {
    /** Ends the request's share of its key's limit. Null if it has none. */
    endTurn: EndTurn | null
  }
  interface FastifyInstance {
    /** onRequest hook, after checkPermission. @throws ApiError 503 */
    limitConcurrency: onRequestHookHandler
    /**
     * Takes a turn of the request's key, for a part of the request.
     * @param limits by default those of limitConcurrency
     */
    takeTurn: (
      request: FastifyRequest,
      reply: FastifyReply,
      turn: Pick<Turn, 'start' | 'reject'>,
      limits?: Limits,
    ) => void
  }
}

/** By default 1,000 requests of a key wait, each for at most 10 s. */
const defaultWaiting = { maxWaiting: 1_000, maxWaitMs: 10_000 }

/**
 * Limits the requests of a key that are in flight, so that no key uses all connections to the database. Further ones
 * wait in memory, in order, before their bodies are read.
 */
export default fp(
  (app, _options, done) => {
    const { databaseUrl, databasePoolMax } = app.config
    const connections = databaseUrl === undefined ? 1 : shareConnections(databasePoolMax).main
    const requestLimits = createLimits(Math.ceil(connections / 2))

    app.decorateRequest('endTurn', null)
    app.decorate('limitConcurrency', (request, reply, next) => {
      const { sharesStatements = false } = request.routeOptions.config
      const isShared = typeof sharesStatements === 'function' ? sharesStatements(request) : sharesStatements
      if (!request.principal || isShared) {
        next()
        return
      }
      app.takeTurn(request, reply, {
        start: (endTurn) => {
          request.endTurn = endTurn
          next()
        },
        reject: next,
      })
    })
    app.decorate('takeTurn', (request, reply, turn, limits = requestLimits) => {
      limits.acquire(requirePrincipal(request).id, { ...turn, isGone: () => isAborted(request, reply) })
    })
    app.addHook('onSend', (request, reply, payload, next) => {
      if (request.endTurn) endTurnAfter(request, reply, payload)
      next()
    })
    done()
  },
  { name: 'concurrency', dependencies: ['auth', 'request-log'] },
)

/** A stream may read from the database until it ends. */
function endTurnAfter(request: FastifyRequest, reply: FastifyReply, payload: unknown): void {
  const end = () => {
    request.endTurn?.(request.apiError?.cause)
    request.endTurn = null
  }
  if (payload instanceof Readable && !payload.destroyed) payload.once('close', end)
  else end()
}

type EndTurn = (error?: unknown) => void

type Turn = {
  start: (end: EndTurn) => void
  reject: (error: Error) => void
  /** True if the client has disconnected. */
  isGone: () => boolean
}

type WaitingTurn = Turn & { timer: NodeJS.Timeout }

type KeyTurns = { active: number; waiting: WaitingTurn[] }

export type Limits = ReturnType<typeof createLimits>

/** @param maxActive turns of a key at the same time */
export function createLimits(maxActive: number, { maxWaiting, maxWaitMs } = defaultWaiting) {
  const keys = new Map<string, KeyTurns>()

  function acquire(id: string, turn: Turn): void {
    const key = keys.get(id) ?? { active: 0, waiting: [] }
    keys.set(id, key)
    if (key.active < maxActive) {
      start(id, key, turn)
      return
    }
    if (key.waiting.length >= maxWaiting) removeGone(key)
    if (key.waiting.length >= maxWaiting) {
      turn.reject(tooManyInFlight())
      return
    }
    const timer = setTimeout(() => {
      key.waiting = key.waiting.filter((waiting) => waiting.timer !== timer)
      turn.reject(tooManyInFlight())
    }, maxWaitMs)
    key.waiting.push({ ...turn, timer })
  }

  function start(id: string, key: KeyTurns, turn: Turn): void {
    key.active++
    turn.start((error) => {
      key.active--
      // The waiting requests would fail in the same way, later.
      if (isDisconnected(error)) rejectTurns(key.waiting.splice(0), error)
      while (key.active < maxActive && key.waiting.length > 0) startNext(id, key)
      if (key.active === 0) keys.delete(id)
    })
  }

  function startNext(id: string, key: KeyTurns): void {
    const next = key.waiting.shift()
    if (!next) return
    clearTimeout(next.timer)
    if (next.isGone()) next.reject(requestAborted())
    else start(id, key, next)
  }

  function removeGone(key: KeyTurns): void {
    const gone = key.waiting.filter(({ isGone }) => isGone())
    key.waiting = key.waiting.filter((waiting) => !gone.includes(waiting))
    rejectTurns(gone, requestAborted())
  }

  function rejectTurns(turns: WaitingTurn[], error: Error): void {
    for (const { reject, timer } of turns) {
      clearTimeout(timer)
      reject(error)
    }
  }

  return { acquire }
}
