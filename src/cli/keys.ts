import type { Static } from 'typebox'
import { readConfig } from '../config.ts'
import { databaseNow } from '../database/clock.ts'
import type { Database } from '../database/open.ts'
import { ApiError } from '../errors.ts'
import * as lifecycle from '../keys/lifecycle.ts'
import * as keys from '../keys/repository.ts'
import { createSecrets } from '../keys/secrets.ts'
import { OperatorError } from '../operator-error.ts'
import { quote } from '../terminal.ts'
import { fromAjvErrors } from '../wire/ajv-errors.ts'
import { CreateKey } from '../wire/keys.ts'
import { formatTime, parseTime } from '../wire/time.ts'
import { compileCoercing } from '../wire/validator.ts'
import { UsageError } from './arguments.ts'
import { withDatabase } from './database.ts'
import { type Io, print, printError, printKey } from './io.ts'

type Options = {
  name: string
  permissions: string
  expires: string | undefined
  rateLimit: string | undefined
}

type NewKey = Static<typeof CreateKey> & {
  /** Lifetime in milliseconds from now. Replaces `expires_at`. */
  lifetimeMs: number | undefined
}

/** The CLI reports changes on stderr, not in the log. */
const silentLog = { info: () => undefined }

export async function createKey(io: Io, options: Options): Promise<number> {
  const wanted = toNewKey(options)
  const { keyLifetimeMaxDays: lifetimeMaxDays } = readConfig(io.env)
  return withDatabase(io, async ({ db }) => {
    const { key, token } = await lifecycle
      .createKey(
        { db, secrets: createSecrets(), log: silentLog, caller: null, lifetimeMaxDays },
        {
          name: wanted.name,
          permissions: wanted.permissions,
          rate_limit: wanted.rate_limit ?? null,
          expires_at: await resolveExpiry(db, wanted),
        },
      )
      .catch((error: unknown) => {
        throw error instanceof ApiError ? new OperatorError(toOptionMessage(error)) : error
      })
    await printKey(io, token).catch((error: unknown) => revokeUnprinted(db, key.id, error))
    printError(io, `Created ${describe(key)}. Copy the key now: it is not shown again.\n`)
    return 0
  })
}

async function revokeUnprinted(db: Database['db'], id: string, error: unknown): Promise<never> {
  const reason = error instanceof Error ? error.message : String(error)
  await keys.revokeKey(db, id).catch((failure: unknown) => {
    throw new OperatorError(
      `The key could not be printed (${reason}), and could not be revoked either (${String(failure)}): run keys revoke ${id}`,
    )
  })
  throw new OperatorError(`The key could not be printed, so it was revoked: ${reason}`)
}

export async function listKeys(io: Io): Promise<number> {
  return withDatabase(io, async ({ db }) => {
    const all = await keys.listKeys(db)
    await print(io, all.map((key) => `${describe(key)}\n`).join(''))
    if (all.length === 0) printError(io, 'There are no keys yet. Run keys create to create one.\n')
    return 0
  })
}

export async function revokeKey(io: Io, id: string): Promise<number> {
  return withDatabase(io, async ({ db }) => {
    const key = await keys.revokeKey(db, id)
    if (!key) throw new OperatorError(`No key has the id ${quote(id)}. Run keys list to see the ids.`)
    printError(io, `Revoked ${describe(key)}\n`)
    return 0
  })
}

/** Validates the options against the schema of POST /api/keys. @throws UsageError */
function toNewKey({ name, permissions, expires, rateLimit }: Options): NewKey {
  const lifetimeMs = expires === undefined ? undefined : parseLifetime(expires)
  const wanted = {
    name,
    permissions: permissions.split(',').map((permission) => permission.trim()),
    ...(expires !== undefined && lifetimeMs === undefined && { expires_at: expires }),
    ...(rateLimit !== undefined && { rate_limit: rateLimit }),
  }
  const outcome = compileCoercing(CreateKey)(wanted)
  if ('value' in outcome) return { ...(outcome.value as Static<typeof CreateKey>), lifetimeMs }
  throw new UsageError(toOptionMessage(fromAjvErrors(outcome.error)))
}

/** Returns a duration such as `30d` or `12h` in milliseconds. Returns undefined if the text is no duration. */
function parseLifetime(text: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,4})([dh])$/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * (unit === 'd' ? 86_400_000 : 3_600_000)
}

/** Returns the error's message, with the name of the option instead of the path of the field. */
function toOptionMessage({ message, details: [detail] = [] }: ApiError): string {
  if (!detail) return message
  const option = detail.path.replace('/expires_at', '--expires').replace(/^\//, '--').replace('_', '-')
  return `${option} ${detail.message}`
}

/** Returns when the key expires. Adds a lifetime to the database's time, because that time decides about expiry. */
async function resolveExpiry(db: Database['db'], { expires_at, lifetimeMs }: NewKey): Promise<Date | null> {
  if (lifetimeMs !== undefined) return new Date((await databaseNow(db)).getTime() + lifetimeMs)
  return expires_at == null ? null : (parseTime(expires_at) ?? null)
}

function describe(key: keys.ApiKey): string {
  const expiry = key.expires_at ? `expires ${formatTime(key.expires_at)}` : 'never expires'
  const lastUse = key.last_used_at ? `last used ${formatTime(key.last_used_at)}` : 'never used'
  // Formats the name as JSON, so that it cannot break the line.
  return [key.id, key.status, JSON.stringify(key.name), key.permissions.join(','), expiry, lastUse].join('  ')
}
