import { hash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'

/** Longest reuse of a text. The rest of a second is for sending it. */
const maxAgeMs = 800

/** Age from which a request that reuses a text also starts the next computation, so that no later one waits for it. */
const refreshAgeMs = 500

/**
 * Pause between two computations of a text, in durations of the first, and at most. Requests wait for its end. Otherwise a
 * text that many clients request would be computed all the time while other clients write, because each write outdates it.
 */
const pauseFactor = 3
const maxPauseMs = 200

/** Counted for each text in addition to its length, because keeping one costs more than its text. */
const overheadBytes = 1_024

export type Text = {
  body: Buffer
  /** Identifies the body in an ETag. */
  digest: string
  /** The compressed bodies that were requested, by their encoding. */
  encoded: Map<string, Promise<Buffer>>
}

type Output = { text: Text; readAt: number; writes: number }

type Entry = {
  latest: Output | undefined
  /** The computation that is in flight, or the last one. */
  running: Promise<Text> | undefined
  /** The computation that has not started yet. */
  next: Promise<Text> | undefined
  /** End of the pause after the last computation. */
  pausesUntil: number
}

/**
 * Returns a function that returns the text of a key. Concurrent calls share one computation. Its text is reused as long
 * as this process has answered no write, for less than 1 s, because other replicas write too. So no call gets a text whose
 * computation started before a write that was answered before the call.
 *
 * @param compute if it fails, nothing is kept
 * @param countWrites returns the number of writes that were answered
 * @param maxBytes bounds what is kept: the least recently used texts are evicted. The newest one is always kept.
 */
export function createSharedTexts(
  compute: (key: string) => Promise<Buffer>,
  countWrites: () => number,
  maxBytes: number,
): (key: string) => Promise<Text> {
  /** The least recently used first. */
  const entries = new Map<string, Entry>()
  let keptBytes = 0

  /** Returns the text of the next computation, which has not started yet. */
  function computeNext(key: string, entry: Entry): Promise<Text> {
    entry.next ??= startNext(key, entry)
    return entry.next
  }

  async function startNext(key: string, entry: Entry): Promise<Text> {
    try {
      const { running } = entry
      // If it fails, the next one would fail in the same way.
      await running
      if (running && isCurrent(entry.latest)) return entry.latest.text
      const pauseMs = entry.pausesUntil - performance.now()
      // Timers truncate fractions of a millisecond, which would end the pause too early.
      if (pauseMs > 0) await delay(Math.ceil(pauseMs))
    } finally {
      entry.next = undefined
    }
    entry.running = computeText(key, entry)
    return await entry.running.finally(() => (entry.running = undefined))
  }

  async function computeText(key: string, entry: Entry): Promise<Text> {
    const start = { readAt: performance.now(), writes: countWrites() }
    const body = await compute(key)
    const now = performance.now()
    entry.pausesUntil = now + Math.min(pauseFactor * (now - start.readAt), maxPauseMs)
    const output = { text: keepEqual(entry.latest?.text, body), ...start }
    if (entries.get(key) === entry) keptBytes += sizeOf(output) - sizeOf(entry.latest)
    entry.latest = output
    evict()
    return output.text
  }

  function remove(key: string, entry: Entry): void {
    if (entries.get(key) !== entry) return
    entries.delete(key)
    keptBytes -= sizeOf(entry.latest)
  }

  function evict(): void {
    for (const [key, entry] of entries) {
      if (keptBytes <= maxBytes || entries.size === 1) return
      remove(key, entry)
    }
  }

  function isCurrent(output: Output | undefined): output is Output {
    return output?.writes === countWrites() && performance.now() - output.readAt < maxAgeMs
  }

  function refresh(key: string, entry: Entry): void {
    const isDue = entry.latest && performance.now() - entry.latest.readAt >= refreshAgeMs
    // If it fails, it fails again for the first request that needs it.
    if (isDue && !entry.running && !entry.next) computeNext(key, entry).catch(() => undefined)
  }

  return async (key) => {
    const entry = entries.get(key) ?? {
      latest: undefined,
      running: undefined,
      next: undefined,
      pausesUntil: 0,
    }
    entries.delete(key)
    entries.set(key, entry)
    if (isCurrent(entry.latest)) {
      refresh(key, entry)
      return entry.latest.text
    }
    try {
      return await computeNext(key, entry)
    } catch (error) {
      remove(key, entry)
      throw error
    }
  }
}

/** Keeps an equal text, because clients that read slowly would otherwise each keep one in memory. */
function keepEqual(previous: Text | undefined, body: Buffer): Text {
  if (previous?.body.equals(body)) return previous
  return { body, digest: hash('sha256', body, 'base64url').slice(0, 22), encoded: new Map() }
}

/** Leaves out compressed bodies, which are smaller than the text. */
function sizeOf(output: Output | undefined): number {
  return output ? output.text.body.length + overheadBytes : 0
}
