import { setTimeout as delay } from 'node:timers/promises'
import { type TSchema, Type } from 'typebox'
import { OperatorError } from '../../operator-error.ts'
import { quote } from '../../terminal.ts'
import { describeFetchError, parseBaseUrl } from '../../wire/http-client.ts'
import { idOf } from '../schemas/shared.ts'
import { type ItemList, readList, type SourceItem } from './items.ts'
import { bisect, isBeyond, maxStart, minStart, parseStart, toQuery, type Window } from './windows.ts'

export type SourceMonitor = SourceItem & { tag: string }

type ListKind = {
  /** The field of the response that contains the list. */
  name: string
  /** Validates only what identifies an item. The import validates all other fields, because Kener may contain odd data. */
  item: TSchema
  maxItems: number
  /** Longest response, in bytes after decompression. */
  maxBytes: number
}

const mebibyte = 1024 * 1024
const anyField = { additionalProperties: Type.Unknown() }

const monitorList: ListKind = {
  name: 'monitors',
  item: Type.Object({ id: idOf('monitor'), tag: Type.String() }, anyField),
  maxItems: 100_000,
  maxBytes: 64 * mebibyte,
}
const incidentList: ListKind = {
  name: 'incidents',
  item: Type.Object({ id: idOf('incident') }, anyField),
  maxItems: 100_000,
  maxBytes: 64 * mebibyte,
}
/** Smaller, because the comments of several incidents are requested at the same time. */
const commentList: ListKind = {
  name: 'comments',
  item: Type.Object({ id: idOf('comment') }, anyField),
  maxItems: 10_000,
  maxBytes: 8 * mebibyte,
}

/** Longest list that Kener returns: the incidents of a window with the highest ids. */
const maxListed = 1_000

/** Most lists of incidents that are requested. 200,000 incidents with evenly distributed starts take 500. */
const maxIncidentLists = 10_000
const maxRedirects = 5

/** Wait before each retry, in milliseconds. A longer Retry-After of the server takes precedence, up to the maximum. */
const retryDelaysMs = [1_000, 2_000, 4_000, 8_000]
const maxWaitMs = 60_000

export type KenerClient = ReturnType<typeof connectToKener>

type Options = {
  /** Is called before each retry. */
  onRetry?: (reason: string, waitMs: number) => void
  wait?: (ms: number) => Promise<unknown>
  /** Longest time for one response including its body, in milliseconds. */
  timeoutMs?: number
}

/** Normalizes the URL of a Kener, because imports are recorded under it: as parseBaseUrl, and removes /api/v4. */
export function parseKenerUrl(text: string): string | undefined {
  return parseBaseUrl(text)?.replace(/\/api\/v4$/, '')
}

/**
 * Creates a client of a Kener's API.
 * @param url a result of parseKenerUrl
 * @returns methods that throw an OperatorError if the Kener does not respond as expected
 */
