import { setTimeout as delay } from 'node:timers/promises'
import { type Static, type TSchema, Type } from 'typebox'
import { OperatorError } from '../../operator-error.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { compileJson } from '../../wire/validator.ts'
import { idOf } from '../schemas/shared.ts'

/** Validates only what identifies an item. The import validates all other fields, because Kener may contain odd data. */
const SourceMonitor = Type.Object(
  { id: idOf('monitor'), tag: Type.String() },
  { additionalProperties: Type.Unknown() },
)
const Item = Type.Object({ id: idOf('item') }, { additionalProperties: Type.Unknown() })

export type SourceMonitor = Static<typeof SourceMonitor> & Record<string, unknown>
export type SourceItem = Static<typeof Item> & Record<string, unknown>

const Monitors = Type.Object({ monitors: Type.Array(SourceMonitor) })
const Incidents = Type.Object({ incidents: Type.Array(Item) })
const Comments = Type.Object({ comments: Type.Array(Item) })

/** Longest list that Kener returns: the incidents of a window with the highest ids. */
const maxListed = 1_000

const maxBytes = 64 * 1024 * 1024
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

/**
 * Normalizes the URL of a Kener, because imports are recorded under it: removes trailing slashes and /api/v4. Returns
 * undefined if the text is not an http or https URL without credentials, query and fragment.
 */
