import type { Kysely } from 'kysely'
import type { ChangeContext } from '../audit/transaction.ts'
import { readConfig } from '../config.ts'
import { type Database, openDatabase } from '../database/open.ts'
import type { Tables } from '../database/schema.ts'
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

/** Returns the context of changes by an operator. */
export function toChangeContext({ env }: Io, db: Kysely<Tables>, via: 'cli' | 'import'): ChangeContext {
  const { auditRetentionDays } = readConfig(env)
  return { db, actor: { key: null, via, address: null, request_id: null }, auditRetentionDays }
}

export async function migrate(io: Io): Promise<number> {
  return withDatabase(io, async ({ applied }) => {
    const lines = applied.map((name) => `applied ${name}\n`)
    await print(io, lines.join('') || 'up to date\n')
    return 0
  })
}
