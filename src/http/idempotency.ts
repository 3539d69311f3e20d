import { hash } from 'node:crypto'
import type {
  FastifyReply,
  FastifyRequest,
  onRequestHookHandler,
  onSendHookHandler,
  preValidationHookHandler,
} from 'fastify'
import fp from 'fastify-plugin'
import { deferCommit, type DeferredCommit } from '../database/deferred-commit.ts'
import { sortFields } from '../database/prepared.ts'
import {
  type ApiError,
  conflict,
  idempotencyKeyInFlight,
  idempotencyKeyReused,
  invalidIdempotencyKey,
  responseOutOfScope,
} from '../errors.ts'
import { findRecord, insertRecord, isRecordInScope, lockRequest } from '../idempotency/repository.ts'
import { isNestedTooDeeply } from '../limits.ts'
import type { Scope } from '../monitors/scope.ts'
import { isUnderApi } from '../permissions.ts'
import { requirePrincipal } from './auth.ts'
import { recordError, toBody } from './error-handler.ts'
import { scopeOf } from './permission-guard.ts'
import { isAborted } from './request-log.ts'

/** The first request with an Idempotency-Key, until its response is stored. */
type FirstRequest = DeferredCommit & {
  id: Buffer
  fingerprint: Buffer
  /** The error of repeated requests, if the response contains a secret. */
  repeated: ApiError | null
  /** Lets further requests with this Idempotency-Key start, and the next one of the calling key. */
  end: () => void
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Null without an Idempotency-Key. With one, the handler writes in its `db`, so that the response is stored with it. */
    firstRequest: FirstRequest | null
  }
  interface FastifyInstance {
    /** onRequest hook, before limitConcurrency: a repetition does not wait for the first request. @throws ApiError 409 */
    rejectInFlight: onRequestHookHandler
  }
  interface FastifyReply {
    /**
     * Marks a response that contains a secret, which this service must not store.
     * @param repeated the error of the same request with the same Idempotency-Key
     */
    withSecret: (repeated: ApiError) => this
  }
}

/** Visible ASCII. A header that is sent twice contains a space. */
export const idempotencyKeyPattern = /^[!-~]{1,255}$/

/**
 * Handles POST requests with the same Idempotency-Key once: docs/decisions/0016-idempotency.md. The response is stored in
 * the transaction of the write, and sent when that is committed. Requests without the header are not affected.
 */
export default fp(
  (app, _options, done) => {
    /** Ids of the requests in flight in this process. Those of other replicas are locked in the database. */
    const inFlight = new Set<string>()

    app.decorateRequest('firstRequest', null)
    app.decorateReply('withSecret', function (repeated) {
      if (this.request.firstRequest) this.request.firstRequest.repeated = repeated
      return this
    })
    app.decorate('rejectInFlight', (request, _reply, next) => {
      const key = request.headers['idempotency-key']
      const isInFlight =
        key !== undefined && request.principal && inFlight.has(toName(identify(request, key)))
      next(isInFlight ? idempotencyKeyInFlight() : undefined)
    })
    app.addHook('onRoute', (route) => {
      const { method, url, config } = route
      if (![method].flat().includes('POST') || !isUnderApi(url) || config?.permission === 'public') return
      // After the check of the monitors in the body, because 403 takes precedence, and before validation, because 400 is a
      // first response, too.
      route.preValidation = [...[route.preValidation ?? []].flat(), beginOrReplay]
      route.onSend = [storeResponse, ...[route.onSend ?? []].flat()]
    })
    done()

    function beginOrReplay(...[request, reply, next]: Parameters<preValidationHookHandler>): void {
      const key = request.headers['idempotency-key']
      // A body that is nested too deeply is rejected after validation.
      if (key === undefined || isNestedTooDeeply(request.body)) next()
      else if (!idempotencyKeyPattern.test(String(key))) next(invalidIdempotencyKey())
      else {
        begin(request, key).then((response) => {
          if (response) replay(reply, response)
          else next()
        }, next)
      }
    }

    /** Returns the stored response, if there is one. @throws ApiError 409, 422, 503 */
    async function begin(request: FastifyRequest, key: HeaderValue): Promise<StoredResponse | undefined> {
      const id = identify(request, key)
      const fingerprint = fingerprintOf(request)
      const name = toName(id)
      if (inFlight.has(name)) throw idempotencyKeyInFlight()
      inFlight.add(name)
      const { endTurn } = request
      // Otherwise it ends before the commit.
      request.endTurn = null
      const first = {
        ...deferCommit(app.db, app.maxLockWaitMs, async (trx) => {
          if (!(await lockRequest(trx, id))) throw idempotencyKeyInFlight()
        }),
        id,
        fingerprint,
        repeated: null,
        end: () => {
          request.firstRequest = null
          inFlight.delete(name)
          endTurn?.(request.apiError?.cause)
        },
      }
      request.firstRequest = first
      const record = await findRecord(app.db, id)
      if (!record) return undefined
      first.end()
      if (!record.fingerprint.equals(fingerprint)) throw idempotencyKeyReused()
      if (!isRecordInScope(scopeOf(request), record)) throw responseOutOfScope()
      if (record.body === null) throw conflict(record.conflict)
      return record
    }
  },
  { name: 'idempotency', dependencies: ['database', 'permission-guard', 'concurrency', 'error-handler'] },
)

