import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { OperatorError } from '../operator-error.ts'

/** Another process has locked the directory of the embedded database. */
export class DirectoryInUseError extends OperatorError {
  readonly dataDir: string
  /** Where the server that locked it listens. Undefined if it does not listen (yet), or is not a server. */
  readonly origin: string | undefined

  constructor(dataDir: string) {
    super(
      `The embedded database in ${dataDir} is in use by a running server: ` +
        'use its API (such as POST /api/keys), stop it first, or use a PostgreSQL server (DATABASE_URL) for several processes',
    )
    this.dataDir = dataDir
    this.origin = readOrigin(dataDir)
  }
}

/**
 * Locks the directory, because PGlite does not, and two processes on it overwrite each other's commits. The kernel
 * releases the lock when the process ends in any way, so that it is never stale.
 * @returns a function that releases the lock
 * @throws OperatorError if the directory is not writable, DirectoryInUseError if another process uses it
 */
export async function lockDirectory(dataDir: string): Promise<() => void> {
  // Loaded only if it is used, because it has no build for every system.
  const { tryLock } = await import('fs-native-extensions')
  const file = write(dataDir, () => {
    createDirectory(resolve(dataDir))
    return openSync(join(dataDir, 'lock'), 'a')
  })
  if (!tryLock(file)) {
    closeSync(file)
    throw new DirectoryInUseError(dataDir)
  }
  // The origin of an earlier process: another program may listen there now, and would be sent a key.
  write(dataDir, () => {
    rmSync(originFile(dataDir), { force: true })
  })
  return () => {
    closeSync(file)
  }
}

/**
 * Stores where this process listens, for commands that find the directory locked. Not in the lock file, because Windows
 * does not allow other processes to read what is locked.
 */
export function storeOrigin(dataDir: string, origin: string): void {
  // Not every system connects to the unspecified address.
  const reachable = origin.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  write(dataDir, () => {
    writeFileSync(originFile(dataDir), reachable)
  })
}

function readOrigin(dataDir: string): string | undefined {
  const file = originFile(dataDir)
  return (existsSync(file) && readFileSync(file, 'utf8')) || undefined
}

function originFile(dataDir: string): string {
  return join(dataDir, 'origin')
}

function write<Result>(dataDir: string, run: () => Result): Result {
  try {
    return run()
  } catch (error) {
    throw new OperatorError(
      `DATA_DIR ${dataDir} is not writable (${(error as NodeJS.ErrnoException).code ?? String(error)}): ` +
        'give this user the right to write there, or name another directory',
    )
  }
}

/** Creates the missing directories of a path. With `recursive`, mkdirSync never returns under /proc. */
function createDirectory(path: string): void {
  if (existsSync(path) && statSync(path).isDirectory()) return
  if (path !== dirname(path)) createDirectory(dirname(path))
  mkdirSync(path, { mode: 0o700 })
}
