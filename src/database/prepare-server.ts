import { type Kysely, sql } from 'kysely'
import type pg from 'pg'
import type { DatabaseTarget } from '../database-url.ts'
import { OperatorError } from '../operator-error.ts'
import { findSchema, migrate } from './migrate.ts'
import { createKysely, openPool } from './pool.ts'
import type { Tables } from './schema.ts'
import { configureForMigrations } from './settings.ts'

const minVersion = 14

type OnProgress = ((message: string) => void) | undefined

/** A server that is ready: its address, the applied migrations, and the schema of the tables. */
export type PreparedServer = { target: pg.PoolConfig; applied: string[]; schema: string }

/** Migrates the database of a server. @throws OperatorError if it cannot be used */
export async function prepareServer(
  { isTlsOptional, ...address }: DatabaseTarget,
  onProgress: OnProgress,
): Promise<PreparedServer> {
  const target = { ...address, application_name: 'kener-api', keepAlive: true }
  try {
    return await migrateServer(target, onProgress)
  } catch (error) {
    if (isTlsOptional && error instanceof Error && error.message === withoutTls) {
      return prepareServer({ ...address, ssl: false, isTlsOptional: false }, onProgress)
    }
    throw error instanceof OperatorError ? error : new OperatorError(explain(error), { cause: error })
  }
}

/** The message of pg, which has no code. */
const withoutTls = 'The server does not support SSL connections'

/** Uses a connection of its own, without timeouts, because a migration may take long. */
async function migrateServer(target: pg.PoolConfig, onProgress: OnProgress): Promise<PreparedServer> {
  const onConnect = configureForMigrations
  const pool = openPool({ ...target, max: 1, connectionTimeoutMillis: 5_000, onConnect }, {})
  try {
    const db = createKysely(pool, {})
    await checkServer(db)
    const schema = await findSchema(db)
    if (schema === undefined) {
      throw new OperatorError(
        'The database at DATABASE_URL has no schema that this role can use: create a schema named in its search_path',
      )
    }
    return { target, applied: await migrate(db, onProgress), schema }
  } finally {
    await pool.end()
  }
}

async function checkServer(db: Kysely<Tables>): Promise<void> {
  const { rows } = await sql<{ version: string; encoding: string }>`
    select current_setting('server_version') as version, current_setting('server_encoding') as encoding`.execute(
    db,
  )
  const { version, encoding } = rows[0] ?? { version: '', encoding: '' }
  if (Number.parseInt(version) < minVersion) {
    throw new OperatorError(`DATABASE_URL is PostgreSQL ${version}, but ${minVersion} or newer is required`)
  }
  if (encoding !== 'UTF8') {
    throw new OperatorError(
      `The database at DATABASE_URL has the encoding ${encoding}, but UTF8 is required: ` +
        "create it with ENCODING 'UTF8' TEMPLATE template0",
    )
  }
}

function explain(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const { code } = error as { code?: string }
  const hint = hints.find(({ codes, pattern }) => codes.includes(code ?? '') && pattern.test(message))?.hint
  return `The database at DATABASE_URL cannot be used: ${message}${hint ? `. ${hint}` : ''}`
}

/** Hints for the operator, by the code and the message of the error. */
const hints: { codes: string[]; pattern: RegExp; hint: string }[] = [
  {
    codes: [
      'SELF_SIGNED_CERT_IN_CHAIN',
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    ],
    pattern: /^/,
    hint: 'Add sslrootcert with the file of the certificate authority',
  },
  { codes: ['28000'], pattern: /no encryption|SSL off/, hint: 'Add sslmode=require or sslmode=verify-full' },
  {
    codes: ['42501'],
    pattern: /schema/,
    hint: 'Make the role the owner of the database, or give it a schema of its own',
  },
  {
    codes: ['42P07'],
    pattern: /^/,
    hint: 'Another application uses this schema: use another database, or another schema with ?options=-csearch_path%3DNAME',
  },
]
