import { Type } from 'typebox'
import { describe, Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { ExpiresAt, Name, Permissions, RateLimit } from '../../wire/keys.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

const Status = StringEnum(['active', 'expired', 'revoked'], {
  description: 'Status of the key. revoked takes precedence over expired.',
})
const Id = Type.String({
  description:
    'Id of the key: the 16 characters between the underscores of the key itself. It is not secret.',
})
const CreatedAt = describe(Time, 'When the key was created.')

export const UpdateKey = Type.Object(
  {
    name: Type.Optional(Name),
    permissions: Type.Optional(Permissions),
    expires_at: Type.Optional(
      describe(ExpiresAt, 'When the key expires. A time that has passed expires it at once. Null: never.'),
    ),
    rate_limit: Type.Optional(RateLimit),
  },
  {
    ...strict,
    examples: [{ permissions: ['read:monitors'], rate_limit: 300 }, { expires_at: null }],
  },
)

export const RevokeKey = Type.Object({}, { ...strict, examples: [{}] })

export const ListKeys = Type.Object(
  { status: Type.Optional(describe(Status, 'Only keys with this status.')), ...pageQuery },
  strict,
)

const keyObject = {
  id: Id,
  name: Name,
  permissions: Permissions,
  status: Status,
  rate_limit: RateLimit,
  expires_at: ExpiresAt,
  created_at: CreatedAt,
  last_used_at: describe(Nullable(Time), 'When the key was last used, accurate to 5 minutes. Null: never.'),
  revoked_at: describe(Nullable(Time), 'When the key was revoked. Null: it was not.'),
  rotated_from: Nullable(Type.String({ description: 'Id of the key that this key replaces. Null: none.' })),
}

const example = {
  id: 'aB3dE5fG7hJ9kL1m',
  name: 'monitoring-service',
  permissions: ['read:monitors', 'write:incidents'],
  status: 'active',
  rate_limit: null,
  expires_at: '2027-01-01T00:00:00Z',
  created_at: '2026-01-01T00:00:00Z',
  last_used_at: '2026-02-03T04:05:06Z',
  revoked_at: null,
  rotated_from: null,
}

export const Key = Type.Object(keyObject, { examples: [example] })

/** The response to a creation or rotation: the only one that contains the key itself. */
export const NewKey = Type.Object(
  {
    ...keyObject,
    key: Type.String({ description: 'The key itself, 72 characters. It is never returned again.' }),
  },
  { examples: [{ ...example, last_used_at: null, key: 'kener_…' }] },
)

export const Me = Type.Object(
  {
    key_name: Name,
    permissions: Permissions,
    created_at: CreatedAt,
    id: Id,
    expires_at: ExpiresAt,
    rate_limit: RateLimit,
  },
  {
    examples: [
      {
        key_name: 'my-api-key',
        permissions: ['read:monitors', 'write:incidents'],
        created_at: '2026-01-01T00:00:00Z',
        id: 'aB3dE5fG7hJ9kL1m',
        expires_at: null,
        rate_limit: null,
      },
    ],
  },
)
