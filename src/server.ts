import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { buildApp } from './app.ts'
import { loadEnvFile, readConfig } from './config.ts'
import { listKeys } from './database/keys.ts'
import { giveDueEvents } from './database/maintenances.ts'
import { type Database, openDatabase } from './database/open.ts'
import { removeOldMinutes } from './database/retention.ts'
import { removeEndedSessions } from './database/sessions.ts'
import { removeOldTraffic } from './database/traffic.ts'
import { createKey } from './keys/lifecycle.ts'
import { createSecrets } from './keys/secrets.ts'
import { createLogger } from './log.ts'
import { explainAndExit } from './operator-error.ts'

/**
 * After a signal: how long we go on as before, but for readiness, which tells load balancers, and replies, which tell who
 * holds a connection to leave it; and when requests that are still under way are cut. The former has to be longer than a
 * balancer takes to notice (one that looks every second has looked twice) and a client's usual pause: whoever was not
 * told by then may lose what he sends on an idle connection at the moment that it is closed. The latter leaves a second
 * of the ten that we promise, and that Docker waits.
 */
const drainMs = 3_000
const endMs = 9_000

/** Nobody can take over from a server on the embedded database, so its clients are only told. */
const drainAloneMs = 500

await serve().catch(explainAndExit)

async function serve(): Promise<void> {
  loadEnvFile()
  const config = readConfig(process.env)
  const logger = createLogger(config.logLevel)
  const signal = untilSignal()
  const database = await openDatabase(config, {
    onConnectionError: (error) => {
      logger.warn({ err: error }, 'lost an idle connection to the database')
    },
  })
  let draining = false
  const app = buildApp({ ...database, config, logger, isDraining: () => draining })
  await app.listen({ host: config.host, port: config.port })
  if (config.databaseUrl === undefined) await offerFirstAdminKey(database, logger, app.listeningOrigin)

  const housekeeping = keepHouse(database, config.dataRetentionDays, logger)

  await signal
  draining = true
  clearInterval(housekeeping)
  const deadline = setTimeout(() => process.exit(0), endMs)
  await delay(config.databaseUrl === undefined ? drainAloneMs : drainMs)
  const closed = app.close()
  // Those who are connected and ask for nothing are not waited for.
  await app.untilIdle()
  app.server.closeAllConnections()
  await closed
  await database.close()
  clearTimeout(deadline)
}

/** Every hour, and at the start: what is too old goes, and maintenances get the events that have come near. */
function keepHouse({ db }: Database, days: number, logger: Logger): NodeJS.Timeout {
  const tasks = [
    async () => {
      const hours = await removeOldMinutes(db, days)
      if (hours > 0) logger.info({ hours }, 'removed minutes past their retention')
    },
    () => removeEndedSessions(db),
    () => removeOldTraffic(db),
    () => giveDueEvents(db),
  ]
  // What one of them cannot do is no reason to leave the others.
  const run = async () => {
    for (const task of tasks) {
      await task().catch((error: unknown) => {
        logger.warn({ err: error }, 'could not keep house; the next try is in an hour')
      })
    }
  }
  void run()
  return setInterval(() => void run(), 3_600_000)
}

/** Further ones change nothing: npm hands on a signal that the terminal has sent to us both. */
function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT']) {
      process.on(name, () => {
        resolve()
      })
    }
  })
}

/** Whoever tries the service has a key at once. It is shown here and never again, so not by the logger. */
async function offerFirstAdminKey({ db }: Database, log: Logger, origin: string): Promise<void> {
  if ((await listKeys(db, { limit: 1 })).length > 0) return
  const { text } = await createKey(
    { db, secrets: createSecrets(), log },
    { name: 'first-admin', permissions: ['admin'], rateLimit: null, expiresAt: null },
  )
  process.stdout.write(`
  Your first API key, with the permission admin. Copy it now: it is not shown again.

    export KENER_API_KEY=${text}
    curl -H "Authorization: Bearer $KENER_API_KEY" ${origin}/api/me

  It logs you in to the admin panel, too: ${origin}/manage

`)
}
