import type { Writable } from 'node:stream'

export type Progress = ReturnType<typeof createProgress>

/**
 * Reports the progress of a long command. On a terminal, rewrites one line; otherwise, writes a line at most every
 * 10 s, so that log files stay short.
 */
export function createProgress(stream: Writable & { isTTY?: boolean; columns?: number }) {
  const isTerminal = stream.isTTY === true
  const intervalMs = isTerminal ? 100 : 10_000
  // A wrapped line cannot be erased. Terminals that do not know their width report 0.
  const width = stream.columns || 80
  let updatedAt = -Infinity
  const clear = () => {
    if (isTerminal) stream.write(clearLine)
  }
  return {
    /** Shows the current state. Calls within the interval are ignored. */
    update(text: string): void {
      if (performance.now() - updatedAt < intervalMs) return
      updatedAt = performance.now()
      clear()
      stream.write(isTerminal ? text.slice(0, width - 1) : `${text}\n`)
    },

    /** Writes a line that stays. */
    print(line: string): void {
      clear()
      stream.write(`${line}\n`)
    },

    clear,
  }
}

const clearLine = '\r\u001b[K'

/**
 * Formats untrusted text so that it can neither break the line nor send control sequences to the terminal. JSON leaves
 * C1 controls, line separators and bidirectional controls as they are, so they are escaped here.
 */
export function quote(value: unknown): string {
  const text = typeof value === 'string' && value.length > 80 ? `${value.slice(0, 79)}…` : value
  return JSON.stringify(text ?? null).replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
