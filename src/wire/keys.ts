import { Type } from 'typebox'
import type { KeyStatus } from '../enums.ts'
import { type Permission, permissions } from '../permissions.ts'
import { describe, Nullable, strict, StringEnum } from './envelope.ts'
import { formatTime, formatTimeOrNull, Time } from './time.ts'

export const Name = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: '\\S',
  description: 'Name for people, 1 to 100 characters, not blank. It need not be unique.',
})
export const Permissions = Type.Array(StringEnum(permissions), {
  minItems: 1,
  uniqueItems: true,
  description: 'What the key may do: at least one permission, each at most once. admin grants everything.',
})
export const ExpiresAt = describe(Nullable(Time), 'When the key expires. Null: never.')
export const RateLimit = Nullable(
  Type.Integer({
    minimum: 1,
    maximum: 1_000_000_000,
    description:
      'Maximum number of requests per minute, 1 to 1,000,000,000. Null: the default of the service.',
  }),
)

export const Description = Nullable(
  Type.String({ maxLength: 1_000, description: 'What the key is for, up to 1,000 characters. Null: none.' }),
)
export const Monitors = Nullable(
  Type.Array(
    Type.String({
      maxLength: 255,
      pattern: '^[a-z0-9]([a-z0-9_-]*[a-z0-9*])?$',
      errorMessage: 'must be the tag of a monitor, or the start of a tag followed by *, such as payments-*',
      description: 'A tag, or the start of a tag followed by *.',
    }),
    {
      minItems: 1,
      maxItems: 100,
      description:
        'The monitors that the key may use: 1 to 100 tags, or starts of tags followed by *. They need not exist yet. ' +
        'The key sees and changes nothing else, and cannot have the permission admin. Null: all monitors.',
      examples: [['website', 'payments-*']],
    },
  ),
)
export const AllowedIps = Nullable(
  Type.Array(
    Type.String({
      format: 'ip-network',
      maxLength: 50,
      errorMessage: 'must be an IPv4 or IPv6 address or CIDR, such as 203.0.113.7 or 2001:db8::/32',
      description: 'An address or a CIDR.',
    }),
    {
      minItems: 1,
      maxItems: 50,
      description:
        'The addresses from which the key may be used: 1 to 50 IPv4 or IPv6 addresses or CIDRs. Null: any address.',
      examples: [['203.0.113.7', '2001:db8::/32']],
    },
  ),
)

export const CreateKey = Type.Object(
  {
    name: Name,
    description: Type.Optional(Description),
    permissions: Permissions,
    expires_at: Type.Optional(
      describe(
        ExpiresAt,
        'When the key expires, in the future. Null or omitted: the latest allowed time, or never. If the calling key ' +
          'expires, a later expiry than its own is rejected; so is one beyond KEY_LIFETIME_MAX_DAYS of the service.',
      ),
    ),
    rate_limit: Type.Optional(RateLimit),
    monitors: Type.Optional(Monitors),
    allowed_ips: Type.Optional(AllowedIps),
  },
  {
    ...strict,
    examples: [
      { name: 'monitoring-service', permissions: ['read:monitors', 'write:incidents'] },
      {
        name: 'nightly-backup',
        description: 'Reports the result of the nightly backup',
        permissions: ['write:monitors'],
        monitors: ['backup'],
        allowed_ips: ['203.0.113.7'],
        expires_at: '2999-01-01T00:00:00Z',
        rate_limit: 600,
      },
    ],
  },
)

/** Longest overlap of a rotation: 7 days, in seconds. */
export const maxOverlapSeconds = 604_800

export const RotateKey = Type.Object(
  {
    overlap_seconds: Type.Integer({
      minimum: 0,
      maximum: maxOverlapSeconds,
      default: 0,
      description:
        'How long the old key remains valid, in seconds, 0 to 604,800 (7 days). It never expires later than before.',
    }),
    expires_at: Type.Optional(
      describe(
        Time,
        'When the new key expires, which may be later than the old key. Default: when the old key would have expired. It is limited as for a new key.',
      ),
    ),
  },
  { ...strict, examples: [{ overlap_seconds: 3600 }] },
)

export const KeyParams = Type.Object({ id: Type.String({ description: 'Id of the key.' }) })

/** A key as the domain returns it. */
type KeyRecord = {
  id: string
  name: string
  description: string | null
  permissions: Permission[]
  status: KeyStatus
  rate_limit: number | null
  monitors: string[] | null
  allowed_ips: string[] | null
  expires_at: Date | null
  created_at: Date
  created_by: string | null
  created_by_name: string | null
  last_used_at: Date | null
  last_used_address: string | null
  revoked_at: Date | null
  rotated_from: string | null
  rotated_to: string | null
}

export type KeyObject = ReturnType<typeof serializeKey>

/** The object of a new key, with the key itself. */
export type NewKeyObject = ReturnType<typeof serializeNewKey>

export function serializeKey(key: KeyRecord) {
  return {
    id: key.id,
    name: key.name,
    description: key.description,
    permissions: key.permissions,
    status: key.status,
    rate_limit: key.rate_limit,
    monitors: key.monitors,
    allowed_ips: key.allowed_ips,
    expires_at: formatTimeOrNull(key.expires_at),
    created_at: formatTime(key.created_at),
    created_by:
      key.created_by === null ? null : { key_id: key.created_by, key_name: key.created_by_name ?? '' },
    last_used_at: formatTimeOrNull(key.last_used_at),
    last_used_address: key.last_used_address,
    revoked_at: formatTimeOrNull(key.revoked_at),
    rotated_from: key.rotated_from,
    rotated_to: key.rotated_to,
  }
}

export function serializeNewKey({ key, token }: { key: KeyRecord; token: string }) {
  return { ...serializeKey(key), key: token }
}
