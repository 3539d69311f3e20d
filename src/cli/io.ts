import type { Writable } from 'node:stream'

/** What a command uses of its process, so that tests run commands without one. */
export type Io = {
  stdout: Writable
  stderr: Writable & { isTTY?: boolean; columns?: number }
  env: NodeJS.ProcessEnv
}

/** Resolves once the text is written. Rejects if it cannot be: the disk is full, or the reader of the pipe is gone. */
export function print(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // Node also emits the error, which ends the process if there is no listener.
    stream.once('error', reject)
    stream.write(text, (error) => {
      if (error) {
        reject(error)
      } else {
        stream.off('error', reject)
        resolve()
      }
    })
  })
}
