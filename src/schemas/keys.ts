import { Type } from 'typebox'
import { permissions } from '../permissions.ts'
import { Nullable, OneOf } from './envelope.ts'
import { pageQuery } from './page.ts'
import { Time } from './time.ts'

const Name = Type.String({ minLength: 1, maxLength: 100, pattern: '\\S' })
const Permissions = Type.Array(OneOf(permissions), { minItems: 1, uniqueItems: true })
const RateLimit = Nullable(Type.Integer({ minimum: 1, maximum: 1_000_000_000 }))
const Status = OneOf(['active', 'expired', 'revoked'])

const strict = { additionalProperties: false }

export const CreateKey = Type.Object(
  {
    name: Name,
    permissions: Permissions,
    expires_at: Type.Optional(Nullable(Time)),
    rate_limit: Type.Optional(RateLimit),
  },
  {
    ...strict,
    examples: [
      { name: 'monitoring-service', permissions: ['read:monitors', 'write:incidents'] },
      { name: 'ci', permissions: ['write:monitors'], expires_at: '2999-01-01T00:00:00Z', rate_limit: 600 },
    ],
  },
)

export const UpdateKey = Type.Partial(CreateKey, {
  ...strict,
  examples: [{ permissions: ['read:monitors'], rate_limit: 300 }, { expires_at: null }],
})

export const RotateKey = Type.Object(
  { overlap_seconds: Type.Integer({ minimum: 0, maximum: 604_800, default: 0 }) },
  { ...strict, examples: [{ overlap_seconds: 3600 }] },
)

export const RevokeKey = Type.Object({}, { ...strict, examples: [{}] })

export const ListKeys = Type.Object({ status: Type.Optional(Status), ...pageQuery }, strict)

export const KeyParams = Type.Object({ id: Type.String() })

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
