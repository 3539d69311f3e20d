import { hash } from 'node:crypto'
import { batch } from '../database/batch.ts'

/** Longest reuse of a text. The rest of a second is for sending it. */
const maxAgeMs = 800

/** Age from which a request that reuses a text also starts the next computation, so that no later one waits for it. */
const refreshAgeMs = 500

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

type Entry = { latest: Output | undefined; isComputing: boolean; computeNext: (item: null) => Promise<Text> }

/**
 * Returns a function that returns the text of a key. Concurrent calls share one computation. Its text is reused as long
 * as this process has answered no write, for less than 1 s, because other replicas write too.
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

  function createEntry(key: string): Entry {
    const entry: Entry = {
      latest: undefined,
      isComputing: false,
      computeNext: batch(async (requests: null[]) => {
        const start = { readAt: performance.now(), writes: countWrites() }
        entry.isComputing = true
        const body = await compute(key).finally(() => (entry.isComputing = false))
        const output = { text: keepEqual(entry.latest?.text, body), ...start }
        if (entries.get(key) === entry) keptBytes += sizeOf(output) - sizeOf(entry.latest)
        entry.latest = output
        evict()
        return requests.map(() => output.text)
      }),
    }
    return entry
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

  function findCurrent(entry: Entry): Text | undefined {
    const { latest } = entry
    if (latest?.writes !== countWrites()) return undefined
    const ageMs = performance.now() - latest.readAt
    if (ageMs >= maxAgeMs) return undefined
    // If it fails, it fails again for the first request that needs it.
    if (ageMs >= refreshAgeMs && !entry.isComputing) entry.computeNext(null).catch(() => undefined)
    return latest.text
  }

  return async (key) => {
    const entry = entries.get(key) ?? createEntry(key)
    entries.delete(key)
    entries.set(key, entry)
    const current = findCurrent(entry)
    if (current) return current
    try {
      return await entry.computeNext(null)
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
