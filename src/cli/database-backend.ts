import { exportAuditEvents } from '../audit/repository.ts'
import type { ChangeContext } from '../audit/transaction.ts'
import { databaseNow } from '../database/clock.ts'
import * as lifecycle from '../keys/lifecycle.ts'
import { listKeys } from '../keys/repository.ts'
import { createSecrets } from '../keys/secrets.ts'
import { serializeAuditEvent } from '../wire/audit.ts'
import { serializeKey, serializeNewKey } from '../wire/keys.ts'
import type { Backend } from './backend.ts'

/** The command line reports changes on stderr, not in the log. */
const silentLog = { info: () => undefined }

/** A database. Methods throw an ApiError if they fail. */
export function createDatabaseBackend(changeContext: ChangeContext, lifetimeMaxDays: number | null): Backend {
  const { db } = changeContext
  const context = {
    ...changeContext,
    secrets: createSecrets(),
    log: silentLog,
    caller: null,
    lifetimeMaxDays,
  }
  return {
    now: () => databaseNow(db),
    create: async (attributes) => serializeNewKey(await lifecycle.createKey(context, attributes)),
    list: async (status) => (await listKeys(db, { status })).map(serializeKey),
    show: async (id) => serializeKey(await lifecycle.getKey(db, id)),
    rotate: async (id, rotation) => serializeNewKey(await lifecycle.rotateKey(context, id, rotation)),
    revoke: async (id) => serializeKey(await lifecycle.revokeKey(context, id)),
    async *auditEvents(since) {
      for await (const events of exportAuditEvents(db, { from: since })) yield events.map(serializeAuditEvent)
    },
  }
}
