/** Something that the operator can mend: the message is one line that says what and how. */
export class OperatorError extends Error {}

/** For the end of a process's main function: one line where that says it all, the whole story where it does not. */
export function explainAndExit(error: unknown): never {
  const known = error instanceof OperatorError || isListenError(error)
  const text = error instanceof Error ? (known ? explain(error) : error.stack) : String(error)
  process.stderr.write(`kener-api: ${text ?? String(error)}\n`)
  process.exit(1)
}

function explain(error: Error): string {
  return isListenError(error) ? `HOST and PORT cannot be listened on: ${error.message}` : error.message
}

/** The port is taken or forbidden, or the host is not this machine's. Node's own message names both. */
function isListenError(error: unknown): boolean {
  return (
    error instanceof Error &&
    'syscall' in error &&
    (error.syscall === 'listen' || error.syscall === 'getaddrinfo')
  )
}
