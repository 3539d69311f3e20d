import { randomUUID } from 'node:crypto'
import { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import createRouter from 'find-my-way'
import { type Kysely, sql } from 'kysely'
import pg from 'pg'
import { pino } from 'pino'
import type { Test } from 'tap'
import type { ChangeContext } from '../src/audit/transaction.ts'
import { buildApp } from '../src/app.ts'
import { type Config, readConfig } from '../src/config.ts'
import { openDatabase, type Timeouts } from '../src/database/open.ts'
import type { Tables } from '../src/database/schema.ts'
import { routerOptions } from '../src/http/not-found.ts'
import { createKey } from '../src/keys/lifecycle.ts'
import { createSecrets } from '../src/keys/secrets.ts'
import { isNetwork } from '../src/networks.ts'
import type { Permission } from '../src/permissions.ts'
import { assertNoSecret, recordKeys, sweepDatabase, watchReplies } from './sweep.ts'
import { conditionTimeoutMs } from './timeouts.ts'

/** Creates a migrated database for the test. The test fails if a secret is stored in it. */
export async function createDatabase(t: Test, { empty = false } = {}): Promise<string> {
  const name = `kener_test_${randomUUID().replaceAll('-', '')}`
  const copy = `template ${String(process.env.TEST_TEMPLATE)} ${String(process.env.TEST_COPY_OPTIONS)}`
  await onServer(`create database ${name} ${empty ? '' : copy}`)
  const url = new URL(serverUrl())
  url.pathname = `/${name}`
  t.teardown(async () => {
    try {
      await sweepDatabase(url.href)
    } finally {
      await onServer(`drop database if exists ${name} with (force)`)
    }
  })
  return url.href
}

/** One connection for all tests of this process. It does not keep the process alive. */
let server: pg.Pool | undefined

async function onServer(statement: string): Promise<void> {
  server ??= new pg.Pool({
    connectionString: serverUrl(),
    max: 1,
    allowExitOnIdle: true,
    idleTimeoutMillis: 0,
  })
  await server.query(statement)
}

function serverUrl(): string {
  const url = process.env.TEST_DATABASE_URL
  if (url === undefined) throw new Error('Run the tests with npm test: it starts the PostgreSQL they need')
  return url
}

export type Replica = {
  app: FastifyInstance
  db: Kysely<Tables>
  /** The lines of the log, parsed. */
  log: Record<string, unknown>[]
  /** All SQL statements since the start, or since the array was emptied. */
  statements: string[]
  call: Call
}

type Call = (
  key: string | null,
  route: `${'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'} ${string}`,
  body?: unknown,
  more?: InjectOptions,
) => Promise<Reply>

export type Reply = Pick<LightMyRequestResponse, 'statusCode' | 'headers' | 'body'> & {
  /** The parsed body. Any, because tests check its type. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  json: any
}

// The service's own timeouts would cause 503s on a busy machine.
export const patientTimeouts: Timeouts = { connectMs: conditionTimeoutMs, statementMs: conditionTimeoutMs }

/**
 * Starts a replica of the service on the database at `url`, by default a new one. `extend` may register more routes.
 * The rate limits are very high unless the test sets them. The test fails if a log line or an error response contains a
 * secret.
 */
export async function startReplica(
  t: Test,
  {
    url,
    config = {},
    timeouts = patientTimeouts,
    extend,
  }: {
    url?: string
    config?: Partial<Config>
    timeouts?: Timeouts
    extend?: (app: FastifyInstance) => void
  } = {},
): Promise<Replica> {
  const databaseUrl = url ?? (await createDatabase(t))
  const wide = {
    RATE_LIMIT_MAX: '1000000',
    AUTH_FAILURE_LIMIT_MAX: '1000000',
    PUBLIC_RATE_LIMIT_MAX: '1000000',
  }
  const full = { ...readConfig({ ...wide, DATABASE_URL: databaseUrl, DATABASE_POOL_MAX: '5' }), ...config }
  const statements: string[] = []
  const { db, close, ...database } = await openDatabase(full, {
    onStatement: ({ query }) => statements.push(query.sql),
    timeouts,
  })
  const log: Record<string, unknown>[] = []
  const lines: string[] = []
  const logger = pino({ level: 'trace' }, toLines(log, lines))
  const tracing = full.tracing && (await import('../src/http/tracing.ts')).startTracing(full.tracing, logger)
  const app = buildApp({ ...database, config: full, db, logger, tracing })
  const replies = watchReplies(app)
  extend?.(app)
  await app.ready()
  t.teardown(async () => {
    await app.close()
    await tracing?.shutdown()
    await close()
    for (const line of lines) assertNoSecret(line, 'the log')
    replies.sweep()
  })
  // Shared by all replicas, because compiling the description takes longer than starting a replica.
  checkReply ??= createReplyCheck(app)
  const check = checkReply
  return {
    app,
    db,
    log,
    statements,
    call: async (...args) => {
      const reply = await call(app, ...args)
      check(args[1], reply)
      return reply
    },
  }
}

let checkReply: ReturnType<typeof createReplyCheck> | undefined

/** Throws if a response does not match the OpenAPI description, or if caches may store what needs a key. */
export function createReplyCheck(app: FastifyInstance): (route: string, reply: Reply) => void {
  const document = app.swagger() as unknown as Described
  const ajv = new Ajv2020({
    strict: false,
    validateSchema: false,
    formats: { 'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'ip-network': isNetwork },
  })
  ajv.addSchema({ ...document, $id: 'openapi' })
  const paths = createRouter(routerOptions)
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, { responses }] of Object.entries(methods)) {
      const url = path.replace(/\{([a-z_]+)\}/g, ':$1')
      paths.on(method.toUpperCase() as 'GET', url, () => undefined, { path, method, responses })
    }
  }
  return (route, { statusCode, headers, body, json }) => {
    const [method = '', url = ''] = route.split(' ')
    if (headers['x-content-type-options'] !== 'nosniff') throw new Error(`${route} has no nosniff`)
    const isProtected = /^\/api(?!\/(status|v2)(\/|\?|$))/.test(url)
    if (isProtected && headers['cache-control'] !== 'no-store') throw new Error(`${route} may be cached`)
    const found = paths.find(method as 'GET', url)?.store as Found | undefined
    if (!found) return
    const name = `${method} ${found.path} ${statusCode}`
    const reply = found.responses[String(statusCode)]
    if (!reply) throw new Error(`${name} is not described`)
    if (body === '') return
    const pointer = [found.path, found.method, 'responses', String(statusCode)].map((part) =>
      part.replaceAll('~', '~0').replaceAll('/', '~1').replaceAll('{', '%7B').replaceAll('}', '%7D'),
    )
    const place = reply.$ref ?? `#/paths/${pointer.join('/')}`
    const [type = ''] = String(headers['content-type']).split(';')
    const validate = ajv.getSchema(`openapi${place}/content/${type.replaceAll('/', '~1')}/schema`)
    if (!validate) throw new Error(`${name} has no schema for ${type}`)
    if (!validate(type === 'application/json' ? json : body))
      throw new Error(`${name}: ${JSON.stringify(validate.errors)} in ${body}`)
  }
}

