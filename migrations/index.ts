import type { Migration } from 'kysely'
import * as keys from './2026-11-23-keys.ts'

/** In the order of their names, which is the order they are applied in. */
export const migrations: Record<string, Migration> = {
  '2026-11-23-keys': keys,
}
