#!/usr/bin/env node
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { loadEnvFile, readConfig, readKenerKey } from './config.ts'
import { readClock } from './database/clock.ts'
import { type ApiKey, findKey, listKeys, revokeKey } from './database/keys.ts'
import { type Database, openDatabase } from './database/open.ts'
import { isUnavailable } from './database/unavailable.ts'
import { ApiError } from './errors.ts'
import { connectKener, parseKenerUrl } from './kener/client.ts'
import { importFromKener } from './kener/import.ts'
import { createProgress } from './kener/progress.ts'
import { parseKey } from './keys/format.ts'
import * as lifecycle from './keys/lifecycle.ts'
import { createSecrets } from './keys/secrets.ts'
import { describeError, OperatorError } from './operator-error.ts'
import type { Static } from 'typebox'
import { invalidShape } from './schemas/invalid-shape.ts'
import { CreateKey } from './schemas/keys.ts'
import { formatTime, parseTime } from './schemas/time.ts'
import { compileText } from './schemas/validator.ts'

const usage = `Usage:
  keys create --name NAME --permissions A,B [--expires TIME] [--rate-limit N]
      prints the new key, and nothing else, on stdout
      TIME: 2027-01-01T00:00:00Z, or from now on: 30d, 12h
      N: requests a minute
  keys list
  keys revoke ID
  migrate
  import kener --url URL [--dry-run]
      brings the monitors and incidents of a Kener 4 here, whose API key is in KENER_API_KEY; again, what has changed
      --dry-run: says what would be done
`

/** What changes here is told on the terminal. */
const silent = { info: () => undefined }

const option = { type: 'string' } as const

/** The command line itself is wrong: exit code 2. */
class UsageError extends Error {}

await run(process.argv.slice(2)).catch((error: unknown) => {
  const isUsage = error instanceof UsageError
  process.stderr.write(isUsage ? `kener-api: ${error.message}\n\n${usage}` : describeError(error))
  process.exit(isUsage ? 2 : 1)
})

async function run([first = '', ...rest]: string[]): Promise<void> {
  if (['help', '--help', '-h'].includes(first)) {
    process.stdout.write(usage)
    return
  }
  if (first === 'migrate') {
    expectNoMore(rest)
    await withDatabase(reportMigrations)
    return
  }
  const [second = '', ...more] = rest
  if (first === 'import') {
    if (second !== 'kener')
      throw new UsageError(second ? `There is no command import ${second}` : 'import kener?')
    const { url, dryRun } = readImport(more)
    await withDatabase((database) => importKener(database, url, dryRun))
    return
  }
  if (first !== 'keys') throw new UsageError(first ? `There is no command ${first}` : 'Which command?')
  if (second === 'create') {
    const wanted = readNewKey(more)
    await withDatabase((database) => createKey(database, wanted))
  } else if (second === 'list') {
    expectNoMore(more)
    await withDatabase(printKeys)
  } else if (second === 'revoke') {
    const [id, ...excess] = more
    if (id === undefined || id.startsWith('-')) throw new UsageError('keys revoke takes the id of a key')
    expectNoMore(excess)
    await withDatabase((database) => revoke(database, id))
  } else {
    throw new UsageError(second ? `There is no command keys ${second}` : 'keys create, list or revoke?')
  }
}

async function withDatabase(use: (database: Database) => Promise<void>): Promise<void> {
  loadEnvFile()
  const database = await openDatabase(readConfig(process.env))
  try {
    await use(database)
  } finally {
    await database.close()
  }
}

function reportMigrations({ applied }: Database): Promise<void> {
  process.stdout.write(
    applied.length > 0 ? applied.map((name) => `applied ${name}\n`).join('') : 'up to date\n',
  )
  return Promise.resolve()
}

async function createKey({ db }: Database, wanted: WantedKey): Promise<void> {
  const { stored, text } = await lifecycle
    .createKey(
      { db, secrets: createSecrets(), log: silent },
      {
        name: wanted.name,
        permissions: wanted.permissions,
        rateLimit: wanted.rate_limit ?? null,
        expiresAt: await toExpiry(db, wanted),
      },
    )
    .catch((error: unknown) => {
      throw error instanceof ApiError ? new OperatorError(inOptions(error)) : error
    })
  await print(`${text}\n`).catch(async (error: unknown) => {
    await revokeKey(db, stored.id)
    throw new OperatorError(`The key could not be printed, so it was revoked: ${String(error)}`)
  })
  process.stderr.write(`Created ${describe(stored)}. Copy the key now: it is not shown again.\n`)
}

/** Now is what the database says: it will judge the expiry, whatever the clock is here. */
async function toExpiry(db: Database['db'], { expires_at, lifetimeMs }: WantedKey): Promise<Date | null> {
  if (lifetimeMs !== undefined) return new Date((await readClock(db)).getTime() + lifetimeMs)
  return expires_at == null ? null : (parseTime(expires_at) ?? null)
}

