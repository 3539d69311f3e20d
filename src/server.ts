import { setTimeout as delay } from 'node:timers/promises'
import { loadEnvFile, readConfig } from './config.ts'
import { openDatabase } from './database/open.ts'
import { createLogger } from './log.ts'
import { describeError } from './operator-error.ts'
import { assertPortFree, toPortError } from './ports.ts'

/**
 * After a signal: how long the service goes on as before, but for readiness, which tells load balancers, and replies,
 * which tell clients to close their connection; and when requests that are still in flight are cut. The former has to be
 * longer than a balancer takes to notice (one that polls every second has polled twice) and a client's usual pause: a
 * client that was not told by then may lose what it sends on an idle connection at the moment that it is closed. The
 * latter leaves a second of the ten that the service promises, and that Docker waits.
 */
const drainMs = 3_000
const shutdownTimeoutMs = 9_000

/** No other replica can take over from a server on the embedded database, so its clients are only told. */
const embeddedDrainMs = 500

await serve().catch((error: unknown) => {
  process.stderr.write(describeError(error))
  process.exit(1)
})

async function serve(): Promise<void> {
  const signals = handleSignals()
  loadEnvFile()
  const config = readConfig(process.env)
  const { host, port, metricsPort } = config
  const logger = createLogger(config.logLevel)
  await assertPortFree('HOST and PORT', host, port)
  if (metricsPort !== undefined) await assertPortFree('METRICS_PORT', host, metricsPort)

  const [database, { buildApp }, { createFirstAdminKey, startHourlyJobs }] = await Promise.all([
    openDatabase(config, {
      onProgress: (message) => {
        logger.info(message)
      },
      onConnectionError: (error) => {
        logger.warn({ err: error }, 'lost an idle connection to the database')
      },
    }),
    // Load while the embedded database compiles its WebAssembly in other threads.
    import('./app.ts'),
    import('./jobs.ts'),
  ])
  let draining = false
  const app = buildApp({ ...database, config, logger, isDraining: () => draining })
  await app.listen({ host, port }).catch((error: unknown) => {
    throw toPortError('HOST and PORT', error)
  })
  const signal = signals.wait()
  if (config.databaseUrl === undefined) await createFirstAdminKey(database, logger, app.listeningOrigin)
  const hourlyJobs = startHourlyJobs(database, config.dataRetentionDays, logger)

  await signal
  draining = true
  clearInterval(hourlyJobs)
  const deadline = setTimeout(() => process.exit(0), shutdownTimeoutMs)
  await delay(config.databaseUrl === undefined ? embeddedDrainMs : drainMs)
  const closed = app.close()
  // Idle connections are closed, not waited for.
  await app.waitUntilIdle()
  app.server.closeAllConnections()
  await closed
  await database.close()
  clearTimeout(deadline)
}

/**
 * SIGTERM and SIGINT end the process at once, until `wait` is called: before the service listens there is no request to
 * complete, and what the start does to a database is atomic. Later signals change nothing, because npm passes on a signal
 * that the terminal has sent to both.
 */
function handleSignals(): { wait: () => Promise<void> } {
  let onSignal: () => void = () => process.exit(0)
  for (const name of ['SIGTERM', 'SIGINT']) {
    process.on(name, () => {
      onSignal()
    })
  }
  return {
    wait: () =>
      new Promise((resolve) => {
        onSignal = resolve
      }),
  }
}
