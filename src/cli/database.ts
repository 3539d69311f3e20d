import type { Kysely } from 'kysely'
import type { ChangeContext } from '../audit/transaction.ts'
import { readConfig } from '../config.ts'
import { type Database, directAddress, openDatabase } from '../database/open.ts'
import { inspectServer } from '../database/prepare-server.ts'
import type { Tables } from '../database/schema.ts'
import { describeError, OperatorError } from '../operator-error.ts'
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

/** Exit codes of migrate --check, besides 0: this release can run on the schema. */
const exitCodes = { missing: 3, incompatible: 4 }

/** Compares the schema of the database with this release. */
export async function checkMigrations(io: Io): Promise<number> {
  const { databaseUrl, databaseDirectUrl } = readConfig(io.env)
  if (databaseUrl === undefined) {
    throw new OperatorError(
      'migrate --check requires DATABASE_URL: the embedded database is migrated when the server starts',
    )
  }
  const { missing, newer, incompatible } = await inspectServer(
    directAddress({ databaseUrl, databaseDirectUrl }),
  )
  const lines = [
    ...missing.map((name) => `missing ${name}\n`),
    ...newer.map((name) => `${incompatible.includes(name) ? 'incompatible' : 'newer'} ${name}\n`),
  ]
  await print(io, lines.join('') || 'up to date\n')
  if (incompatible.length > 0) return exitCodes.incompatible
  return missing.length > 0 ? exitCodes.missing : 0
}

export async function migrate(io: Io): Promise<number> {
  return withDatabase(io, async ({ applied }) => {
    const lines = applied.map((name) => `applied ${name}\n`)
    await print(io, lines.join('') || 'up to date\n')
    return 0
  })
}
