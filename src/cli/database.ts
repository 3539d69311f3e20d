import { readConfig } from '../config.ts'
import { type Database, openDatabase } from '../database/open.ts'
import { describeError } from '../operator-error.ts'
import { type Io, print, printError } from './io.ts'

/** Runs `use` with the configured database, and closes the database afterwards. */
export async function withDatabase<Result>(
  io: Io,
  use: (database: Database) => Promise<Result>,
): Promise<Result> {
  const database = await openDatabase(readConfig(io.env), {
    onProgress: (message) => {
      printError(io, `${message}\n`)
    },
    onFailure: (error) => {
      printError(io, describeError(error))
      process.exit(1)
    },
  })
  try {
    return await use(database)
  } finally {
    await database.close()
  }
}

export async function migrate(io: Io): Promise<number> {
  return withDatabase(io, async ({ applied }) => {
    const lines = applied.map((name) => `applied ${name}\n`)
    await print(io, lines.join('') || 'up to date\n')
    return 0
  })
}
