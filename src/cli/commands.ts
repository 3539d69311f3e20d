import { permissions } from '../permissions.ts'
import { parseArguments, UsageError } from './arguments.ts'
import type { Io } from './io.ts'

export type Command = {
  name: string
  synopsis?: string
  description: string
  /** Resolves to the exit code. @throws UsageError, OperatorError */
  run: (args: string[], io: Io) => Promise<number>
}

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const

/**
 * All commands. Each loads its module when it runs, because help and usage errors need neither the database nor the
 * schemas, which take 0.3 s to load.
 */
export const commands: Command[] = [
  {
    name: 'keys create',
    synopsis: '--name NAME --permissions A,B [--expires TIME] [--rate-limit N]',
    description: `Creates a key. Prints only the key on stdout, and everything else on stderr.
--permissions: one or more of ${permissions.join(', ')}
--expires: a time like 2027-01-01T00:00:00Z, or a duration from now like 30d or 12h; without it, the key never expires
--rate-limit: requests per minute; without it, the service's default applies`,
    async run(args, io) {
      const options = { name: text, permissions: text, expires: text, 'rate-limit': text }
      const { values } = parseArguments(args, options)
      const { name, permissions, expires, 'rate-limit': rateLimit } = values
      if (name === undefined || permissions === undefined) {
        throw new UsageError('keys create requires --name and --permissions')
      }
      const { createKey } = await import('./keys.ts')
      return createKey(io, { name, permissions, expires, rateLimit })
    },
  },
  {
    name: 'keys list',
    description:
      'Lists all keys: id, status, name, permissions, expiry and last use. Secrets are never shown.',
    async run(args, io) {
      parseArguments(args, {})
      const { listKeys } = await import('./keys.ts')
      return listKeys(io)
    },
  },
  {
    name: 'keys revoke',
    synopsis: 'ID',
    description: 'Revokes the key with this id. This cannot be undone.',
    async run(args, io) {
      const [id] = parseArguments(args, {}, 1).operands
      if (id === undefined) throw new UsageError('keys revoke requires the id of a key')
      const { revokeKey } = await import('./keys.ts')
      return revokeKey(io, id)
    },
  },
  {
    name: 'migrate',
    description: 'Applies the pending migrations of the database. The server also does this when it starts.',
    async run(args, io) {
      parseArguments(args, {})
      const { migrate } = await import('./database.ts')
      return migrate(io)
    },
  },
  {
    name: 'import kener',
    synopsis: '--url URL [--dry-run]',
    description: `Imports the monitors, incidents and comments of another Kener 4. Run it again to import what has changed.
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
