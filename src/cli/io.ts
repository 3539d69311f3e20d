import type { Writable } from 'node:stream'
import { OperatorError } from '../operator-error.ts'

/** What a command uses of its process, so that tests run commands without one. */
export type Io = {
  stdout: Writable
  stderr: Writable & { isTTY?: boolean; columns?: number }
  env: NodeJS.ProcessEnv
}

/**
 * Resolves once the text is written to stdout.
 * @throws OperatorError if it cannot be: the disk is full, or the reader of the pipe is gone
 */
export function print({ stdout }: Io, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      reject(new OperatorError(`stdout cannot be written to: ${error.message}`))
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
