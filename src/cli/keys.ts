import type { Static } from 'typebox'
import { databaseNow } from '../database/clock.ts'
import type { Database } from '../database/open.ts'
import { ApiError } from '../errors.ts'
import * as lifecycle from '../keys/lifecycle.ts'
import * as keys from '../keys/repository.ts'
import { createSecrets } from '../keys/secrets.ts'
import { OperatorError } from '../operator-error.ts'
import { fromAjvErrors } from '../wire/ajv-errors.ts'
import { CreateKey } from '../wire/keys.ts'
import { formatTime, parseTime } from '../wire/time.ts'
import { compileCoercing } from '../wire/validator.ts'
import { UsageError } from './arguments.ts'
import { withDatabase } from './database.ts'
import { type Io, print } from './io.ts'

type Options = {
  name: string
  permissions: string
  expires: string | undefined
  rateLimit: string | undefined
}

type NewKey = Static<typeof CreateKey> & {
  /** Lifetime from now on, instead of `expires_at`. */
  lifetimeMs: number | undefined
}

/** Changes are reported on stderr. */
const silent = { info: () => undefined }

export async function createKey(io: Io, options: Options): Promise<number> {
  const wanted = toNewKey(options)
  return withDatabase(io, async ({ db }) => {
    const { key, token } = await lifecycle
      .createKey(
        { db, secrets: createSecrets(), log: silent },
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
    await print(io, `${token}\n`).catch(async (error: unknown) => {
      await keys.revokeKey(db, key.id)
      throw new OperatorError(`The key could not be printed, so it was revoked: ${String(error)}`)
    })
    io.stderr.write(`Created ${describe(key)}. Copy the key now: it is not shown again.\n`)
    return 0
  })
}

export async function listKeys(io: Io): Promise<number> {
  return withDatabase(io, async ({ db }) => {
    const all = await keys.listKeys(db)
    await print(io, all.map((key) => `${describe(key)}\n`).join(''))
    if (all.length === 0) io.stderr.write('There are no keys yet: keys create makes one.\n')
    return 0
  })
}

export async function revokeKey(io: Io, id: string): Promise<number> {
  return withDatabase(io, async ({ db }) => {
    const before = await keys.findKey(db, id)
    if (!before) throw new OperatorError(`There is no key of the id ${id}: keys list shows them`)
    await keys.revokeKey(db, id)
    const outcome = before.status === 'revoked' ? 'Was revoked before' : 'Revoked'
    io.stderr.write(`${outcome}: ${JSON.stringify(before.name)}\n`)
    return 0
  })
}

/** Validates by the same schema as POST /api/keys. @throws UsageError */
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

/** Returns the milliseconds of a duration such as `30d` or `12h`, and undefined for anything else. */
function parseLifetime(text: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,4})([dh])$/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * (unit === 'd' ? 86_400_000 : 3_600_000)
}

/** Returns the message of the error, with the name of the option in place of the field's path. */
function toOptionMessage({ message, details: [detail] = [] }: ApiError): string {
  if (!detail) return message
  const option = detail.path.replace('/expires_at', '--expires').replace(/^\//, '--').replace('_', '-')
  return `${option} ${detail.message}`
}

/** Adds the lifetime to the database's time, because the database decides whether a key has expired. */
async function resolveExpiry(db: Database['db'], { expires_at, lifetimeMs }: NewKey): Promise<Date | null> {
  if (lifetimeMs !== undefined) return new Date((await databaseNow(db)).getTime() + lifetimeMs)
  return expires_at == null ? null : (parseTime(expires_at) ?? null)
}

function describe(key: keys.ApiKey): string {
  const expiry = key.expires_at ? `expires ${formatTime(key.expires_at)}` : 'never expires'
  const lastUse = key.last_used_at ? `last used ${formatTime(key.last_used_at)}` : 'never used'
  // JSON, so that a name cannot break the line or send control sequences to the terminal.
  return [key.id, key.status, JSON.stringify(key.name), key.permissions.join(','), expiry, lastUse].join('  ')
}