type StoredResponse = { status: number; etag: string | null; body: string }

function replay(reply: FastifyReply, { status, etag, body }: StoredResponse): void {
  if (etag !== null) reply.header('etag', etag)
  reply.code(status).header('idempotency-replayed', 'true').type('application/json; charset=utf-8').send(body)
}

type HeaderValue = string | string[]

function identify(request: FastifyRequest, key: HeaderValue): Buffer {
  const [path] = splitUrl(request)
  return digest([requirePrincipal(request).id, request.method, path, key])
}

function toName(id: Buffer): string {
  return id.toString('base64')
}

function fingerprintOf(request: FastifyRequest): Buffer {
  const [, query] = splitUrl(request)
  return digest([query, request.body])
}

function splitUrl({ url }: FastifyRequest): [path: string, query: string] {
  const end = url.indexOf('?')
  return end === -1 ? [url, ''] : [url.slice(0, end), url.slice(end)]
}

/** Ignores the order of fields, because it has no meaning in JSON, and may differ when a client repeats a request. */
export function digest(values: unknown[]): Buffer {
  return hash('sha256', JSON.stringify(values, sorted), 'buffer')
}

function sorted(_name: string, value: unknown): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? sortFields(value) : value
}

/**
 * Stores the response, and commits. If that fails, nothing is written, and the error is the response. It is not thrown,
 * because the error handler cannot run twice for a request.
 */
function storeResponse(...[request, reply, payload, next]: Parameters<onSendHookHandler>): void {
  const { firstRequest } = request
  if (firstRequest === null) {
    next()
    return
  }
  // All responses to POST are JSON.
  finish(firstRequest, request, reply, payload as string).then((sent) => {
    next(null, sent)
  }, next)
}

async function finish(
  first: FirstRequest,
  request: FastifyRequest,
  reply: FastifyReply,
  body: string,
): Promise<string> {
  const { statusCode: status } = reply
  try {
    // An error writes nothing else.
    if (status >= 400) await first.rollback()
    if (isStored(request, reply)) {
      const etag = reply.getHeader('etag')
      await store(first, {
        status,
        etag: etag === undefined ? null : String(etag),
        body,
        monitors: scopeOf(request),
      })
    }
    return body
  } catch (error) {
    const apiError = recordError(error, request)
    reply.removeHeader('etag').code(apiError.status).headers(apiError.headers)
    return JSON.stringify(toBody(apiError))
  } finally {
    first.end()
  }
}

/** They depend on the calling key, which may change, and not on the request. */
const unstoredStatuses = new Set([401, 403])

/** Not if the request is to be repeated: by its Retry-After, or because the client has disconnected, which may be the cause. */
function isStored(request: FastifyRequest, reply: FastifyReply): boolean {
  const { statusCode: status } = reply
  if (status < 400) return true
  if (status >= 500 || unstoredStatuses.has(status)) return false
  return !reply.hasHeader('retry-after') && !isAborted(request, reply)
}

async function store(
  { id, fingerprint, repeated, ...commit }: FirstRequest,
  { body, ...response }: StoredResponse & { monitors: Scope },
): Promise<void> {
  const content = repeated ? { body: null, conflict: repeated.message } : { body, conflict: null }
  try {
    const trx = await commit.openTransaction()
    if (!(await insertRecord(trx, id, { ...response, ...content, fingerprint })))
      throw idempotencyKeyInFlight()
    await commit.commit()
  } catch (error) {
    await commit.rollback()
    throw error
  }
}
