import { type Kysely, sql } from 'kysely'
import type pg from 'pg'
import type { DatabaseTarget } from '../database-url.ts'
import { OperatorError } from '../operator-error.ts'
import { compareSchema, findSchema, migrate, type SchemaState } from './migrate.ts'
import { createKysely, openPool } from './pool.ts'
import type { Tables } from './schema.ts'
import {
  assertPooledSettings,
  configureForMigrations,
  type OnConnect,
  type RequestSettings,
} from './settings.ts'

const minVersion = 14

type OnProgress = ((message: string) => void) | undefined

/** How to connect to a database, and the variable that says so, for the messages. */
export type Address = { target: DatabaseTarget; variable: string }

/** A server that is ready: its address, the applied migrations, and the schema of the tables. */
type PreparedServer = { target: pg.PoolConfig; applied: string[]; schema: string }

/** Migrates the database of a server. @throws OperatorError if it cannot be used */
export async function prepareServer(address: Address, onProgress: OnProgress): Promise<PreparedServer> {
  return withServer(address, configureForMigrations, async (db, target) => {
    const schema = await checkServer(db, address.variable)
    return { target, applied: await migrate(db, onProgress), schema }
  })
}

/** Checks the settings of a pooler in transaction mode. @throws OperatorError if it cannot be used */
export async function preparePooler(address: Address, settings: RequestSettings): Promise<pg.PoolConfig> {
  return withServer(address, undefined, async (db, target) => {
    await assertPooledSettings(db, settings)
    return target
  })
}

/** Compares the schema of a server with this release, and writes nothing. @throws OperatorError if it cannot be used */
export async function inspectServer(address: Address): Promise<SchemaState> {
  return withServer(address, configureForMigrations, async (db) => {
    await checkServer(db, address.variable)
    return compareSchema(db)
  })
}

/** Uses a connection of its own, without timeouts, because a migration may take long. */
async function withServer<Result>(
  { target: { isTlsOptional, ...address }, variable }: Address,
  onConnect: OnConnect | undefined,
  use: (db: Kysely<Tables>, target: pg.PoolConfig) => Promise<Result>,
): Promise<Result> {
  const target = { ...address, application_name: 'kener-api', keepAlive: true }
  const options = { ...target, max: 1, connectionTimeoutMillis: 5_000, preparesStatements: false }
  const pool = openPool({ ...options, ...(onConnect && { onConnect }) }, {})
  try {
    return await use(createKysely(pool, {}), target)
  } catch (error) {
    if (isTlsOptional && error instanceof Error && error.message === withoutTls) {
      const withoutSsl = { ...address, ssl: false as const, isTlsOptional: false }
      return await withServer({ target: withoutSsl, variable }, onConnect, use)
    }
    throw error instanceof OperatorError
      ? error
      : new OperatorError(explain(error, variable), { cause: error })
  } finally {
    await pool.end()
  }
}

/** The message of pg, which has no code. */
const withoutTls = 'The server does not support SSL connections'

/** @returns the schema of the tables */
async function checkServer(db: Kysely<Tables>, variable: string): Promise<string> {
  const { rows } = await sql<{ version: string; encoding: string }>`
    select current_setting('server_version') as version, current_setting('server_encoding') as encoding`.execute(
    db,
  )
  const { version, encoding } = rows[0] ?? { version: '', encoding: '' }
  if (Number.parseInt(version) < minVersion) {
    throw new OperatorError(`${variable} is PostgreSQL ${version}, but ${minVersion} or newer is required`)
  }
  if (encoding !== 'UTF8') {
    throw new OperatorError(
      `The database at ${variable} has the encoding ${encoding}, but UTF8 is required: ` +
        "create it with ENCODING 'UTF8' TEMPLATE template0",
    )
  }
  const schema = await findSchema(db)
  if (schema === undefined) {
    throw new OperatorError(
      `The database at ${variable} has no schema that this role can use: create a schema named in its search_path`,
    )
  }
  return schema
}

function explain(error: unknown, variable: string): string {
  const message = error instanceof Error ? error.message : String(error)
  const { code } = error as { code?: string }
  const hint = hints.find(({ codes, pattern }) => codes.includes(code ?? '') && pattern.test(message))?.hint
  return `The database at ${variable} cannot be used: ${message}${hint ? `. ${hint}` : ''}`
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
