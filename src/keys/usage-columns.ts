import { sql } from 'kysely'
import type { PermissionColumn, UsageCounts } from '../database/schema.ts'
import { type Permission, permissions } from '../permissions.ts'

/** The columns that count requests by the permission that their route requires. */
export const permissionColumns = Object.fromEntries(
  permissions.map((permission) => [permission, permission.replace(':', '_')]),
) as Record<Permission, PermissionColumn>

export type UsageColumn = keyof UsageCounts

/** All columns, in the order of the parameters of statements. */
export const usageColumns: UsageColumn[] = [
  ...Object.values(permissionColumns),
  'no_permission',
  'forbidden',
  'rate_limited',
]

/** By the database's clock, which all replicas share. */
export const thisHour = sql<number>`floor(extract(epoch from now()) / 3600)::integer`
export const today = sql<number>`floor(extract(epoch from now()) / 86400)::integer`

/** For raw SQL. */
export const listColumns = (names: readonly string[]) => sql.join(names.map((name) => sql.ref(name)))

/** SET of an upsert into a table with the alias `total`. */
export const addedCounts = sql.join(
  usageColumns.map(
    (name) => sql`${sql.ref(name)} = ${sql.ref(`total.${name}`)} + ${sql.ref(`excluded.${name}`)}`,
  ),
)
