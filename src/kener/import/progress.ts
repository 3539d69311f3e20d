import type { Writable } from 'node:stream'
import { escapeLine, writeToStderr } from '../../terminal.ts'

export type Progress = ReturnType<typeof createProgress>

/** A message about an item. Its kind is the message without its values. */
export type Notice = { kind: string; text: string }

/** Creates a notice from a template. */
export function notice(parts: TemplateStringsArray, ...values: (string | number)[]): Notice {
  return { kind: parts.join('…'), text: String.raw({ raw: parts }, ...values) }
}

/** Most lines of one kind, so that a source with a million bad items does not print a million lines. */
const maxLinesOfKind = 100

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
  const linesByKind = new Map<string, number>()
  const clear = () => {
    if (isTerminal) writeToStderr(stream, clearLine)
  }
  const print = (line: string) => {
    clear()
    writeToStderr(stream, `${escapeLine(line)}\n`)
  }
  return {
    /** Shows the current state. Calls within the interval are ignored. */
    update(text: string): void {
      if (performance.now() - updatedAt < intervalMs) return
      updatedAt = performance.now()
      clear()
      const line = escapeLine(text)
      writeToStderr(stream, isTerminal ? line.slice(0, width - 1) : `${line}\n`)
    },

    /** Writes a line that stays. */
    print,

    /** Writes a line about an item. Further lines of a kind are only counted. */
    report(subject: string, { kind, text }: Notice): void {
      const lines = (linesByKind.get(kind) ?? 0) + 1
      linesByKind.set(kind, lines)
      if (lines <= maxLinesOfKind) print(`${subject}: ${text}`)
    },

    /** Writes the number of lines of each kind that were only counted. */
    printOmitted(): void {
      for (const [kind, lines] of linesByKind) {
        if (lines > maxLinesOfKind) print(`and ${lines - maxLinesOfKind} more: ${kind}`)
      }
      linesByKind.clear()
    },

    clear,
  }
}

const clearLine = '\r\u001b[K'
