import type { Kysely } from 'kysely'
import { type ApiKey, insertKey, type NewKey } from '../database/keys.ts'
import type { Tables } from '../database/schema.ts'
import { formatKey, generateKey } from './format.ts'
import type { Secrets } from './secrets.ts'

/**
 * Makes and stores a new key.
 * @returns the key as stored, and `text`: the key itself, which exists here and nowhere else. Undefined, with nothing
 *   stored, when `expiresAt` has passed.
 */
export async function issueKey(
  db: Kysely<Tables>,
  secrets: Secrets,
  wanted: Omit<NewKey, 'id' | 'secretHash'>,
): Promise<{ stored: ApiKey; text: string } | undefined> {
  const key = generateKey()
  const secretHash = await secrets.hash(key.secret)
  const stored = await insertKey(db, { ...wanted, id: key.id, secretHash })
  return stored && { stored, text: formatKey(key) }
}
