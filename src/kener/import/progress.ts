import type { Writable } from 'node:stream'

export type Progress = ReturnType<typeof createProgress>

/** What a long command says on the way: one line that is rewritten on a terminal, a line now and then elsewhere. */
export function createProgress(stream: Writable & { isTTY?: boolean; columns?: number }) {
  const isTerminal = stream.isTTY === true
  const intervalMs = isTerminal ? 100 : 10_000
  // A line that wraps could not be taken back. Some terminals say 0, which is to say that they do not know.
  const width = stream.columns || 80
  let updatedAt = -Infinity
  const clear = () => {
    if (isTerminal) stream.write(clearLine)
  }
  return {
    /** Where it stands; most of these are not shown. */
    update(text: string): void {
      if (performance.now() - updatedAt < intervalMs) return
      updatedAt = performance.now()
      clear()
      stream.write(isTerminal ? text.slice(0, width - 1) : `${text}\n`)
    },

    /** What has to be read. */
    print(line: string): void {
      clear()
      stream.write(`${line}\n`)
    },

    clear,
  }
}

const clearLine = '\r\u001b[K'

/**
 * What others wrote, so that it can neither break a line nor colour the terminal: JSON alone leaves those controls as
 * they are that come after ASCII, and those that turn the direction of the line.
 */
export function quote(value: unknown): string {
  const text = typeof value === 'string' && value.length > 80 ? `${value.slice(0, 79)}…` : value
  return JSON.stringify(text ?? null).replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
