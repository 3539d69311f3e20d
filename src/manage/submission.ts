import { randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { requirePrincipal } from '../http/auth.ts'
import { digest } from '../http/idempotency.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { findRecord, insertRecord } from '../idempotency/repository.ts'
import { readText } from './form.ts'

/** Notice of the result page if its form is sent again with other values. */
export const sentBefore = [
  'sent-before',
  'This form was sent before, and saved as it was then. Nothing was saved now.',
] as const

/** Returns the id of the form that was sent. A form that is opened gets a new one. */
export function readFormId(body?: unknown): string {
  const id = readText(body, 'form_id')
  return /^[\w-]{22}$/.test(id) ? id : randomBytes(16).toString('base64url')
}

/** Stores the path of the result page in the transaction of the change. */
type Remember = (trx: Transaction<Tables>, path: string) => Promise<string>

/**
 * Runs a change once for each form that was opened, so that a double click or a reload creates nothing twice: in the store
 * of responses to an Idempotency-Key, whose primary key rejects the second transaction.
 * @returns the path of the result page: the stored one if the form was sent before
 */
export async function submitOnce(
  request: FastifyRequest,
  create: (remember: Remember) => Promise<string>,
): Promise<string> {
  const { server, body, url } = request
  const id = digest([requirePrincipal(request).id, 'form', url, readFormId(body)])
  const fingerprint = digest(Object.entries(body ?? {}).filter(([name]) => name !== '_csrf'))
  try {
    return await create(async (trx, path) => {
      const record = {
        fingerprint,
        monitors: scopeOf(request),
        status: 303,
        etag: null,
        body: path,
        conflict: null,
      }
      if (!(await insertRecord(trx, id, record))) throw new Error('The form was sent before')
      return path
    })
  } catch (error) {
    // The change may also fail because the first one has changed what it requires, as a version or a tag.
    const record = await findRecord(server.db, id)
    if (!record?.body) throw error
    const isRepetition = record.fingerprint.equals(fingerprint)
    return isRepetition ? record.body : record.body.replace(/\?.*/, `?notice=${sentBefore[0]}`)
  }
}