async function printKeys({ db }: Database): Promise<void> {
  const keys = await listKeys(db)
  await print(keys.map((key) => `${describe(key)}\n`).join(''))
  if (keys.length === 0) process.stderr.write('There are no keys yet: keys create makes one.\n')
}

async function revoke({ db }: Database, id: string): Promise<void> {
  const before = await findKey(db, id)
  if (!before) throw new OperatorError(`There is no key of the id ${id}: keys list shows them`)
  await revokeKey(db, id)
  process.stderr.write(
    `${before.status === 'revoked' ? 'Was revoked before' : 'Revoked'}: ${JSON.stringify(before.name)}\n`,
  )
}

async function importKener({ db }: Database, url: string, dryRun: boolean): Promise<void> {
  const progress = createProgress(process.stderr)
  const key = readKenerKey(process.env)
  // The same variable holds a key of ours for those who follow the README; it must not go elsewhere.
  if (await findKey(db, parseKey(key)?.id ?? '')) {
    throw new OperatorError(
      'KENER_API_KEY holds a key of this service: it must be one of the Kener that is imported',
    )
  }
  const kener = connectKener(url, key, {
    onWait: (why, ms) => {
      progress.tell(`${why}: trying again in ${Math.ceil(ms / 1000)} s`)
    },
  })
  try {
    const isWhole = await importFromKener({ db, kener, dryRun, progress })
    if (!isWhole) process.exitCode = 1
  } catch (error) {
    progress.clear()
    if (!isUnavailable(error)) throw error
    throw new OperatorError(
      'The database cannot be reached any more: run this again when it can, it goes on where it stopped',
    )
  }
}

function describe(key: ApiKey): string {
  const expiry = key.expires_at ? `expires ${formatTime(key.expires_at)}` : 'never expires'
  const lastUse = key.last_used_at ? `last used ${formatTime(key.last_used_at)}` : 'never used'
  // JSON, so that a name cannot break a line or colour the terminal.
  return [key.id, key.status, JSON.stringify(key.name), key.permissions.join(','), expiry, lastUse].join('  ')
}

/** Fails when nobody takes it: a full disk, a pipe whose reader has gone. */
function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.once('error', reject)
    process.stdout.write(text, (error) => {
      if (error) reject(error)
      else resolve()
    })
  })
}

type WantedKey = Static<typeof CreateKey> & {
  /** Instead of `expires_at`: from now on. */
  lifetimeMs: number | undefined
}

/** By the same schema as POST /api/keys. @throws UsageError */
function readNewKey(args: string[]): WantedKey {
  const {
    name,
    permissions,
    expires,
    'rate-limit': rateLimit,
  } = parseOptions(args, { name: option, permissions: option, expires: option, 'rate-limit': option })
  if (name === undefined || permissions === undefined) {
    throw new UsageError('keys create takes --name and --permissions')
  }
  const lifetimeMs = expires === undefined ? undefined : parseLifetime(expires)
  const wanted = {
    name,
    permissions: permissions.split(',').map((permission) => permission.trim()),
    ...(expires !== undefined && lifetimeMs === undefined && { expires_at: expires }),
    ...(rateLimit !== undefined && { rate_limit: rateLimit }),
  }
  const outcome = compileText(CreateKey)(wanted)
  if ('value' in outcome) return { ...(outcome.value as Static<typeof CreateKey>), lifetimeMs }
  throw new UsageError(inOptions(invalidShape(outcome.error)))
}

/** What is wrong with a field, said of the option that it came from. */
function inOptions({ message, details: [detail] = [] }: ApiError): string {
  if (!detail) return message
  const option = detail.path.replace('/expires_at', '--expires').replace(/^\//, '--').replace('_', '-')
  return `${option} ${detail.message}`
}

/** @throws UsageError */
function readImport(args: string[]): { url: string; dryRun: boolean } {
  const { url: text, 'dry-run': dryRun = false } = parseOptions(args, {
    url: option,
    'dry-run': { type: 'boolean' },
  })
  if (text === undefined) throw new UsageError('import kener takes --url')
  const url = parseKenerUrl(text)
  if (url === undefined)
    throw new UsageError('--url must be a URL like https://status.example.com, without a password')
  return { url, dryRun }
}

function parseOptions<Options extends NonNullable<ParseArgsConfig['options']>>(
  args: string[],
  options: Options,
) {
  try {
    return parseArgs({ args, options, strict: true }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

/** `30d` and `12h`, in milliseconds; undefined for anything else. */
function parseLifetime(text: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,4})([dh])$/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * (unit === 'd' ? 86_400_000 : 3_600_000)
}

function expectNoMore(args: string[]): void {
  if (args[0] !== undefined) throw new UsageError(`Unexpected argument ${args[0]}`)
}
