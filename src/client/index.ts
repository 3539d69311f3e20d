import { KenerError, parseJson } from './error.ts'
import type { paths } from './openapi.ts'
import type { Arguments, Data, Item, ListPath, Method, PathOf, Result } from './types.ts'

export { KenerError }
export type { Data, Item, paths, Result }

export type ClientOptions = {
  /** Address of the service, such as https://status.example.com */
  url: string
  /** API key. Only the public status needs none. */
  key?: string
  /** Retries of one request, by default 3. */
  maxRetries?: number
  /** Longest wait before a retry, by default 60 s. If Retry-After asks for more, the error is thrown at once. */
  maxWaitMs?: number
  /** Time limit of each attempt, by default 30 s. */
  timeoutMs?: number
  /** By default the fetch of the platform. */
  fetch?: typeof globalThis.fetch
}

type Call<M extends Method> = <P extends PathOf<M>>(
  path: P,
  ...options: Arguments<P, M>
) => Promise<Result<P, M>>

export type Client = { [M in Method]: Call<M> } & {
  /** Yields the items of all pages, each requested when the one before it was read. `limit` is the size of a page. */
  list: <P extends ListPath>(path: P, ...options: Arguments<P, 'get'>) => AsyncGenerator<Item<P>, void>
}

type Values = Record<string, string | number | boolean | undefined>
type AnyOptions = {
  path?: Values
  query?: Values
  headers?: Record<string, string | undefined>
  body?: unknown
  signal?: AbortSignal
}
type AnyResult = { data: unknown; pagination?: { next_cursor: string | null } }

/**
 * Returns a client whose paths, parameters, bodies and responses have the types of /openapi.json. Requests that fail
 * temporarily are repeated if that cannot execute them twice: each POST has an Idempotency-Key.
 */
export function createClient({
  url,
  key,
  maxRetries = 3,
  maxWaitMs = 60_000,
  timeoutMs = 30_000,
  fetch = globalThis.fetch,
}: ClientOptions): Client {
  const base = url.replace(/\/+$/, '')

  const call =
    (method: Uppercase<Method>) =>
    (path: string, options: AnyOptions = {}) =>
      send(method, path, options)

  return {
    get: call('GET'),
    post: call('POST'),
    put: call('PUT'),
    patch: call('PATCH'),
    delete: call('DELETE'),
    list,
  } as unknown as Client

  async function* list(path: string, options: AnyOptions = {}): AsyncGenerator<unknown, void> {
    let cursor: string | undefined
    do {
      const { data, pagination } = await send('GET', path, {
        ...options,
        query: { ...options.query, cursor },
      })
      yield* data as unknown[]
      cursor = pagination?.next_cursor ?? undefined
    } while (cursor !== undefined)
  }

  async function send(method: Uppercase<Method>, path: string, options: AnyOptions): Promise<AnyResult> {
    const { body, signal } = options
    const target = base + fillPath(path, options.path) + toQuery(options.query)
    const headers = new Headers({ accept: 'application/json' })
    if (key !== undefined) headers.set('authorization', `Bearer ${key}`)
    if (body !== undefined) headers.set('content-type', 'application/json')
    if (method === 'POST') headers.set('idempotency-key', crypto.randomUUID())
    for (const [name, value] of Object.entries(options.headers ?? {})) {
      if (value !== undefined) headers.set(name, value)
    }
    const content = body === undefined ? null : JSON.stringify(body)
    const canRepeat = isIdempotent(method, headers)

    for (let retries = 0; ; retries++) {
      const limit = AbortSignal.timeout(timeoutMs)
      let failure: unknown
      let retryAfter: number | null = null
      try {
        const response = await fetch(target, {
          method,
          headers,
          body: content,
          // Otherwise a POST could become a GET, whose response would seem to be that of the POST, and a body could be sent
          // to another server.
          redirect: 'manual',
          signal: signal ? AbortSignal.any([signal, limit]) : limit,
        })
        const text = await response.text()
        const result = toResult(response, text)
        if (result) return result
        const error = KenerError.from(response, text)
        if (!isTemporary(error, canRepeat)) throw error
        failure = error
        retryAfter = error.retryAfter
      } catch (error) {
        if (error instanceof KenerError || signal?.aborted || !canRepeat) throw error
        failure = error
      }
      if (retries >= maxRetries || (retryAfter ?? 0) * 1_000 > maxWaitMs) throw failure
      await delay(Math.min(toWaitMs(retryAfter, retries), maxWaitMs, maxTimerMs), signal)
    }
  }
}

/**
 * True if a second execution has the same effect and the same response. A PATCH, or a request with a condition, has not: it
 * may overwrite a change that was made in between, or fail because the first one succeeded.
 */
function isIdempotent(method: Uppercase<Method>, headers: Headers): boolean {
  if (method === 'PATCH' || headers.has('if-match') || headers.has('if-none-match')) return false
  return method !== 'POST' || headers.has('idempotency-key')
}

/** A response with the status 429 is certain not to have been executed. 409 has a Retry-After while a request is in flight. */
function isTemporary({ status, retryAfter }: KenerError, canRepeat: boolean): boolean {
  if (status === 429) return true
  return canRepeat && ([502, 503, 504].includes(status) || (status === 409 && retryAfter !== null))
}

/** A longer timer would end at once. */
const maxTimerMs = 2_147_483_647

/** Random, so that clients that failed at the same time do not return at the same time. */
function toWaitMs(retryAfter: number | null, retries: number): number {
  const leastMs = retryAfter === null ? 250 * 2 ** retries : retryAfter * 1_000
  return leastMs * (1 + Math.random() / 4)
}

function fillPath(path: string, values: Values = {}): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(values[name] ?? '')
    // URLs resolve dots, so that the request would have another path.
    if (['', '.', '..'].includes(value)) throw new TypeError(`Invalid ${name} in ${path}: "${value}"`)
    return encodeURIComponent(value)
  })
}

function toQuery(values: Values = {}): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined) query.set(name, String(value))
  }
  return query.size > 0 ? `?${query.toString()}` : ''
}

/** Returns undefined for an error, and for a response that is not from the service. */
function toResult({ ok, status, headers }: Response, text: string): AnyResult | undefined {
  if (!ok) return undefined
  const body = status === 204 ? { success: true } : parseJson(text)
  const { success, data, pagination } = (body ?? {}) as Partial<AnyResult> & { success?: unknown }
  if (success !== true) return undefined
  return { data, ...(pagination && { pagination }), ...{ status, headers } }
}

/** @throws the reason of the signal */
async function delay(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end, { once: true })
    function end() {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      if (signal?.aborted) reject(signal.reason as Error)
      else resolve()
    }
  })
}
