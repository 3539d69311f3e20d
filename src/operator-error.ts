/** An error that the operator can fix: the message is one line that says what is wrong and how to fix it. */
export class OperatorError extends Error {}

/**
 * Returns what a process prints about the error that ends it: one line if the operator can fix it, or else the stack.
 */
export function describeError(error: unknown): string {
  const text =
    error instanceof OperatorError ? error.message : error instanceof Error ? error.stack : undefined
  return `kener-api: ${text ?? String(error)}\n`
}