type Responses = Record<string, { $ref?: string }>
type Described = { paths: Record<string, Record<string, { responses: Responses }>> }
type Found = { path: string; method: string; responses: Responses }

async function call(app: FastifyInstance, ...[key, route, body, more]: Parameters<Call>): Promise<Reply> {
  const [method, url] = route.split(' ') as ['GET', string]
  const { headers, ...rest } = more ?? {}
  const {
    statusCode,
    headers: replied,
    body: text,
  } = await app.inject({
    method,
    url,
    headers: { ...(key !== null && { authorization: `Bearer ${key}` }), ...headers },
    ...(body !== undefined && { payload: body as object }),
    ...rest,
  })
  const isJson = text !== '' && String(replied['content-type']).startsWith('application/json')
  return { statusCode, headers: replied, body: text, json: isJson ? JSON.parse(text) : undefined }
}

function toLines(log: Record<string, unknown>[], lines: string[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().trim().split('\n')) {
        lines.push(line)
        log.push(JSON.parse(line) as Record<string, unknown>)
      }
      done()
    },
  })
}

/**
 * Returns a function that returns one replica to each test of a file, with empty tables, because starting a replica takes
 * longer than most tests. Only for tests that run one after the other.
 */
export function shareReplica(root: Test): () => Promise<Replica> {
  let shared: { url: string; replica: Replica } | undefined
  return async () => {
    if (!shared) {
      const url = await createDatabase(root)
      shared = { url, replica: await startReplica(root, { url }) }
      return shared.replica
    }
    const { url, replica } = shared
    await sweepDatabase(url)
    await emptyTables(replica.db)
    replica.log.length = 0
    replica.statements.length = 0
    return replica
  }
}

