import type { Writable } from 'node:stream'

/**
 * Control characters (C0, C1), lone surrogates, line and paragraph separators, and bidirectional controls: they can move
 * the cursor, reorder a line, or send commands to a terminal.
 */
const controls = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu

/** Escapes what is printed, except line breaks. Inside a JSON string, the escapes keep the meaning of the JSON. */
export function escapeText(text: string): string {
  return text.replace(controls, (character) => (character === '\n' ? character : toEscape(character)))
}

/** Escapes one line of output, so that the text cannot begin another one. */
export function escapeLine(text: string): string {
  return text.replace(controls, toEscape)
}

function toEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Longest untrusted text in a message, in characters. */
const maxQuotedLength = 80

/** Formats an untrusted value for a message: a text is quoted, escaped and truncated, an object is only named. */
export function quote(value: unknown): string {
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object' && value !== null) return 'an object'
  const isLong = typeof value === 'string' && value.length > maxQuotedLength
  return escapeLine(JSON.stringify(isLong ? `${value.slice(0, maxQuotedLength - 1)}…` : (value ?? null)))
}

/** Writes to stderr. Ignores a failure, because it cannot be reported anywhere. */
export function writeToStderr(stderr: Writable, text: string): void {
  // Without a listener, a closed pipe ends the process.
  if (stderr.listenerCount('error') === 0) stderr.on('error', () => undefined)
  try {
    stderr.write(text)
  } catch {
    // Files are written to synchronously: the disk is full.
  }
}
