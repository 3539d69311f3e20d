import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Config, loadEnvFile, readConfig } from './config.ts'
import { describeError } from './operator-error.ts'
import { assertPortFree, toPortError } from './ports.ts'
import { escapeLine } from './terminal.ts'

/**
 * After a signal, how long the service still accepts requests. Readiness is 503 and responses close their connection,
 * so that load balancers and clients move to another replica. It is longer than two polls of a load balancer, one per
 * second, because a request that a client sends on an idle connection just as it is closed is lost.
 */
const drainMs = 3_000

/** After a signal, when requests in flight are aborted: a second before the 10 s that Docker waits. */
const shutdownTimeoutMs = 9_000

/** Shorter with the embedded database, because no other replica can take over. */
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
  // Not imported statically, because signals are not handled while the modules of static imports are loaded.
  const [{ openDatabase }, { storeOrigin }, { createLogger }] = await Promise.all([
    import('./database/open.ts'),
    import('./database/data-directory.ts'),
    import('./log.ts'),
  ])
  const logger = createLogger(config.logLevel)
  // Loaded only if it is used, because it is a large library.
  const tracing = config.tracing && (await import('./http/tracing.ts')).startTracing(config.tracing, logger)
  const isTerminal = process.stdout.isTTY
  await assertPortFree('HOST and PORT', host, port)
  if (metricsPort !== undefined) await assertPortFree('METRICS_PORT', host, metricsPort)

  const [database, { buildApp }, { createFirstAdminKey, startHourlyJobs }] = await Promise.all([
    openDatabase(config, {
      onProgress: (message) => {
        if (isTerminal) process.stdout.write(`\n  ${escapeLine(message)}\n`)
        else logger.info(message)
      },
      onConnectionError: (error) => {
        logger.warn({ err: error }, 'a connection to the database was lost')
      },
      onFailure: (error) => {
        logger.fatal(error.message)
        process.exit(1)
      },
    }),
    // Loads them while the embedded database compiles its WebAssembly in other threads.
    import('./app.ts'),
    import('./jobs.ts'),
  ])
  let draining = false
  const app = buildApp({ ...database, config, logger, tracing, isDraining: () => draining })
  await app.ready()
  const signal = signals.wait()
  const { databaseUrl, dataDir, keyLifetimeMaxDays: lifetimeMaxDays, auditRetentionDays } = config
  const firstKey =
    databaseUrl === undefined
      ? await createFirstAdminKey(database, { lifetimeMaxDays, auditRetentionDays, log: logger })
      : undefined
  // Printed before a request is accepted, so that it is there for a program that waits for the first response.
  let printed: Promise<void> | undefined
  app.server.once('listening', () => {
    printed = firstKey?.print(app.listeningOrigin)
  })
  await app.listen({ host, port }).catch(async (error: unknown) => {
    await firstKey?.discard()
    throw toPortError('HOST and PORT', error)
  })
  await printed
  if (databaseUrl === undefined) storeOrigin(dataDir, app.listeningOrigin)
  if (isTerminal) process.stdout.write(formatAddresses(app.listeningOrigin, config))
  const stopJobs = startHourlyJobs(database, config.dataRetentionDays, logger)

  await signal
  draining = true
  stopJobs()
  setTimeout(() => process.exit(0), shutdownTimeoutMs)
  await delay(config.databaseUrl === undefined ? embeddedDrainMs : drainMs)
  await app.closeWhenIdle()
  await Promise.all([database.close(), tracing?.shutdown()])
  // Does not wait for the connection to a collector that does not answer.
  process.exit(0)
}

/** Returns what an operator at a terminal needs next. */
function formatAddresses(
  origin: string,
  { publicPage, databaseUrl, dataDir }: Pick<Config, 'publicPage' | 'databaseUrl' | 'dataDir'>,
): string {
  const database = databaseUrl === undefined ? `embedded, in ${resolve(dataDir)}` : 'that of DATABASE_URL'
  return `
  Admin panel   ${origin}/manage
${publicPage ? `  Status page   ${origin}\n` : ''}  API           ${origin}/docs
  Database      ${escapeLine(database)}
  Stop          Ctrl+C

`
}

/**
 * Handles SIGTERM and SIGINT. Until `wait` is called, they end the process at once: before the service listens, no
 * request is in flight, and every change that a start makes to a database is atomic. Only the first signal counts,
 * because npm forwards a signal that the terminal also sends to this process.
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