async function emptyTables(db: Replica['db']): Promise<void> {
  const { rows } = await sql<{ tables: string }>`
    select string_agg(tablename, ', ') as tables from pg_tables
    where schemaname = 'public' and tablename <> 'kener_api_migrations'`.execute(db)
  await sql.raw(`truncate ${String(rows[0]?.tables)} restart identity cascade`).execute(db)
}

/** The context of changes by an operator. */
export function operator(db: Kysely<Tables>, via: 'cli' | 'import' = 'cli'): ChangeContext {
  const actor = { key: null, via, address: null, request_id: null }
  return { db, actor, auditRetentionDays: 400 }
}

/** Creates a key without the API. */
export async function newKey(
  { db }: Pick<Replica, 'db'>,
  {
    name = 'test',
    permissions = ['admin'],
    rateLimit = null,
    expiresAt = null,
    monitors = null,
    allowedIps = null,
  }: {
    name?: string
    permissions?: Permission[]
    rateLimit?: number | null
    expiresAt?: Date | null
    monitors?: string[] | null
    allowedIps?: string[] | null
  } = {},
): Promise<{ token: string; id: string }> {
  const log = { info: () => undefined }
  const context = { ...operator(db), secrets: createSecrets(), log, caller: null, lifetimeMaxDays: null }
  const { token, key } = await createKey(context, {
    name,
    permissions,
    rate_limit: rateLimit,
    expires_at: expiresAt,
    monitors,
    allowed_ips: allowedIps,
  })
  recordKeys(token)
  return { token, id: key.id }
}

/** Sets the expiry of a key to the past. */
export async function expire({ db }: Pick<Replica, 'db'>, id: string): Promise<void> {
  await db
    .updateTable('api_keys')
    .set({ expires_at: new Date(Date.now() - 60_000) })
    .where('id', '=', id)
    .execute()
}

export function times<Result>(count: number, make: (index: number) => Promise<Result>): Promise<Result[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => make(index)))
}

/** Waits until the condition holds. @throws Error after conditionTimeoutMs */
export async function waitUntil(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + conditionTimeoutMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`This never became true: ${String(condition)}`)
    await delay(5)
  }
}

/** For tests that count within a minute: waits for the next minute if less than 10 s of this one are left. */
export async function waitForTimeInMinute(): Promise<void> {
  const roomMs = 10_000
  const leftMs = 60_000 - (Date.now() % 60_000)
  if (leftMs < roomMs) await delay(leftMs + 10)
}

/** True if a statement waits for a lock. */
export async function isWaitingForLock(db: Replica['db']): Promise<boolean> {
  const { rows } = await sql`
    select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`.execute(db)
  return rows.length > 0
}

export function isErrorReply(t: Test, reply: Reply, status: number, code: string, name: string): void {
  t.equal(reply.statusCode, status, `${name}: status`)
  t.equal(reply.json?.error?.code, code, `${name}: code`)
}
