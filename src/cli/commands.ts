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
 * All commands. Each loads its module when it runs: the database and the schemas take 0.3 s to load, which neither help
 * nor a usage error needs.
 */
export const commands: Command[] = [
  {
    name: 'keys create',
    synopsis: '--name NAME --permissions A,B [--expires TIME] [--rate-limit N]',
    description: `Creates a key, and prints only the key on stdout.
TIME: 2027-01-01T00:00:00Z, or a duration from now: 30d, 12h
N: requests per minute`,
    async run(args, io) {
      const {
        name,
        permissions,
        expires,
        'rate-limit': rateLimit,
      } = parseArguments(args, {
        name: text,
        permissions: text,
        expires: text,
        'rate-limit': text,
      }).values
      if (name === undefined || permissions === undefined) {
        throw new UsageError('keys create takes --name and --permissions')
      }
      const { createKey } = await import('./keys.ts')
      return createKey(io, { name, permissions, expires, rateLimit })
    },
  },
  {
    name: 'keys list',
    description: 'Lists all keys, without their secrets.',
    async run(args, io) {
      parseArguments(args, {})
      const { listKeys } = await import('./keys.ts')
      return listKeys(io)
    },
  },
  {
    name: 'keys revoke',
    synopsis: 'ID',
    description: 'Revokes a key. This cannot be undone.',
    async run(args, io) {
      const [id] = parseArguments(args, {}, 1).operands
      if (id === undefined) throw new UsageError('keys revoke takes the id of a key')
      const { revokeKey } = await import('./keys.ts')
      return revokeKey(io, id)
    },
  },
  {
    name: 'migrate',
    description: 'Applies the migrations that are missing.',
    async run(args, io) {
      parseArguments(args, {})
      const { migrate } = await import('./database.ts')
      return migrate(io)
    },
  },
  {
    name: 'import kener',
    synopsis: '--url URL [--dry-run]',
    description: `Imports the monitors and incidents of another Kener 4, whose API key is in KENER_API_KEY.
If it runs again, it imports what has changed.
--dry-run: reports what would be done`,
    async run(args, io) {
      const { url, 'dry-run': dryRun = false } = parseArguments(args, { url: text, 'dry-run': flag }).values
      if (url === undefined) throw new UsageError('import kener takes --url')
      const { importKener } = await import('./import-kener.ts')
      return importKener(io, url, dryRun)
    },
  },
]
