import { Type } from 'typebox'
import { keyStatuses } from '../../enums.ts'
import { rotatedKeyConflict } from '../../errors.ts'
import { Conflict, describe, Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import {
  AllowedIps,
  Description,
  ExpiresAt,
  Monitors,
  Name,
  Permissions,
  RateLimit,
} from '../../wire/keys.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

const Status = StringEnum(keyStatuses, {
  description: 'Status of the key. revoked takes precedence over expired.',
})
const Id = Type.String({
  description:
    'Id of the key: the 16 characters between the underscores of the key itself. It is not secret.',
})
const CreatedAt = describe(Time, 'When the key was created.')
const LastUsedAt = describe(Nullable(Time), 'When the key was last used, accurate to 5 minutes. Null: never.')
const CreatedBy = Nullable(
  Type.Object(
    {
      key_id: Type.String({ description: 'Id of that key.' }),
      key_name: Type.String({ description: 'Name of that key.' }),
    },
    { description: 'The key that created or rotated to this key. Null: not created by a key, or not known.' },
  ),
)

export const UpdateKey = Type.Object(
  {
    name: Type.Optional(Name),
    description: Type.Optional(Description),
    permissions: Type.Optional(Permissions),
    expires_at: Type.Optional(
      describe(ExpiresAt, 'When the key expires. A time that has passed expires it at once. Null: never.'),
    ),
    rate_limit: Type.Optional(RateLimit),
    monitors: Type.Optional(Monitors),
    allowed_ips: Type.Optional(AllowedIps),
  },
  {
    ...strict,
    examples: [{ permissions: ['read:monitors'], rate_limit: 300 }, { expires_at: null }],
  },
)

export const RevokeKey = Type.Object({}, { ...strict, examples: [{}] })

export const ListKeys = Type.Object(
  {
    status: Type.Optional(describe(Status, 'Only keys with this status.')),
    q: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 1_000,
        description: 'Only keys whose name, description or id contains this text.',
      }),
    ),
    expires_before: Type.Optional(
      describe(Time, 'Only keys that expire, or have expired, before this time.'),
    ),
    unused_since: Type.Optional(
      describe(Time, 'Only keys that were not used at or after this time, or never at all.'),
    ),
    ...pageQuery,
  },
  strict,
)

const keyObject = {
  id: Id,
  name: Name,
  description: Description,
  permissions: Permissions,
  status: Status,
  rate_limit: RateLimit,
  monitors: Monitors,
  allowed_ips: AllowedIps,
  expires_at: ExpiresAt,
  created_at: CreatedAt,
  created_by: CreatedBy,
  last_used_at: LastUsedAt,
  last_used_address: Nullable(
    Type.String({ description: 'Address of the client that last used the key. Null: none is known.' }),
  ),
  revoked_at: describe(Nullable(Time), 'When the key was revoked. Null: it was not.'),
  rotated_from: Nullable(Type.String({ description: 'Id of the key that this key replaces. Null: none.' })),
  rotated_to: Nullable(Type.String({ description: 'Id of the key that replaces this key. Null: none.' })),
}

const example = {
  id: 'aB3dE5fG7hJ9kL1m',
  name: 'monitoring-service',
  description: 'Opens an incident when a check fails',
  permissions: ['read:monitors', 'write:incidents'],
  status: 'active',
  rate_limit: null,
  monitors: ['website', 'payments-*'],
  allowed_ips: ['203.0.113.0/24'],
  expires_at: '2027-01-01T00:00:00Z',
  created_at: '2026-01-01T00:00:00Z',
  created_by: { key_id: 'zY9xW7vU5tS3rQ1p', key_name: 'ops' },
  last_used_at: '2026-02-03T04:05:06Z',
  last_used_address: '203.0.113.7',
  revoked_at: null,
  rotated_from: null,
  rotated_to: null,
}

export const Key = Type.Object(keyObject, { examples: [example] })

/** The response to a creation or rotation: the only one that contains the key itself. */
export const NewKey = Type.Object(
  {
    ...keyObject,
    key: Type.String({ description: 'The key itself, 72 characters. It is never returned again.' }),
  },
  { examples: [{ ...example, last_used_at: null, last_used_address: null, key: 'kener_…' }] },
)

export const RotationConflict = Conflict(
  'the key was already rotated, is revoked or has expired',
  rotatedKeyConflict('zY9xW7vU5tS3rQ1p'),
)

export const Me = Type.Object(
  {
    key_name: Name,
    permissions: Permissions,
    created_at: CreatedAt,
    id: Id,
    description: Description,
    monitors: Monitors,
    allowed_ips: AllowedIps,
    expires_at: ExpiresAt,
    rate_limit: RateLimit,
    last_used_at: LastUsedAt,
  },
  {
    examples: [
      {
        key_name: 'my-api-key',
        permissions: ['read:monitors', 'write:incidents'],
        created_at: '2026-01-01T00:00:00Z',
        id: 'aB3dE5fG7hJ9kL1m',
        description: null,
        monitors: ['website', 'payments-*'],
        allowed_ips: null,
        expires_at: null,
        rate_limit: null,
        last_used_at: '2026-02-03T04:05:06Z',
      },
    ],
  },
)
