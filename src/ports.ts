import { once } from 'node:events'
import { createServer } from 'node:net'
import { OperatorError } from './operator-error.ts'

/**
 * Checks that a port can be listened on, before a start does anything that lasts. Another process may still take the
 * port until the service itself listens, which then fails with the same error. Connections that arrive during the check
 * are reset.
 * @param variable what sets the port, for the error
 * @throws OperatorError
 */
export async function assertPortFree(variable: string, host: string, port: number): Promise<void> {
  const server = createServer().listen({ host, port })
  try {
    await once(server, 'listening')
  } catch (error) {
    throw toPortError(variable, error)
  }
  server.close()
  await once(server, 'close')
}

/**
 * Returns an OperatorError if the error is about listening: the port is in use or not permitted, or the host is not
 * this machine's.
 */
export function toPortError(variable: string, error: unknown): unknown {
  const isListenError =
    error instanceof Error &&
    'syscall' in error &&
    (error.syscall === 'listen' || error.syscall === 'getaddrinfo')
  return isListenError ? new OperatorError(`${variable} cannot be listened on: ${error.message}`) : error
}
