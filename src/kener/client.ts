import { setTimeout as delay } from 'node:timers/promises'
import { type Static, type TSchema, Type } from 'typebox'
import { OperatorError } from '../operator-error.ts'
import { invalidShape } from '../schemas/invalid-shape.ts'
import { compileExact } from '../schemas/validator.ts'
import { Id } from './schemas.ts'

/** What tells one from another has to be right; all else is as odd as its source, and for the import to judge. */
const MonitorThere = Type.Object({ id: Id, tag: Type.String() }, { additionalProperties: Type.Unknown() })
const Item = Type.Object({ id: Id }, { additionalProperties: Type.Unknown() })

export type MonitorThere = Static<typeof MonitorThere> & Record<string, unknown>
export type ItemThere = Static<typeof Item> & Record<string, unknown>

const Monitors = Type.Object({ monitors: Type.Array(MonitorThere) })
const Incidents = Type.Object({ incidents: Type.Array(Item) })
const Comments = Type.Object({ comments: Type.Array(Item) })

/** Kener lists no more incidents than these: the newest by id of a window. */
const listMax = 1_000

const bytesMax = 64 * 1024 * 1024
const redirectsMax = 5

/** Before each further attempt, or longer when the server says so. */
const waitsMs = [1_000, 2_000, 4_000, 8_000]
const waitMaxMs = 60_000

export type Kener = ReturnType<typeof connectKener>

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
export function connectKener(
  url: string,
  key: string,
  { onWait, wait = delay, timeoutMs = 30_000 }: Options = {},
) {
  return {
    url,

    async monitors(): Promise<MonitorThere[]> {
      return required(await get('/monitors', Monitors)).monitors
    },

    /**
     * By id. A window that has as many as are listed at most may have more, and is halved until it has not.
     * @returns besides, the starts that more incidents share than are listed: it has the newest of these alone.
     */
    async incidents(): Promise<{ incidents: ItemThere[]; cutAt: number[] }> {
      const found = new Map<number, ItemThere>()
      const cutAt: number[] = []
      const windows: Window[] = [{}]
      for (let window; (window = windows.pop());) {
        const { incidents } = required(await get(`/incidents${toQuery(window)}`, Incidents))
        for (const incident of incidents) {
          if (!isWithin(window, incident)) {
            throw new OperatorError(
              `${url} passes over start_ts and end_ts, and lists no more than ${listMax} incidents`,
            )
          }
          found.set(incident.id, incident)
        }
        if (incidents.length < listMax) continue
        const halves = halve(window, incidents)
        if (halves) windows.push(...halves)
        else cutAt.push(window.to ?? 0)
      }
      return { incidents: [...found.values()].sort((a, b) => a.id - b.id), cutAt }
    },

    /** Undefined when there is no such incident any more. */
    async comments(incidentId: number): Promise<ItemThere[] | undefined> {
      const reply = await get(`/incidents/${incidentId}/comments`, Comments)
      return reply?.comments.sort((a, b) => a.id - b.id)
    },
  }

  function required<Reply>(reply: Reply | undefined): Reply {
    if (reply === undefined) throw new OperatorError(`There is no Kener 4 API at ${url}`)
    return reply
  }

  /** Undefined when it answers 404. */
  async function get<Schema extends TSchema>(
    path: string,
    schema: Schema,
  ): Promise<Static<Schema> | undefined> {
    const text = await persist(() => request(new URL(`${url}/api/v4${path}`)))
    return text === undefined ? undefined : (read(text, schema) as Static<Schema>)
  }

  async function persist<Reply>(attempt: () => Promise<Reply>): Promise<Reply> {
    for (let failures = 0; ; failures++) {
      try {
        return await attempt()
      } catch (error) {
        if (!(error instanceof Passing)) throw error
        const waitMs = waitsMs[failures]
        if (waitMs === undefined) {
          throw new OperatorError(
            `${url} ${error.message}, ${failures + 1} times in a row: run this again later, it goes on where it stopped`,
          )
        }
        const ms = Math.min(Math.max(waitMs, error.retryAfterMs ?? 0), waitMaxMs)
        onWait?.(`${url} ${error.message}`, ms)
        await wait(ms)
      }
    }
  }

  /** @returns the body, or undefined for a 404. @throws Passing */
  async function request(target: URL, redirects = 0): Promise<string | undefined> {
    const headers = { authorization: `Bearer ${key}`, accept: 'application/json' }
    const options = { headers, redirect: 'manual' as const, signal: AbortSignal.timeout(timeoutMs) }
    const response = await fetch(target, options).catch(toPassing)
    const { status } = response
    if (status === 200) return readBody(response).catch(toPassing)
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
      if (redirects < redirectsMax) return request(next, redirects + 1)
      throw new OperatorError(`${url} redirects more than ${redirectsMax} times`)
    }
    if (status === 401 || status === 403) {
      throw new OperatorError(`The key in KENER_API_KEY was refused by ${url} (${status})`)
    }
    if (status === 404) return undefined
    if (status === 429 || status >= 500) {
      throw new Passing(`answered ${status}`, parseRetryAfter(response.headers.get('retry-after')))
    }
    throw new OperatorError(`${url} answered ${status}: is it a Kener 4?`)
  }

  async function readBody(response: Response): Promise<string> {
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length
      if (bytes > bytesMax) {
        throw new OperatorError(`${url} answered with more than ${bytesMax / 1024 / 1024} MiB`)
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
    const outcome = compileExact(schema)(reply)
    if ('value' in outcome) return outcome.value
    const [detail] = invalidShape(outcome.error).details ?? []
    const wrong = detail ? `: ${detail.path || 'the reply'} ${detail.message}` : ''
    throw new OperatorError(`${url} did not answer as a Kener 4 does${wrong}`)
  }
}

/** What may be over when it is tried again. The message completes a sentence about the server. */
class Passing extends Error {
  readonly retryAfterMs: number | undefined

  constructor(message: string, retryAfterMs?: number) {
    super(message)
    this.retryAfterMs = retryAfterMs
  }
}

/** By its code alone: the words of an error may hold what the other side sent. @throws Passing, or what is no fault of the network. */
function toPassing(error: unknown): never {
  if (error instanceof OperatorError || !(error instanceof Error)) throw error
  if (error.name === 'TimeoutError') throw new Passing('did not answer in time')
  // Of fetch's own making is what has a cause; all else is ours.
  if (error.cause === undefined) throw error
  const cause: unknown = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause
  const code =
    typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : error.name
  throw new Passing(`cannot be reached (${code})`)
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
const startMin = 1

function startOf({ start_date_time: start }: ItemThere): number {
  return typeof start === 'number' ? Math.max(Math.floor(start), startMin) : startMin
}

function isWithin({ from = startMin, to = Infinity }: Window, incident: ItemThere): boolean {
  const start = startOf(incident)
  return from <= start && start <= to
}

/**
 * In the middle of what was listed, since nobody knows what was not. Each half is smaller than the whole.
 * Undefined for a window of one second.
 */
function halve({ from, to }: Window, incidents: ItemThere[]): [Window, Window] | undefined {
  const starts = incidents.map(startOf)
  const first = Math.min(...starts)
  const last = Math.max(...starts)
  if (first === last && last === to && (first === from || first === startMin)) return undefined
  const middle = first < last ? Math.floor((first + last) / 2) : last === to ? last - 1 : last
  return [
    { from, to: middle },
    { from: middle + 1, to },
  ]
}
