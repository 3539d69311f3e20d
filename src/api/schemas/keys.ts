import { Type } from 'typebox'
import { Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { CreateKey, Name, Permissions, RateLimit } from '../../wire/keys.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

const Status = StringEnum(['active', 'expired', 'revoked'])

export const UpdateKey = Type.Partial(CreateKey, {
  ...strict,
  examples: [{ permissions: ['read:monitors'], rate_limit: 300 }, { expires_at: null }],
})

export const RevokeKey = Type.Object({}, { ...strict, examples: [{}] })

export const ListKeys = Type.Object({ status: Type.Optional(Status), ...pageQuery }, strict)

const keyObject = {
  id: Type.String(),
  name: Name,
  permissions: Permissions,
  status: Status,
  rate_limit: RateLimit,
  expires_at: Nullable(Time),
  created_at: Time,
  last_used_at: Nullable(Time),
  revoked_at: Nullable(Time),
  rotated_from: Nullable(Type.String()),
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

/** The one reply that holds the key itself. */
export const NewKey = Type.Object(
  { ...keyObject, key: Type.String() },
  { examples: [{ ...example, last_used_at: null, key: 'kener_…' }] },
)

export const Me = Type.Object(
  {
    key_name: Name,
    permissions: Permissions,
    created_at: Time,
    id: Type.String(),
    expires_at: Nullable(Time),
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
