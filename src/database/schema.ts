import type { ColumnType, Generated } from 'kysely'
import type { Permission } from '../permissions.ts'

/** The tables as the migrations leave them. */
export type Tables = {
  api_keys: ApiKeysTable
  rate_counters: RateCountersTable
}

type ApiKeysTable = {
  id: string
  /** The order of creation. bigint, which pg hands over as a string. */
  seq: ColumnType<string, never, never>
  name: string
  permissions: Permission[]
  secret_hash: string
  rate_limit: number | null
  expires_at: Date | null
  created_at: Generated<Date>
  last_used_at: Date | null
  revoked_at: Date | null
  rotated_from: string | null
}

type RateCountersTable = {
  key_id: string
  minute: number
  max: number
  used: number
  granted: number
}
