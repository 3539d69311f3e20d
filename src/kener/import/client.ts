import { setTimeout as delay } from 'node:timers/promises'
import { type Static, type TSchema, Type } from 'typebox'
import { OperatorError } from '../../operator-error.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { compileJson } from '../../wire/validator.ts'
import { Id } from '../schemas.ts'

/** What tells one from another has to be right; all else is as odd as its source, and for the import to judge. */
const SourceMonitor = Type.Object({ id: Id, tag: Type.String() }, { additionalProperties: Type.Unknown() })
const Item = Type.Object({ id: Id }, { additionalProperties: Type.Unknown() })

export type SourceMonitor = Static<typeof SourceMonitor> & Record<string, unknown>
export type SourceItem = Static<typeof Item> & Record<string, unknown>

const Monitors = Type.Object({ monitors: Type.Array(SourceMonitor) })
const Incidents = Type.Object({ incidents: Type.Array(Item) })
const Comments = Type.Object({ comments: Type.Array(Item) })

/** Kener lists no more incidents than these: the newest by id of a window. */
const maxListed = 1_000

const maxBytes = 64 * 1024 * 1024
const maxRedirects = 5

/** Before each further attempt, or longer when the server says so. */
const retryDelaysMs = [1_000, 2_000, 4_000, 8_000]
const maxWaitMs = 60_000

export type KenerClient = ReturnType<typeof connectToKener>

type Options = {
  /** Completes the sentence "... tries again in 2 s". */
  onWait?: (why: string, ms: number) => void
  wait?: (ms: number) => Promise<unknown>
  /** For one reply, with all of its body. */
  timeoutMs?: number
}

/** Where a Kener is, as it is remembered: its API may be named too. Undefined for what is no such URL. */
export function parseKenerUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined
  const { protocol, username, password, origin, pathname, search, hash } = new URL(text)
  const isPlain = /^https?:$/.test(protocol) && username + password + search + hash === ''
  return isPlain ? origin + pathname.replace(/\/+$/, '').replace(/\/api\/v4$/, '') : undefined
}