export function connectToKener(
  url: string,
  key: string,
  { onRetry, wait = delay, timeoutMs = 30_000 }: Options = {},
) {
  return {
    url,

    async monitors(): Promise<ItemList<SourceMonitor>> {
      return requireReply(await get<SourceMonitor>('/monitors', monitorList))
    },

    /**
     * Lists all incidents, by windows of time in ascending order. Splits a window while its list is full, because it may
     * contain more incidents. `truncated` is a window that contains more incidents than Kener lists and cannot be split:
     * only the incidents with the highest ids are returned. An incident without a valid start may be listed several
     * times.
     */
    async *incidents(): AsyncGenerator<{ list: ItemList<SourceItem>; truncated: Window | undefined }> {
      const windows: Window[] = [{ from: minStart, to: maxStart }]
      for (let requests = 1, window; (window = windows.pop()); requests++) {
        if (requests > maxIncidentLists) {
          throw new OperatorError(
            `${url} has more incidents than can be read: ${maxIncidentLists} lists did not contain all`,
          )
        }
        const list = requireReply(await get<SourceItem>(`/incidents${toQuery(window)}`, incidentList))
        const starts = list.items.map(({ read }) => parseStart(read().start_date_time))
        if (starts.some((start) => isBeyond(window, start))) {
          throw new OperatorError(
            `${url} ignores start_ts and end_ts, so that incidents beyond the first ${maxListed} cannot be read: is it a Kener 4?`,
          )
        }
        const isFull = list.items.length + list.rejected.length + list.omitted >= maxListed
        const halves = isFull ? bisect(window, starts) : undefined
        if (halves) windows.push(...halves)
        else yield { list, truncated: isFull ? window : undefined }
      }
    },

    /** Returns undefined if the incident no longer exists. @throws UnusableListError if only this list is unusable */
    comments(incidentId: number): Promise<ItemList<SourceItem> | undefined> {
      return get<SourceItem>(`/incidents/${incidentId}/comments`, commentList)
    },
  }

  function requireReply<Reply>(reply: Reply | undefined): Reply {
    if (reply === undefined) throw new OperatorError(`${url} has no Kener 4 API: check --url`)
    return reply
  }

  /** Returns undefined for a 404. */
  async function get<Item extends SourceItem>(
    path: string,
    { name, item, maxItems, maxBytes }: ListKind,
  ): Promise<ItemList<Item> | undefined> {
    const json = await withRetry(() => request(new URL(`${url}/api/v4${path}`), maxBytes))
    if (json === undefined) return undefined
    const list = readList<Item>(json, name, item, maxItems)
    if (list) return list
    throw new UnusableListError(
      `${url} did not respond with a JSON object that contains the list ${name}: is it a Kener 4?`,
    )
  }

  async function withRetry<Reply>(attempt: () => Promise<Reply>): Promise<Reply> {
    for (let failures = 0; ; failures++) {
      try {
        return await attempt()
      } catch (error) {
        if (!(error instanceof TransientError)) throw error
        const waitMs = retryDelaysMs[failures]
        if (waitMs === undefined) {
          const Failure = error.isOfRequest ? UnusableListError : OperatorError
          throw new Failure(
            `${url} ${error.message}, ${failures + 1} times in a row. Run the import again later: it continues where it stopped.`,
          )
        }
        const ms = Math.min(Math.max(waitMs, error.retryAfterMs ?? 0), maxWaitMs)
        onRetry?.(`${url} ${error.message}`, ms)
        await wait(ms)
      }
    }
  }

  /** Returns the body, or undefined for a 404. @throws TransientError if a retry may succeed */
  async function request(target: URL, maxBytes: number, redirects = 0): Promise<Buffer | undefined> {
    const headers = { authorization: `Bearer ${key}`, accept: 'application/json' }
    const options = { headers, redirect: 'manual' as const, signal: AbortSignal.timeout(timeoutMs) }
    const response = await fetch(target, options).catch(toTransientError)
    const { status } = response
    if (status === 200) return readBody(response, maxBytes).catch(toTransientError)
    // The body is not used, so that a failure to discard it has no effect.
    await response.body?.cancel().catch(() => undefined)
    const location = response.headers.get('location')
    if (status >= 300 && status < 400 && location !== null && URL.canParse(location, target)) {
      const next = new URL(location, target)
      assertSafeRedirect(target, next)
      if (redirects < maxRedirects) return request(next, maxBytes, redirects + 1)
      throw new OperatorError(`${url} redirects more than ${maxRedirects} times`)
    }
    if (status === 401 || status === 403) {
      throw new OperatorError(
        `${url} rejected the API key (${status}): set KENER_SOURCE_API_KEY (or KENER_API_KEY, if it is not set) to an API key of that Kener`,
      )
    }
    if (status === 404) return undefined
    if (status === 429 || status >= 500) {
      throw new TransientError(`responded with ${status}`, {
        retryAfterMs: parseRetryAfter(response.headers.get('retry-after')),
        isOfRequest: status === 500,
      })
    }
    throw new UnusableListError(`${url} responded with ${status}: is it a Kener 4?`)
  }

  /** @throws OperatorError if the key would be sent to another server, or the URL is not one of a Kener */
  function assertSafeRedirect(from: URL, to: URL): void {
    // The origin of a blob: URL is that of the URL within it.
    if (!/^https?:$/.test(to.protocol)) {
      throw new OperatorError(`${url} redirects to a ${quote(to.protocol)} URL, which is not followed`)
    }
    if (to.origin !== from.origin) {
      throw new OperatorError(
        `${url} redirects to another server, ${quote(to.origin)}, and the API key is not sent there. ` +
          'If that server is the Kener, pass its address as --url.',
      )
    }
    if (to.username + to.password !== '') {
      throw new OperatorError(
        `${url} redirects to a URL with a user name or a password, which is not followed`,
      )
    }
  }

  /** Counts the decompressed bytes as they arrive, because a short response may decompress to a very long one. */
  async function readBody(response: Response, maxBytes: number): Promise<Buffer> {
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length
      if (bytes > maxBytes) {
        throw new UnusableListError(
          `${url} responded with more than ${maxBytes / mebibyte} MiB: is it a Kener 4?`,
        )
      }
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  }
}

/** A list that cannot be read. Other lists of the same Kener may be readable. */
export class UnusableListError extends OperatorError {}

/** An error that a retry may solve. The message continues a sentence that starts with the URL. */
class TransientError extends Error {
  readonly retryAfterMs: number | undefined
  /** True if the request itself may be the reason, so that others may succeed. */
  readonly isOfRequest: boolean

  constructor(
    message: string,
    { retryAfterMs, isOfRequest = false }: { retryAfterMs?: number | undefined; isOfRequest?: boolean } = {},
  ) {
    super(message)
    this.retryAfterMs = retryAfterMs
    this.isOfRequest = isOfRequest
  }
}

/** @throws TransientError for a network error of fetch, otherwise the error itself */
function toTransientError(error: unknown): never {
  const reason = describeFetchError(error)
  throw reason === undefined ? error : new TransientError(reason)
}

/** Returns milliseconds. Retry-After contains seconds or a date (RFC 9110, section 10.2.3). */
function parseRetryAfter(text: string | null): number | undefined {
  if (text === null) return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isNaN(ms) ? undefined : ms
}
