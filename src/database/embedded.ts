import { once } from 'node:events'
import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import { createPgConfig } from '@electric-sql/pglite/node-postgres'
import type { PoolConfig } from 'pg'
import { OperatorError } from '../operator-error.ts'

/** Longest time for one message to the database, such as the execution of a statement. */
const responseTimeoutMs = 30_000

/**
 * Opens an embedded PostgreSQL (PGlite) in a locked directory, and creates it if it does not exist.
 * @param onFailure called if the database fails later, for example on a full disk. Only a new process can open it again.
 * @returns the options for pg.Pool; call `close` after the pool has ended
 * @throws OperatorError if it cannot be opened
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
    close: () => pglite.close(),
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
      // PGlite blocks the thread and settles its promises at once, so that a long transaction would use a single turn of
      // the event loop, in which no connection is served.
      await nextTurn()
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
      new Worker(join(import.meta.dirname, '../bundle/create-embedded.js'), { workerData: unfinished }),
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
