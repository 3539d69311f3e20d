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
 * PostgreSQL inside this process, on a directory of its own.
 * @returns what pg.Pool takes, and what to call after that pool has ended.
 * @throws OperatorError when the directory is not writable, or another process holds it.
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
    // One connection, which is PGlite itself: it must neither be closed for idling nor opened twice.
    poolConfig: { ...(createPgConfig(pglite) as PoolConfig), max: 1, idleTimeoutMillis: 0 },
    close: async () => {
      await pglite.close()
      closeSync(lock)
    },
  }
}

/**
 * Two processes on one directory lose each other's commits, and PGlite does not keep the second one out. The lock is
 * the kernel's and belongs to the open file: it goes with the process, however that ends, and is never stale.
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
        'use its API (such as POST /api/keys), or stop it first; many may share a PostgreSQL server (DATABASE_URL)',
    )
  }
  return file
}

/**
 * Creates a database under another name and renames it once it is complete: PGlite would take what a killed process
 * leaves for a database, and never open it.
 */
async function openDirectory(directory: string, onProgress?: (message: string) => void): Promise<PGlite> {
  if (!existsSync(directory)) {
    onProgress?.(
      `Creating the embedded database in ${directory}: this takes a few seconds, on the first start only`,
    )
    const unfinished = `${directory}.unfinished`
    rmSync(unfinished, { recursive: true, force: true })
    // In a worker thread, because it blocks its thread for seconds, in which a signal could not end the process.
    await once(
      new Worker(join(import.meta.dirname, 'create-embedded.js'), { workerData: unfinished }),
      'exit',
    )
    renameSync(unfinished, directory)
  }
  return PGlite.create(directory)
}

/** PGlite also throws what is no Error, such as the file system's { errno, code }. */
function describe(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error)
  if ('code' in error && typeof error.code === 'string') return error.code
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : JSON.stringify(error)
}
