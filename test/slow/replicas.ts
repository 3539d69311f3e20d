import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import type { Test } from 'tap'
import { openDatabase } from '../../src/database/open.ts'
import type { Tables } from '../../src/database/schema.ts'
import { createDatabase } from '../helper.ts'
import { freePort } from '../postgres.ts'
import { type Running, start } from '../process.ts'

export type ServerProcess = Running & { origin: string }

/** Starts a server process for each environment, on a new database. */
export async function startReplicas(t: Test, environments: Record<string, string>[]) {
  const url = await createDatabase(t)
  const { db, close } = await openDatabase({ databaseUrl: url, databasePoolMax: 2, dataDir: '' })
  t.teardown(close)
  const processes = await Promise.all(environments.map((environment) => startServer(t, url, environment)))
  return { url, db, processes, origins: processes.map(({ origin }) => origin) }
}

/** The default log level is reduced, because reading a line for each of 100,000 requests takes time. */
export async function startServer(
  t: Test,
  url: string,
  environment: Record<string, string> = {},
): Promise<ServerProcess> {
  const port = String(await freePort())
  const server = start(t, 'server', [], { DATABASE_URL: url, PORT: port, LOG_LEVEL: 'warn', ...environment })
  const origin = `http://127.0.0.1:${port}`
  while (!(await isReady(origin))) {
    if (server.child.exitCode !== null) throw new Error(`It did not start: ${JSON.stringify(server.output)}`)
    await delay(20)
  }
  return { ...server, origin }
}

/** Polls readiness as a load balancer does. */
export function isReady(origin: string): Promise<boolean> {
  return fetch(`${origin}/readyz`, { headers: { connection: 'close' } }).then(
    ({ status }) => status === 200,
    () => false,
  )
}

/** Seconds since 1970, with a fraction. */
export async function readDatabaseClock(db: Kysely<Tables>): Promise<number> {
  const { now } = await db
    .selectNoFrom(sql<number>`extract(epoch from now())::float8`.as('now'))
    .executeTakeFirstOrThrow()
  return now
}
