import { writeSync } from 'node:fs'
import type { Logger } from 'pino'
import type { Database } from './database/open.ts'
import { removeOldTraffic } from './database/traffic.ts'
import { createKey, revokeKey } from './keys/lifecycle.ts'
import { listKeys } from './keys/repository.ts'
import { createSecrets } from './keys/secrets.ts'
import { generateDueEvents } from './maintenances/event-generation.ts'
import { removeEndedSessions } from './manage/session-repository.ts'
import { removeOldMinutes } from './reports/retention.ts'

/**
 * Creates an admin key if there are no keys, and prints it. Bypasses the logger, because keys never appear in logs.
 * Revokes the key if it cannot be printed.
 */
export async function createFirstAdminKey({ db }: Database, log: Logger, origin: string): Promise<void> {
  if ((await listKeys(db, { limit: 1 })).length > 0) return
  const context = { db, secrets: createSecrets(), log }
  const { key, token } = await createKey(context, {
    name: 'first-admin',
    permissions: ['admin'],
    rate_limit: null,
    expires_at: null,
  })
  const text = `
  Your first API key, with the permission admin. Copy it now: it is not shown again.

    export KENER_API_KEY=${token}
    curl -H "Authorization: Bearer $KENER_API_KEY" ${origin}/api/me

  Use it to log in to the admin panel, too: ${origin}/manage

`
  try {
    if (writeSync(process.stdout.fd, text) < text.length) throw new Error('Only a part of it was written')
  } catch (error) {
    await revokeKey(context, key.id)
    log.error(
      { err: error },
      'the first admin key could not be printed, and was revoked: create one with the CLI',
    )
  }
}

/** Removes expired data and generates due events of maintenances, now and then every hour. */
export function startHourlyJobs({ db }: Database, retentionDays: number, logger: Logger): NodeJS.Timeout {
  const jobs = [
    async () => {
      const hours = await removeOldMinutes(db, retentionDays)
      if (hours > 0) logger.info({ hours }, 'removed minutes past their retention')
    },
    () => removeEndedSessions(db),
    () => removeOldTraffic(db),
    () =>
      generateDueEvents(db, (error, maintenanceId) => {
        logger.warn({ err: error, maintenanceId }, 'the rule of a maintenance could not be evaluated')
      }),
  ]
  const run = async () => {
    for (const job of jobs) {
      await job().catch((error: unknown) => {
        logger.warn({ err: error }, 'an hourly job failed; it runs again in an hour')
      })
    }
  }
  void run()
  return setInterval(() => void run(), 3_600_000)
}
