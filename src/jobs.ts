import { channel } from 'node:diagnostics_channel'
import type { Writable } from 'node:stream'
import type { Logger } from 'pino'
import { removeExpiredAuditEvents } from './audit/repository.ts'
import { print } from './cli/io.ts'
import type { Database } from './database/open.ts'
import { removeOldTraffic } from './database/traffic.ts'
import { removeExpiredRecords } from './idempotency/repository.ts'
import { createKey, deleteKey, type KeyContext } from './keys/lifecycle.ts'
import { listKeys } from './keys/repository.ts'
import { createSecrets } from './keys/secrets.ts'
import { rollUpUsage } from './keys/usage-retention.ts'
import { generateDueEvents } from './maintenances/event-generation.ts'
import { removeEndedSessions } from './manage/session-repository.ts'
import { removeOldMinutes } from './reports/retention.ts'

/** A key that was created, and of which only this object knows the token. */
type FirstKey = {
  /**
   * Prints the key. Bypasses the logger, because keys never appear in logs. If it cannot be printed, it is deleted, so that
   * the next start creates another one.
   * @param origin of the service
   */
  print: (origin: string, stdout?: Writable) => Promise<void>
  /** Deletes the key, which was not printed. */
  discard: () => Promise<void>
}

/** Creates an admin key if there are no keys. */
export async function createFirstAdminKey(
  { db }: Pick<Database, 'db'>,
  {
    log,
    ...limits
  }: Pick<KeyContext, 'lifetimeMaxDays' | 'auditRetentionDays'> & { log: Pick<Logger, 'info' | 'error'> },
): Promise<FirstKey | undefined> {
  if ((await listKeys(db, { limit: 1 })).length > 0) return undefined
  const actor = { key: null, via: 'cli' as const, address: null, request_id: null }
  const context = { db, actor, secrets: createSecrets(), log, caller: null, ...limits }
  const { key, token } = await createKey(context, { name: 'first-admin', permissions: ['admin'] })
  const discard = () => deleteKey(context, key)
  return {
    discard,
    print: (origin, stdout = process.stdout) =>
      print({ stdout }, formatFirstKey(token, origin)).catch(async (error: unknown) => {
        await discard()
        log.error({ err: error }, 'the first key could not be printed: the next start creates another one')
      }),
  }
}

function formatFirstKey(token: string, origin: string): string {
  return `
  Your first API key, with the permission admin. Copy it now: it is not shown again.

    export KENER_API_KEY=${token}
    curl -H "Authorization: Bearer $KENER_API_KEY" ${origin}/api/me

  Next, log in with it to the admin panel, and create a monitor: ${origin}/manage
`
}

/** Publishes each success of a job, for the metrics: its name, and the Unix time in seconds. */
export const jobSuccesses = channel('kener-api:job')

export type JobSuccess = { job: string; at: number }

/** Pause between the end of a run and the next one. */
const intervalMs = 3_600_000

/**
 * Removes expired data and generates due events of maintenances, now and then every hour, on the connection for jobs.
 * Returns a function that stops it after the current job.
 */
export function startHourlyJobs(
  { jobs: db }: Pick<Database, 'jobs'>,
  retentionDays: number,
  log: Pick<Logger, 'info' | 'warn'>,
): () => void {
  const jobs: Record<string, () => Promise<void>> = {
    retention: async () => {
      const hours = await removeOldMinutes(db, retentionDays)
      if (hours > 0) log.info({ hours }, 'removed minutes past their retention')
    },
    audit: async () => {
      const events = await removeExpiredAuditEvents(db)
      if (events > 0) log.info({ events }, 'removed audit events past their retention')
    },
    sessions: () => removeEndedSessions(db),
    idempotency: () => removeExpiredRecords(db),
    traffic: () => removeOldTraffic(db),
    usage: () => rollUpUsage(db),
    maintenances: () =>
      generateDueEvents(db, (error, maintenanceId) => {
        log.warn({ err: error, maintenanceId }, 'the rule of a maintenance could not be evaluated')
      }),
  }
  let isStopped = false
  let timer: NodeJS.Timeout | undefined
  const publish = (job: string, at = unixTime()) => {
    jobSuccesses.publish({ job, at } satisfies JobSuccess)
  }

  async function run(): Promise<void> {
    for (const [name, job] of Object.entries(jobs)) {
      if (isStopped) return
      await job().then(
        () => {
          publish(name)
        },
        (error: unknown) => {
          log.warn({ err: error, job: name }, 'an hourly job failed; it runs again in an hour')
        },
      )
    }
    if (!isStopped) timer = setTimeout(() => void run(), intervalMs)
  }

  // A job that never succeeds counts as late from here on.
  const startedAt = unixTime()
  for (const name of Object.keys(jobs)) publish(name, startedAt)
  void run()
  return () => {
    isStopped = true
    clearTimeout(timer)
  }
}

/** Returns the time in seconds, with the resolution of microseconds, so that each success has a later time. */
function unixTime(): number {
  return (performance.timeOrigin + performance.now()) / 1000
}
