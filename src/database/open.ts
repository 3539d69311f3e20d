import type { Kysely, LogEvent } from 'kysely'
import type { Config } from '../config.ts'
import { parseDatabaseUrl } from '../database-url.ts'
import { analyzeRegularly } from './analyze.ts'
import { lockDirectory } from './data-directory.ts'
import { lockTimeouts } from './locks.ts'
import { migrate } from './migrate.ts'
import {
  addConnections,
  type Connections,
  createKysely,
  openPool,
  replaceBrokenConnections,
  rerunWhileLocked,
  toConnections,
  unresponsiveMs,
} from './pool.ts'
import { type Address, preparePooler, prepareServer } from './prepare-server.ts'
import type { Tables } from './schema.ts'
import { configureEmbedded, configureForRequests } from './settings.ts'

export type Database = {
  /** For requests, except their admission. Statements and transactions are run again while a lock is held. */
  db: Kysely<Tables>
  /**
   * For short statements that serve several callers, so that they never wait for a connection that other requests use.
   * They fail after lock_timeout, because only the callers concerned may wait for a lock. Uses the connections of `db` if
   * there are fewer than seven connections.
   */
  batchDb: Kysely<Tables>
  /**
   * For pages of whole lists, which serve several callers but take longer: they and the other requests never wait for each
   * other. Uses the connections of `db` if there are fewer than ten connections.
   */
  listDb: Kysely<Tables>
  /**
   * For what every request needs (keys, quotas, panel sessions) and readiness, so that they never wait for a connection
   * that other statements use. The same as `db` if there is only one connection.
   */
  admissionDb: Kysely<Tables>
  /**
   * For background jobs, with a longer timeout, so that they never take the connection of a request. The same as `db` if
   * there are fewer than three connections.
   */
  jobs: Kysely<Tables>
  /** Names of the migrations that were applied on opening. */
  applied: string[]
  /** Longest wait, in memory, for a lock that another transaction holds. */
  maxLockWaitMs: number
  connections: () => Connections
  close: () => Promise<void>
}

/**
 * The longest wait for a connection, for a statement, and, again, for locks that other transactions hold. Admission has
 * less time for a statement, because the statements of the request follow: if commits wait for a synchronous standby, a
 * request takes up to the sum.
 */
export const requestTimeouts: Timeouts = { connectMs: 2_000, statementMs: 2_000, admissionStatementMs: 1_500 }

export type Timeouts = {
  connectMs: number
  statementMs: number
  /** By default statementMs. */
  admissionStatementMs?: number
  /** By default that of lockTimeouts. */
  admissionLockMs?: number
}

type Limits = { statementMs: number; lockMs: number }

/** Longest statement of a background job. */
const jobStatementMs = 60_000

type Options = {
  /** By default requestTimeouts. */
  timeouts?: Timeouts
  /** Called before each step that may take seconds, with a message for the operator. */
  onProgress?: ((message: string) => void) | undefined
  onConnectionError?: (error: Error) => void
  /** Called when the embedded database has failed: the process must end. */
  onFailure?: (error: Error) => void
  onStatement?: (event: LogEvent) => void
}

/**
 * Opens the database that the configuration names, embedded or a server, and brings its schema up to date.
 * @throws OperatorError
 */
export async function openDatabase(
  { databaseUrl, ...config }: DatabaseConfig,
  options: Options = {},
): Promise<Database> {
  return databaseUrl === undefined
    ? openInProcess(config.dataDir, options)
    : openServer({ databaseUrl, ...config }, options)
}

/** Optional properties have the defaults of Config. */
type DatabaseConfig = Pick<Config, 'databaseUrl' | 'databasePoolMax' | 'dataDir'> &
  Partial<Pick<Config, 'databaseDirectUrl' | 'databasePreparedStatements'>>

async function openInProcess(dataDir: string, options: Options): Promise<Database> {
  const unlock = await lockDirectory(dataDir)
  // Loaded only if it is used, because it takes about 0.5 GB of memory.
  const { openEmbedded } = await import('./embedded.ts')
  const embedded = await openEmbedded(dataDir, options)
  const pool = openPool(embedded.poolConfig, options)
  replaceBrokenConnections([pool])
  const db = createKysely(pool, options)
  const applied = await migrate(db, options.onProgress)
  await configureEmbedded(db)
  const stopAnalyzing = analyzeRegularly(db, options.onConnectionError)
  return {
    db,
    batchDb: db,
    listDb: db,
    admissionDb: db,
    jobs: db,
    applied,
    maxLockWaitMs: requestTimeouts.statementMs,
    connections: () => toConnections(pool),
    close: async () => {
      await stopAnalyzing()
      await pool.end()
      await embedded.close()
      unlock()
    },
  }
}

