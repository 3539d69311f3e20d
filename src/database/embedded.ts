import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import { createPgConfig } from '@electric-sql/pglite/node-postgres'
import { tryLock } from 'fs-native-extensions'
import type { PoolConfig } from 'pg'
import { OperatorError } from '../operator-error.ts'

/**
 * Opens an embedded PostgreSQL (PGlite) on a directory, and creates it if it does not exist.
 * @returns the options for pg.Pool; call `close` after the pool has ended
 * @throws OperatorError if the directory is not writable, or another process uses it
 */
export async function openEmbedded(
  dataDir: string,
  onProgress?: (message: string) => void,
): Promise<{ poolConfig: PoolConfig; close: () => Promise<void> }> {
  const lock = lockDirectory(dataDir)
  const pglite = await openDirectory(join(dataDir, 'postgres'), onProgress).catch((error: unknown) => {
    throw new OperatorError(
      `The embedded database in ${dataDir} cannot be opened (${describe(error)}): ` +
        'give this user the right to read and write all of it, or name another DATA_DIR',
    )
  })
  return {
    // PGlite is a single connection: it must not be closed when idle, nor opened twice.
    poolConfig: { ...(createPgConfig(pglite) as PoolConfig), max: 1, idleTimeoutMillis: 0 },
    close: async () => {
      await pglite.close()
      closeSync(lock)
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
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
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
      new Worker(join(import.meta.dirname, 'create-embedded.js'), { workerData: unfinished }),
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
