import { existsSync, fstatSync, readFileSync, statSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { OperatorError } from '../operator-error.ts'
import { escapeText, writeToStderr } from '../terminal.ts'

/** The parts of the process that commands use, so that tests can run commands within their own process. */
export type Io = {
  stdout: Writable & { fd?: number | undefined }
  stderr: Writable & { isTTY?: boolean; columns?: number }
  env: NodeJS.ProcessEnv
}

/** The reader of stdout has closed the pipe, such as `head`, which has what it wants. */
export class BrokenPipeError extends OperatorError {}

/**
 * Writes the text to stdout, with control characters escaped, and resolves once it is written.
 * @throws OperatorError if stdout cannot be written to, for example because the disk is full or the pipe is closed
 */
export async function print({ stdout }: Pick<Io, 'stdout'>, text: string): Promise<void> {
  const written = new Promise<void>((resolve, reject) => {
    // The stream also emits the error, which ends the process if there is no listener.
    stdout.once('error', reject)
    // A file is written to synchronously, so that a full disk throws here.
    stdout.write(escapeText(text), (error) => {
      if (error) {
        reject(error)
      } else {
        stdout.off('error', reject)
        resolve()
      }
    })
  })
  await written.catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException
    const Failure = code === 'EPIPE' ? BrokenPipeError : OperatorError
    throw new Failure(`Cannot write to stdout: ${message}`)
  })
}

/** Prints a key, which is not stored anywhere else. @throws OperatorError as print, and if stdout is closed */
export async function printKey(io: Io, token: string): Promise<void> {
  assertOpen(io)
  await print(io, `${token}\n`)
}

/** @throws OperatorError if stdout is closed */
export function assertOpen({ stdout }: Io): void {
  if (isClosed(stdout)) throw new OperatorError('Cannot write to stdout: it is closed')
}

/**
 * True if the process was started without stdout. Node.js then opens the null device in its place, for reading and
 * writing. A shell opens it only for writing, so that `> /dev/null` is not taken for a closed stdout. False if the
 * operating system does not tell, as only Linux does.
 */
function isClosed({ fd }: Io['stdout']): boolean {
  const info = `/proc/self/fdinfo/${fd}`
  if (fd === undefined || !existsSync(info) || fstatSync(fd).rdev !== statSync('/dev/null').rdev) return false
  const [, flags = ''] = /^flags:\s*([0-7]+)$/m.exec(readFileSync(info, 'utf8')) ?? []
  return (Number.parseInt(flags, 8) & accessMode) === readAndWrite
}

/** O_ACCMODE and O_RDWR of Linux. */
const accessMode = 0o3
const readAndWrite = 0o2

/** Writes the text to stderr, with control characters escaped. */
export function printError({ stderr }: Io, text: string): void {
  writeToStderr(stderr, escapeText(text))
}
