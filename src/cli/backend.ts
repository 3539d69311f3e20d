import { readApiKey, readConfig } from '../config.ts'
import { DirectoryInUseError } from '../database/data-directory.ts'
import type { KeyStatus } from '../enums.ts'
import { ApiError } from '../errors.ts'
import type { NewKey } from '../keys/lifecycle.ts'
import { parseToken } from '../keys/token.ts'
import { OperatorError } from '../operator-error.ts'
import type { AuditEventObject } from '../wire/audit.ts'
import type { KeyObject, NewKeyObject } from '../wire/keys.ts'
import { createDatabaseBackend } from './database-backend.ts'
import { toChangeContext, withDatabase } from './database.ts'
import { connectToServer } from './http-backend.ts'
import type { Io } from './io.ts'
import { toFailure } from './key-options.ts'

/**
 * The database or the server that a command uses. Keys and events are objects of the API, newest first. All methods throw
 * an OperatorError if they fail.
 */
export type Backend = {
  /** Returns the time of the service, which decides about expiry. */
  now: () => Promise<Date>
  create: (attributes: NewKey) => Promise<NewKeyObject>
  list: (status: KeyStatus | undefined) => Promise<KeyObject[]>
  show: (id: string) => Promise<KeyObject>
  rotate: (id: string, rotation: Rotation) => Promise<NewKeyObject>
  revoke: (id: string) => Promise<KeyObject>
  /** Returns the audit events since a time, by default all, in pages. */
  auditEvents: (since: Date | undefined) => AsyncIterable<AuditEventObject[]>
}

type Rotation = { overlapSeconds: number; expiresAt: Date | undefined }

/**
 * Runs `use` with the configured database, or, while a server holds the embedded database, with the API of that server.
 * @param url the server whose API is used in any case
 */
export async function withBackend<Result>(
  io: Io,
  url: string | undefined,
  use: (backend: Backend) => Promise<Result>,
): Promise<Result> {
  if (url !== undefined) {
    return use(connectToServer(url, requireApiKey(io, `With --url, commands use the API of ${url}`)))
  }
  try {
    return await withDatabase(io, ({ db }) =>
      use(createDatabaseBackend(toChangeContext(io, db, 'cli'), readConfig(io.env).keyLifetimeMaxDays)),
    )
  } catch (error) {
    if (error instanceof DirectoryInUseError) return use(connectToHolder(io, error))
    throw error instanceof ApiError ? toFailure(error) : error
  }
}

function connectToHolder(io: Io, { origin, dataDir }: DirectoryInUseError): Backend {
  const inUse = `The embedded database in ${dataDir} is in use by a`
  if (origin === undefined) {
    throw new OperatorError(
      `${inUse} process that accepts no requests, such as another command or a starting server: try again`,
    )
  }
  return connectToServer(
    origin,
    requireApiKey(io, `${inUse} running server, ${origin}, and commands use its API`),
  )
}

/**
 * @param reason why a key is required
 * @throws OperatorError that does not show what the variable contains
 */
function requireApiKey({ env }: Io, reason: string): string {
  const key = readApiKey(env)
  if (key === undefined) {
    throw new OperatorError(`${reason}: set KENER_API_KEY to a key of it with the permission admin`)
  }
  // Also because fetch repeats an invalid header in its error.
  if (!parseToken(key)) {
    throw new OperatorError(
      'KENER_API_KEY is not a key of this service: check that it contains all 72 characters and nothing else',
    )
  }
  return key
}
