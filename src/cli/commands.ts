import { keyStatuses } from '../enums.ts'
import { permissions } from '../permissions.ts'
import { parseArguments, UsageError } from './arguments.ts'
import type { Io } from './io.ts'

export type Command = {
  name: string
  synopsis?: string
  /** One line, for the list of all commands. */
  summary: string
  /** Follows the summary in the help of the command. */
  description: string
  /** Resolves to the exit code. @throws UsageError, OperatorError */
  run: (args: string[], io: Io) => Promise<number>
}

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const

const settingsHelp =
  'Settings are environment variables or lines of the file .env, such as PORT=3001 or DATABASE_URL=postgres://...'

const urlHelp = `--url: uses the API of the server at this address, with the key in the environment variable KENER_API_KEY; without it,
  this happens only while a server holds the embedded database`

/**
 * All commands. Each loads its module when it runs, because help and usage errors need neither the database nor the
 * schemas, which take 0.3 s to load.
 */
export const commands: Command[] = [
  {
    name: 'serve',
    summary: 'Starts the service. This is the default',
    description: `Without DATABASE_URL, it uses an embedded PostgreSQL in ./data, which the first start creates. The first start also
prints an admin key.
${settingsHelp}.`,
    async run(args) {
      try {
        parseArguments(args, {})
      } catch (error) {
        throw error instanceof UsageError ? new UsageError(`${error.message}. ${settingsHelp}`) : error
      }
      await import('../server.ts')
      return 0
    },
  },
  {
    name: 'keys create',
    synopsis:
      '--name NAME --permissions A,B [--expires WHEN] [--rate-limit N] [--monitors A,B] [--allowed-ips A,B] [--description TEXT] [--url URL]',
    summary: 'Creates a key',
    description: `Prints only the key on stdout, and everything else on stderr.
--permissions: one or more of ${permissions.join(', ')}
--expires: a time like 2027-01-01T00:00:00Z, or a duration from now like 30d or 12h; without it, the key never expires,
  or at the end of KEY_LIFETIME_MAX_DAYS
--rate-limit: requests per minute; without it, the service's default applies
--monitors: tags, or starts of tags followed by *, like 'website,payments-*'; without it, all monitors
--allowed-ips: IPv4 or IPv6 addresses or CIDRs like 203.0.113.7,2001:db8::/32; without it, any address
${urlHelp}`,
    async run(args, io) {
      const options = {
        name: text,
        permissions: text,
        expires: text,
        'rate-limit': text,
        monitors: text,
        'allowed-ips': text,
        description: text,
        url: text,
      }
      const { name, permissions, ...rest } = parseArguments(args, options).values
      if (name === undefined || permissions === undefined) {
        throw new UsageError('keys create requires --name and --permissions')
      }
      const { createKey } = await import('./keys.ts')
      return createKey(io, { name, permissions, ...rest })
    },
  },
  {
    name: 'keys list',
    synopsis: '[--status STATUS] [--json] [--url URL]',
    summary: 'Lists keys, newest first',
    description: `Prints id, status, name, permissions, expiry, last use, and what a key is bound to. Secrets are never shown.
--status: ${keyStatuses.join(', ')}; without it, all keys
--json: prints an array of the key objects of the API
${urlHelp}`,
    async run(args, io) {
      const { status, ...rest } = parseArguments(args, { status: text, json: flag, url: text }).values
      const wanted = keyStatuses.find((known) => known === status)
      if (status !== wanted) throw new UsageError(`--status must be one of ${keyStatuses.join(', ')}`)
      const { listKeys } = await import('./keys.ts')
      return listKeys(io, { status: wanted, ...rest })
    },
  },
  {
    name: 'keys show',
    synopsis: 'ID [--json] [--url URL]',
    summary: 'Prints all fields of a key, except its secret',
    description: `--json: prints the key object of the API
${urlHelp}`,
    async run(args, io) {
      const { values, operands } = parseArguments(args, { json: flag, url: text }, 1)
      const id = requireId('keys show', operands)
      const { showKey } = await import('./keys.ts')
      return showKey(io, id, values)
    },
  },
  {
    name: 'keys rotate',
    synopsis: 'ID [--overlap DURATION] [--expires WHEN] [--url URL]',
    summary: 'Replaces a key by a new one that may do the same',
    description: `Prints only the new key on stdout.
--overlap: how long the old key remains valid, like 30m, 1h or 7d; without it, the old key expires at once
--expires: when the new key expires, as for keys create; without it, when the old key would have expired
${urlHelp}`,
    async run(args, io) {
      const { values, operands } = parseArguments(args, { overlap: text, expires: text, url: text }, 1)
      const id = requireId('keys rotate', operands)
      const { rotateKey } = await import('./keys.ts')
      return rotateKey(io, id, values)
    },
  },
  {
    name: 'keys revoke',
    synopsis: 'ID [--url URL]',
    summary: 'Revokes a key. This cannot be undone',
    description: urlHelp,
    async run(args, io) {
      const { values, operands } = parseArguments(args, { url: text }, 1)
      const id = requireId('keys revoke', operands)
      const { revokeKey } = await import('./keys.ts')
      return revokeKey(io, id, values)
    },
  },
  {
    name: 'audit',
    synopsis: '[--since WHEN] [--json] [--url URL]',
    summary: 'Lists audit events, newest first',
    description: `Prints time, action, target, the key that made the change, and the changed fields with their values before and after.
--since: a time like 2026-01-01T00:00:00Z, or a duration before now like 7d or 12h; without it, all events
--json: prints an array of the event objects of the API
${urlHelp}`,
    async run(args, io) {
      const options = parseArguments(args, { since: text, json: flag, url: text }).values
      const { listAuditEvents } = await import('./audit.ts')
      return listAuditEvents(io, options)
    },
  },
  {
    name: 'migrate',
    synopsis: '[--check]',
    summary: 'Applies the pending migrations of the database',
    description: `The service also does this when it starts.
--check: writes nothing; the exit code is 0 if this release can run on the schema of the database (also if a newer
  release has migrated it), 3 if migrations are missing, 4 if a newer release has made it incompatible`,
    async run(args, io) {
      const { check = false } = parseArguments(args, { check: flag }).values
      const { checkMigrations, migrate } = await import('./database.ts')
      return check ? checkMigrations(io) : migrate(io)
    },
  },
  {
    name: 'import kener',
    synopsis: '--url URL [--dry-run]',
    summary: 'Imports the monitors, incidents and comments of another Kener 4',
    description: `Run it again to import what has changed.
--url: the address of that Kener
--dry-run: prints what an import would do, and writes nothing
The environment variable KENER_SOURCE_API_KEY must contain an API key of that Kener. If it is not set, KENER_API_KEY
is read instead.`,
    async run(args, io) {
      const { url, 'dry-run': dryRun = false } = parseArguments(args, { url: text, 'dry-run': flag }).values
      if (url === undefined) throw new UsageError('import kener requires --url')
      const { importKener } = await import('./import-kener.ts')
      return importKener(io, url, dryRun)
    },
  },
]

function requireId(command: string, [id]: string[]): string {
  if (id === undefined) throw new UsageError(`${command} requires the id of a key`)
  return id
}