/** @param url as parseKenerUrl gives it. All that it answers with throws an OperatorError when nothing can be made of it. */
export function connectToKener(
  url: string,
  key: string,
  { onWait, wait = delay, timeoutMs = 30_000 }: Options = {},
) {
  return {
    url,

    async monitors(): Promise<SourceMonitor[]> {
      return requireReply(await get('/monitors', Monitors)).monitors
    },

    /**
     * By id. A window that has as many as are listed at most may have more, and is halved until it has not.
     * @returns besides, the starts that more incidents share than are listed: it has the newest of these alone.
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
              `${url} passes over start_ts and end_ts, and lists no more than ${maxListed} incidents`,
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

    /** Undefined when there is no such incident any more. */
    async comments(incidentId: number): Promise<SourceItem[] | undefined> {
      const reply = await get(`/incidents/${incidentId}/comments`, Comments)
      return reply?.comments.sort((a, b) => a.id - b.id)
    },
  }

  function requireReply<Reply>(reply: Reply | undefined): Reply {
    if (reply === undefined) throw new OperatorError(`There is no Kener 4 API at ${url}`)
    return reply
  }

  /** Undefined when it answers 404. */
  async function get<Schema extends TSchema>(
    path: string,
    schema: Schema,
  ): Promise<Static<Schema> | undefined> {
    const text = await withRetry(() => request(new URL(`${url}/api/v4${path}`)))
    return text === undefined ? undefined : (read(text, schema) as Static<Schema>)
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
            `${url} ${error.message}, ${failures + 1} times in a row: run this again later, it goes on where it stopped`,
          )
        }
        const ms = Math.min(Math.max(waitMs, error.retryAfterMs ?? 0), maxWaitMs)
        onWait?.(`${url} ${error.message}`, ms)
        await wait(ms)
      }
    }
  }

  /** @returns the body, or undefined for a 404. @throws Passing */
  async function request(target: URL, redirects = 0): Promise<string | undefined> {
    const headers = { authorization: `Bearer ${key}`, accept: 'application/json' }
    const options = { headers, redirect: 'manual' as const, signal: AbortSignal.timeout(timeoutMs) }
    const response = await fetch(target, options).catch(toTransientError)
    const { status } = response
    if (status === 200) return readBody(response).catch(toTransientError)
    await response.body?.cancel().catch(() => undefined)
    const location = response.headers.get('location')
    if (status >= 300 && status < 400 && location !== null && URL.canParse(location, target)) {
      const next = new URL(location, target)
      if (next.origin !== target.origin) {
        throw new OperatorError(
          `${url} redirects to another server, ${JSON.stringify(next.origin)}, where the key must not go: ` +
            'if that is the Kener, say so with --url',
        )
      }
      if (redirects < maxRedirects) return request(next, redirects + 1)
      throw new OperatorError(`${url} redirects more than ${maxRedirects} times`)
    }
    if (status === 401 || status === 403) {
      throw new OperatorError(`The key in KENER_API_KEY was refused by ${url} (${status})`)
    }
    if (status === 404) return undefined
    if (status === 429 || status >= 500) {
      throw new TransientError(`answered ${status}`, parseRetryAfter(response.headers.get('retry-after')))
    }
    throw new OperatorError(`${url} answered ${status}: is it a Kener 4?`)
  }

  async function readBody(response: Response): Promise<string> {
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length
      if (bytes > maxBytes) {
        throw new OperatorError(`${url} answered with more than ${maxBytes / 1024 / 1024} MiB`)
      }
      chunks.push(chunk)
    }
    return new TextDecoder().decode(Buffer.concat(chunks))
  }

  function read(text: string, schema: object): unknown {
    let reply: unknown
    try {
      reply = JSON.parse(text)
    } catch {
      throw new OperatorError(`${url} answered with something that is no JSON: is it a Kener 4?`)
    }
    const outcome = compileJson(schema)(reply)
    if ('value' in outcome) return outcome.value
    const [detail] = fromAjvErrors(outcome.error).details ?? []
    const wrong = detail ? `: ${detail.path || 'the reply'} ${detail.message}` : ''
    throw new OperatorError(`${url} did not answer as a Kener 4 does${wrong}`)
  }
}

/** What may be over when it is tried again. The message completes a sentence about the server. */
class TransientError extends Error {
  readonly retryAfterMs: number | undefined

  constructor(message: string, retryAfterMs?: number) {
    super(message)
    this.retryAfterMs = retryAfterMs
  }
}

/** By its code alone: the words of an error may hold what the other side sent. @throws Passing, or what is no fault of the network. */
function toTransientError(error: unknown): never {
  if (error instanceof OperatorError || !(error instanceof Error)) throw error
  if (error.name === 'TimeoutError') throw new TransientError('did not answer in time')
  // Of fetch's own making is what has a cause; all else is ours.
  if (error.cause === undefined) throw error
  const cause: unknown = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause
  const code =
    typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : error.name
  throw new TransientError(`cannot be reached (${code})`)
}

/** Seconds, or a date. */
function parseRetryAfter(text: string | null): number | undefined {
  if (text === null) return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isNaN(ms) ? undefined : ms
}

/** Of the starts of incidents, in seconds; both ends belong to it. */
type Window = { from?: number | undefined; to?: number | undefined }

function toQuery({ from, to }: Window): string {
  const bounds = {
    ...(from !== undefined && { start_ts: String(from) }),
    ...(to !== undefined && { end_ts: String(to) }),
  }
  const query = new URLSearchParams(bounds).toString()
  return query && `?${query}`
}

/** Kener takes 0 for no bound at all, so what starts before 1 counts as starting then. */
const minStart = 1

function startOf({ start_date_time: start }: SourceItem): number {
  return typeof start === 'number' ? Math.max(Math.floor(start), minStart) : minStart
}

function isWithin({ from = minStart, to = Infinity }: Window, incident: SourceItem): boolean {
  const start = startOf(incident)
  return from <= start && start <= to
}

/**
 * In the middle of what was listed, since nobody knows what was not. Each half is smaller than the whole.
 * Undefined for a window of one second.
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
