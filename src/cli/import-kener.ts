import { readSourceKey } from '../config.ts'
import { isUnavailable } from '../database/failures.ts'
import { connectToKener, parseKenerUrl } from '../kener/import/client.ts'
import { createProgress, notice } from '../kener/import/progress.ts'
import { importFromKener } from '../kener/import/run.ts'
import { findKey } from '../keys/repository.ts'
import { parseToken } from '../keys/token.ts'
import { OperatorError } from '../operator-error.ts'
import { UsageError } from './arguments.ts'
import { toChangeContext, withDatabase } from './database.ts'
import type { Io } from './io.ts'

/** Returns exit code 1 if some items were skipped. */
export async function importKener(io: Io, urlText: string, dryRun: boolean): Promise<number> {
  const url = parseKenerUrl(urlText)
  if (url === undefined) {
    throw new UsageError(
      '--url must be an http or https URL like https://status.example.com, without a password, query or fragment',
    )
  }
  return withDatabase(io, async ({ db }) => {
    const progress = createProgress(io.stderr)
    const { key, variable } = readSourceKey(io.env)
    // KENER_API_KEY usually contains a key of this service, which must not be sent to another server.
    if (await findKey(db, parseToken(key)?.id ?? '')) {
      throw new OperatorError(
        `${variable} contains a key of this service: set KENER_SOURCE_API_KEY to an API key of the Kener that is imported`,
      )
    }
    const kener = connectToKener(url, key, {
      onRetry: (reason, waitMs) => {
        progress.report(reason, notice`retrying in ${Math.ceil(waitMs / 1000)} s`)
      },
    })
    try {
      return (await importFromKener({ ...toChangeContext(io, db, 'import'), kener, dryRun, progress }))
        ? 0
        : 1
    } catch (error) {
      progress.clear()
      if (!isUnavailable(error)) throw error
      throw new OperatorError(
        'The connection to the database was lost. Run the import again when the database is available: it continues where it stopped.',
      )
    }
  })
}