/** Behind a pooler in transaction mode, only background jobs connect directly: they need longer timeouts. */
async function openServer(
  {
    databaseUrl,
    databaseDirectUrl,
    databasePreparedStatements: preparesStatements = true,
    databasePoolMax: max,
  }: DatabaseConfig & { databaseUrl: string },
  options: Options,
): Promise<Database> {
  const {
    connectMs,
    statementMs,
    admissionStatementMs = statementMs,
    admissionLockMs = lockTimeouts.admissionMs,
  } = options.timeouts ?? requestTimeouts
  const address = directAddress({ databaseUrl, databaseDirectUrl })
  const { target, applied, schema } = await prepareServer(address, options.onProgress)
  const pooled =
    databaseDirectUrl === undefined
      ? undefined
      : await preparePooler(directAddress({ databaseUrl }), {
          statementMs,
          lockMs: lockTimeouts.mainMs,
          schema,
        })

  const common = (share: number, { statementMs }: Limits) => ({
    max: share,
    connectionTimeoutMillis: connectMs,
    query_timeout: statementMs + unresponsiveMs,
    preparesStatements,
  })
  const openDirect = (share: number, limits: Limits) =>
    openPool(
      { ...target, ...common(share, limits), onConnect: configureForRequests({ ...limits, schema }) },
      options,
    )
  const open = pooled
    ? (share: number, limits: Limits) => openPool({ ...pooled, ...common(share, limits) }, options)
    : openDirect
  const shares = shareConnections(max)
  const main = open(shares.main, { statementMs, lockMs: lockTimeouts.mainMs })
  const admission =
    shares.admission === 0
      ? main
      : open(shares.admission, { statementMs: admissionStatementMs, lockMs: admissionLockMs })
  const jobs =
    shares.jobs === 0
      ? main
      : openDirect(shares.jobs, { statementMs: jobStatementMs, lockMs: jobStatementMs })
  const batch = shares.batch === 0 ? main : open(shares.batch, { statementMs, lockMs: lockTimeouts.mainMs })
  const list = shares.list === 0 ? main : open(shares.list, { statementMs, lockMs: lockTimeouts.mainMs })
  const db = createKysely(main, options)
  const listDb = createKysely(list, options)
  for (const waiting of [db, listDb]) rerunWhileLocked(waiting, statementMs)
  const pools = [...new Set([main, admission, batch, list, jobs])]
  replaceBrokenConnections(pools)
  return {
    db,
    batchDb: createKysely(batch, options),
    listDb,
    admissionDb: createKysely(admission, options),
    jobs: shares.jobs === 0 ? db : createKysely(jobs, options),
    applied,
    maxLockWaitMs: statementMs,
    connections: () => pools.map(toConnections).reduce(addConnections),
    close: async () => {
      await Promise.all(pools.map((pool) => pool.end()))
    },
  }
}

/** Returns how to connect without a pooler in transaction mode, for migrations. */
export function directAddress({
  databaseUrl,
  databaseDirectUrl,
}: {
  databaseUrl: string
  databaseDirectUrl?: string | undefined
}): Address {
  return databaseDirectUrl === undefined
    ? { target: parseDatabaseUrl(databaseUrl), variable: 'DATABASE_URL' }
    : { target: parseDatabaseUrl(databaseDirectUrl, directUrl), variable: directUrl }
}

const directUrl = 'DATABASE_DIRECT_URL'

/**
 * Divides the connections: a third for admission, 3 at most, one for jobs if there are at least three, one for batches if
 * there are at least seven, and one for lists if there are at least ten. A share of 0 uses the main connections.
 */
export function shareConnections(max: number) {
  const admission = max === 1 ? 0 : Math.max(1, Math.min(3, Math.floor(max / 3)))
  const jobs = max >= 3 ? 1 : 0
  const batch = max >= 7 ? 1 : 0
  const list = max >= 10 ? 1 : 0
  return { main: max - admission - jobs - batch - list, admission, jobs, batch, list }
}