export function parseKenerUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined
  const { protocol, username, password, origin, pathname, search, hash } = new URL(text)
  const isPlain = /^https?:$/.test(protocol) && username + password + search + hash === ''
  return isPlain ? origin + pathname.replace(/\/+$/, '').replace(/\/api\/v4$/, '') : undefined
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

    async monitors(): Promise<SourceMonitor[]> {
      return requireReply(await get('/monitors', Monitors)).monitors
    },

    /**
     * Returns all incidents by id. Splits a window of time while its list is full, because it may contain more
     * incidents. `truncatedAt` contains the starts, in seconds, that more incidents share than Kener lists: only the
     * incidents with the highest ids are returned for these.
     */
    async incidents(): Promise<{ incidents: SourceItem[]; truncatedAt: number[] }> {
      const found = new Map<number, SourceItem>()
      const truncatedAt: number[] = []
      const windows: Window[] = [{}]
      for (let window; (window = windows.pop());) {
        const { incidents } = requireReply(await get(`/incidents${toQuery(window)}`, Incidents))
        for (const incident of incidents) {
          if (!isWithin(window, incident)) {
            throw new OperatorError(
              `${url} ignores start_ts and end_ts, so that incidents beyond the first ${maxListed} cannot be read: is it a Kener 4?`,
            )
          }
          found.set(incident.id, incident)
        }
        if (incidents.length < maxListed) continue
        const halves = bisect(window, incidents)
        if (halves) windows.push(...halves)
        else truncatedAt.push(window.to ?? 0)
      }
      return { incidents: [...found.values()].sort((a, b) => a.id - b.id), truncatedAt }
    },

    /** Returns undefined if the incident no longer exists. */
    async comments(incidentId: number): Promise<SourceItem[] | undefined> {
      const reply = await get(`/incidents/${incidentId}/comments`, Comments)
      return reply?.comments.sort((a, b) => a.id - b.id)
    },
  }

  function requireReply<Reply>(reply: Reply | undefined): Reply {
    if (reply === undefined) throw new OperatorError(`${url} has no Kener 4 API: check --url`)
    return reply
  }

  /** Returns undefined for a 404. */
  async function get<Schema extends TSchema>(
    path: string,
    schema: Schema,
  ): Promise<Static<Schema> | undefined> {
    const text = await withRetry(() => request(new URL(`${url}/api/v4${path}`)))
    return text === undefined ? undefined : (parse(text, schema) as Static<Schema>)
  }

  async function withRetry<Reply>(attempt: () => Promise<Reply>): Promise<Reply> {
    for (let failures = 0; ; failures++) {
      try {
        return await attempt()
      } catch (error) {
        if (!(error instanceof TransientError)) throw error
        const waitMs = retryDelaysMs[failures]
        if (waitMs === undefined) {
          throw new OperatorError(
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
  async function request(target: URL, redirects = 0): Promise<string | undefined> {
    const headers = { authorization: `Bearer ${key}`, accept: 'application/json' }
    const options = { headers, redirect: 'manual' as const, signal: AbortSignal.timeout(timeoutMs) }
    const response = await fetch(target, options).catch(toTransientError)
    const { status } = response
    if (status === 200) return readBody(response).catch(toTransientError)
    // The body is not used, so that a failure to discard it has no effect.
    await response.body?.cancel().catch(() => undefined)
    const location = response.headers.get('location')
    if (status >= 300 && status < 400 && location !== null && URL.canParse(location, target)) {
      const next = new URL(location, target)
      if (next.origin !== target.origin) {
        throw new OperatorError(
          `${url} redirects to another server, ${JSON.stringify(next.origin)}, and the API key is not sent there. ` +
            'If that server is the Kener, pass its address as --url.',
        )
      }
      if (redirects < maxRedirects) return request(next, redirects + 1)
      throw new OperatorError(`${url} redirects more than ${maxRedirects} times`)
    }
    if (status === 401 || status === 403) {
      throw new OperatorError(
        `${url} rejected the API key (${status}): set KENER_SOURCE_API_KEY (or KENER_API_KEY, if it is not set) to an API key of that Kener`,
      )
    }
    if (status === 404) return undefined
    if (status === 429 || status >= 500) {
      throw new TransientError(
        `responded with ${status}`,
        parseRetryAfter(response.headers.get('retry-after')),
      )
    }
    throw new OperatorError(`${url} responded with ${status}: is it a Kener 4?`)
  }

  async function readBody(response: Response): Promise<string> {
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length
      if (bytes > maxBytes) {
        throw new OperatorError(
          `${url} responded with more than ${maxBytes / 1024 / 1024} MiB: is it a Kener 4?`,
        )
      }
      chunks.push(chunk)
    }
    return new TextDecoder().decode(Buffer.concat(chunks))
  }

  function parse(text: string, schema: object): unknown {
    let reply: unknown
    try {
      reply = JSON.parse(text)
    } catch {
      throw new OperatorError(`${url} did not respond with JSON: is it a Kener 4?`)
    }
    const outcome = compileJson(schema)(reply)
    if ('value' in outcome) return outcome.value
    const [detail] = fromAjvErrors(outcome.error).details ?? []
    const problem = detail ? `: ${detail.path || 'the response'} ${detail.message}` : ''
    throw new OperatorError(`${url} did not respond like a Kener 4${problem}`)
  }
}

/** An error that a retry may solve. The message continues a sentence that starts with the URL. */
class TransientError extends Error {
  readonly retryAfterMs: number | undefined

  constructor(message: string, retryAfterMs?: number) {
    super(message)
    this.retryAfterMs = retryAfterMs
  }
}

/**
 * Converts an error of fetch. Reports only its code, because the message may contain text of the server.
 * @throws TransientError for a network error, otherwise the error itself
 */
function toTransientError(error: unknown): never {
  if (error instanceof OperatorError || !(error instanceof Error)) throw error
  if (error.name === 'TimeoutError') throw new TransientError('did not respond in time')
  // Errors of fetch have a cause; errors of our own code do not.
  if (error.cause === undefined) throw error
  const cause: unknown = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause
  const code =
    typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : error.name
  throw new TransientError(`cannot be reached (${code})`)
}

/** Returns milliseconds. Retry-After contains seconds or a date (RFC 9110, section 10.2.3). */
function parseRetryAfter(text: string | null): number | undefined {
  if (text === null) return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isNaN(ms) ? undefined : ms
}

/** A range of incident starts, in seconds since 1970. Both bounds are inclusive. */
type Window = { from?: number | undefined; to?: number | undefined }

function toQuery({ from, to }: Window): string {
  const bounds = {
    ...(from !== undefined && { start_ts: String(from) }),
    ...(to !== undefined && { end_ts: String(to) }),
  }
  const query = new URLSearchParams(bounds).toString()
  return query && `?${query}`
}

/** Earliest start, in seconds. Kener reads 0 as no bound, so that earlier starts count as this one. */
const minStart = 1

function startOf({ start_date_time: start }: SourceItem): number {
  return typeof start === 'number' ? Math.max(Math.floor(start), minStart) : minStart
}

function isWithin({ from = minStart, to = Infinity }: Window, incident: SourceItem): boolean {
  const start = startOf(incident)
  return from <= start && start <= to
}

/**
 * Splits a window in the middle of the listed starts, because the other starts are unknown. Each part is smaller than the
 * window. Returns undefined for a window of one second.
 */
function bisect({ from, to }: Window, incidents: SourceItem[]): [Window, Window] | undefined {
  const starts = incidents.map(startOf)
  const first = Math.min(...starts)
  const last = Math.max(...starts)
  if (first === last && last === to && (first === from || first === minStart)) return undefined
  const middle = first < last ? Math.floor((first + last) / 2) : last === to ? last - 1 : last
  return [
    { from, to: middle },
    { from: middle + 1, to },
  ]
}
