import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import { createPgConfig } from '@electric-sql/pglite/node-postgres'
import { tryLock } from 'fs-native-extensions'
import type { PoolConfig } from 'pg'
import { OperatorError } from '../operator-error.ts'

/** Longest time for one message to the database, such as the execution of a statement. */
const responseTimeoutMs = 30_000

/**
 * Opens an embedded PostgreSQL (PGlite) on a directory, and creates it if it does not exist.
 * @param onFailure called if the database fails later, for example on a full disk. Only a new process can open it again.
 * @returns the options for pg.Pool; call `close` after the pool has ended
 * @throws OperatorError if the directory is not writable, or another process uses it
 */
export async function openEmbedded(
  dataDir: string,
  {
    onProgress,
    onFailure,
  }: {
    onProgress?: ((message: string) => void) | undefined
    onFailure?: ((error: Error) => void) | undefined
  },
): Promise<{ poolConfig: PoolConfig; close: () => Promise<void> }> {
  const lock = lockDirectory(dataDir)
  const pglite = await openDirectory(join(dataDir, 'postgres'), onProgress).catch((error: unknown) => {
    throw new OperatorError(
      `The embedded database in ${dataDir} cannot be opened (${describe(error)}): ` +
        'give this user the right to read and write all of it, free space on its disk, or name another DATA_DIR',
    )
  })
  return {
    // PGlite is a single connection: it must not be closed when idle, nor opened twice.
    poolConfig: {
      ...(createPgConfig(watchFailures(pglite, dataDir, onFailure) as PGlite) as PoolConfig),
      max: 1,
      idleTimeoutMillis: 0,
    },
    close: async () => {
      await pglite.close()
      closeSync(lock)
    },
  }
}

/** The part of PGlite that the connection of createPgConfig uses. */
type Protocol = Pick<PGlite, 'waitReady' | 'execProtocolStream'>

/**
 * Reports when the database has failed. After an error that ends its process, a PANIC or FATAL of a PostgreSQL server,
 * PGlite still accepts messages, and either responds out of order, never responds, or blocks the thread.
 */
export function watchFailures(
  pglite: Protocol,
  dataDir: string,
  onFailure: (error: Error) => void = () => undefined,
  timeoutMs = responseTimeoutMs,
): Protocol {
  const fail = (reason: string) => {
    onFailure(
      new OperatorError(`The embedded database in ${dataDir} has failed, and the process ends: ${reason}`),
    )
  }
  return {
    waitReady: pglite.waitReady,
    execProtocolStream: async (message, options) => {
      const timer = setTimeout(() => {
        fail(`it has not responded for ${timeoutMs / 1000} s. Is its disk full?`)
      }, timeoutMs)
      try {
        const replies = await pglite.execProtocolStream(message, options)
        const fatal = replies.find(
          (reply) => 'severity' in reply && /^(PANIC|FATAL)$/.test(String(reply.severity)),
        )
        if (fatal) fail((fatal as unknown as Error).message)
        return replies
      } catch (error) {
        fail(describe(error))
        throw error
      } finally {
        clearTimeout(timer)
      }
    },
  }
}

/**
 * Locks the directory, because PGlite does not, and two processes on it overwrite each other's commits. The kernel
 * releases the lock when the process ends in any way, so that it is never stale.
 */
function lockDirectory(dataDir: string): number {
  let file: number
  try {
    createDirectory(resolve(dataDir))
    file = openSync(join(dataDir, 'lock'), 'a')
  } catch (error) {
    throw new OperatorError(
      `DATA_DIR ${dataDir} is not writable (${(error as NodeJS.ErrnoException).code ?? String(error)}): ` +
        'give this user the right to write there, or name another directory',
    )
  }
  if (!tryLock(file)) {
    throw new OperatorError(
      `The embedded database in ${dataDir} is in use by a running server: ` +
        'use its API (such as POST /api/keys), stop it first, or use a PostgreSQL server (DATABASE_URL) for several processes',
    )
  }
  return file
}

/** Creates the missing directories of a path. With `recursive`, mkdirSync never returns under /proc. */
function createDirectory(path: string): void {
  if (existsSync(path) && statSync(path).isDirectory()) return
  if (path !== dirname(path)) createDirectory(dirname(path))
  mkdirSync(path, { mode: 0o700 })
}

/**
 * Creates a database under another name and renames it when it is complete: PGlite cannot open, nor repair, the
 * incomplete database of a killed process.
 */
async function openDirectory(directory: string, onProgress?: (message: string) => void): Promise<PGlite> {
  if (!existsSync(directory)) {
    onProgress?.(
      `Creating the embedded database in ${directory}: this takes a few seconds, on the first start only`,
    )
    const unfinished = `${directory}.unfinished`
    rmSync(unfinished, { recursive: true, force: true })
    // In a worker thread, because creating blocks the thread for seconds, during which signals would not be handled.
    await once(
      new Worker(join(import.meta.dirname, '../database/create-embedded.js'), { workerData: unfinished }),
      'exit',
    )
    renameSync(unfinished, directory)
  }
  return PGlite.create(directory)
}

/** PGlite also throws values that are not errors, such as { errno, code }. */
function describe(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error)
  if ('code' in error && typeof error.code === 'string') return error.code
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : JSON.stringify(error)
}
