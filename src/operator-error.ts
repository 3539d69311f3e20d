import { escapeLine, escapeText } from './terminal.ts'

/** An error that the operator can fix: the message is one line that says what is wrong and how to fix it. */
export class OperatorError extends Error {}

/**
 * Returns what a process prints about the error that ends it: one line if the operator can fix it, or else the stack.
 */
export function describeError(error: unknown): string {
  if (error instanceof OperatorError) return `kener-api: ${escapeLine(error.message)}\n`
  return `kener-api: ${escapeText((error instanceof Error ? error.stack : undefined) ?? String(error))}\n`
}
