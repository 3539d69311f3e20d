import type { PermissionColumn } from '../database/schema.ts'
import { type Permission, permissions } from '../permissions.ts'
import { formatTime } from '../wire/time.ts'
import { type ExpiryLimits, soonDays } from './expiry.ts'
import type { KeyChanges } from './repository.ts'
import { permissionColumns } from './usage-columns.ts'

/** In the order in which the findings of a key are listed. */
export const adviceCodes = [
  'unused_permission',
  'never_expires',
  'expires_soon',
  'idle',
  'rotated_but_used',
] as const
export type AdviceCode = (typeof adviceCodes)[number]

/** A key, or a permission, that no request has used for so many days is reported. */
export const unusedDays = 90

/** The proposed lifetime of a key, in days, unless the limits are lower. */
const proposedDays = 365

const dayMs = 86_400_000

export type Finding = {
  key_id: string
  key_name: string
  code: AdviceCode
  message: string
  /** Since when this is the case. Null: for an expiry. */
  since: Date | null
  fix: Fix | null
}

/** The change that resolves a finding. */
export type Fix = { action: 'update'; changes: KeyChanges } | { action: 'revoke' }

export type Caller = ExpiryLimits & {
  /** The key that asks, which no fix revokes, or deprives of the permission `admin`. */
  callerId: string
}

/** The columns of a key from which its finding is described. */
export type FindingRow = {
  seq: string
  /** Position of the code in adviceCodes, from 1. bigint, which pg returns as a string. */
  rank: string
  id: string
  name: string
  permissions: Permission[]
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
  rotated_to: string | null
  rotated_at: Date | null
  /** Since when all its permissions were observed. */
  observed_since: Date
  now: Date
} & Record<PermissionColumn, number | null>

/** Describes a finding, and the change that resolves it. */
export function toFinding(row: FindingRow, caller: Caller): Finding {
  const code = adviceCodes[Number(row.rank) - 1]
  if (code === undefined) throw new Error(`There is no advice ${row.rank}`)
  return { key_id: row.id, key_name: row.name, code, since: null, ...describers[code](row, caller) }
}

type Description = Pick<Finding, 'message' | 'fix'> & Partial<Pick<Finding, 'since'>>

const describers: Record<AdviceCode, (row: FindingRow, caller: Caller) => Description> = {
  unused_permission: describeUnused,
  never_expires: (row, caller) => ({
    message: 'The key never expires, and neither does a copy of it: set an expiry',
    fix: setExpiry(row, caller),
  }),
  expires_soon: (row, caller) => ({
    message: `The key expires at ${formatTime(row.expires_at ?? row.now)}: rotate it, or set a later expiry`,
    fix: setExpiry(row, caller),
  }),
  idle: ({ last_used_at, created_at }) => ({
    message:
      last_used_at === null
        ? `The key was created at ${formatTime(created_at)} and never used: revoke it if it is not needed`
        : `The key was last used at ${formatTime(last_used_at)}: revoke it if it is no longer needed`,
    since: last_used_at ?? created_at,
    fix: { action: 'revoke' },
  }),
  rotated_but_used: ({ id, rotated_to, rotated_at, expires_at }, { callerId }) => ({
    message:
      `The key was used after ${rotated_to} replaced it: give the new key to its client, and revoke this one` +
      (expires_at ? `, which expires at ${formatTime(expires_at)}` : ''),
    since: rotated_at,
    fix: id === callerId ? null : { action: 'revoke' },
  }),
}

function describeUnused(row: FindingRow, { callerId }: Caller): Description {
  const lastDay = (permission: Permission) => row[permissionColumns[permission]]
  const firstDay = Math.floor(row.now.getTime() / dayMs) - unusedDays
  const used = permissions.filter(
    (permission) => (lastDay(permission) ?? 0) >= firstDay || (permission === 'admin' && row.id === callerId),
  )
  const unused = row.permissions.filter((permission) => !used.includes(permission))
  // A key with `admin` may have used permissions that it does not list.
  const needed = unused.includes('admin')
    ? used
    : used.filter((permission) => row.permissions.includes(permission))
  const lastUses = unused.map((permission) => new Date(((lastDay(permission) ?? 0) + 1) * dayMs))
  const hint = unused.includes('admin') && needed.length > 0 ? `: it needed only ${needed.join(', ')}` : ''
  return {
    message: `No request of this key needed ${unused.join(', ')} for ${unusedDays} days${hint}`,
    since: [row.observed_since, ...lastUses].reduce((latest, time) => (time > latest ? time : latest)),
    fix: needed.length > 0 ? { action: 'update', changes: { permissions: needed } } : null,
  }
}

/** Returns null if the limits do not allow an expiry that would resolve the finding. */
function setExpiry(
  { now, expires_at }: FindingRow,
  { callerExpiresAt, lifetimeMaxDays }: Caller,
): Fix | null {
  const lifetimeMs = Math.min(proposedDays, lifetimeMaxDays ?? Infinity) * dayMs
  const expiry = Math.min(now.getTime() + lifetimeMs, callerExpiresAt?.getTime() ?? Infinity)
  const isLater = expiry > now.getTime() + (soonDays + 1) * dayMs && expiry > (expires_at?.getTime() ?? 0)
  return isLater
    ? { action: 'update', changes: { expires_at: new Date(Math.floor(expiry / 1000) * 1000) } }
    : null
}
