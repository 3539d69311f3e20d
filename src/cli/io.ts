import type { Writable } from 'node:stream'
import { OperatorError } from '../operator-error.ts'

/** The parts of the process that commands use, so that tests can run commands within their own process. */
export type Io = {
  stdout: Writable
  stderr: Writable & { isTTY?: boolean; columns?: number }
  env: NodeJS.ProcessEnv
}

/**
 * Writes the text to stdout, and resolves once it is written.
 * @throws OperatorError if stdout cannot be written to, for example because the disk is full or the pipe is closed
 */
export function print({ stdout }: Io, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      reject(new OperatorError(`Cannot write to stdout: ${error.message}`))
    }
    // The stream also emits the error, which ends the process if there is no listener.
    stdout.once('error', fail)
    stdout.write(text, (error) => {
      if (error) {
        fail(error)
      } else {
        stdout.off('error', fail)
        resolve()
      }
    })
  })
}
