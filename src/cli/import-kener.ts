import { readKenerKey } from '../config.ts'
import { isUnavailable } from '../database/unavailable.ts'
import { connectToKener, parseKenerUrl } from '../kener/import/client.ts'
import { createProgress } from '../kener/import/progress.ts'
import { importFromKener } from '../kener/import/run.ts'
import { findKey } from '../keys/repository.ts'
import { parseToken } from '../keys/token.ts'
import { OperatorError } from '../operator-error.ts'
import { UsageError } from './arguments.ts'
import { withDatabase } from './database.ts'
import type { Io } from './io.ts'

/** Fails with exit code 1 if some items were skipped. */
export async function importKener(io: Io, urlText: string, dryRun: boolean): Promise<number> {
  const url = parseKenerUrl(urlText)
  if (url === undefined) {
    throw new UsageError('--url must be a URL like https://status.example.com, without a password')
  }
  return withDatabase(io, async ({ db }) => {
    const progress = createProgress(io.stderr)
    const key = readKenerKey(io.env)
    // README.md uses the same variable for a key of this service, which must not be sent to another server.
    if (await findKey(db, parseToken(key)?.id ?? '')) {
      throw new OperatorError(
        'KENER_API_KEY holds a key of this service: it must be one of the Kener that is imported',
      )
    }
    const kener = connectToKener(url, key, {
      onWait: (why, ms) => {
        progress.print(`${why}: trying again in ${Math.ceil(ms / 1000)} s`)
      },
    })
    try {
      return (await importFromKener({ db, kener, dryRun, progress })) ? 0 : 1
    } catch (error) {
      progress.clear()
      if (!isUnavailable(error)) throw error
      throw new OperatorError(
        'The database cannot be reached any more: run this again when it can, it goes on where it stopped',
      )
    }
  })
}
