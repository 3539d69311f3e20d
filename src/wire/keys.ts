import { Type } from 'typebox'
import { permissions } from '../permissions.ts'
import { describe, Nullable, strict, StringEnum } from './envelope.ts'
import { Time } from './time.ts'

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

export const CreateKey = Type.Object(
  {
    name: Name,
    permissions: Permissions,
    expires_at: Type.Optional(
      describe(
        ExpiresAt,
        'When the key expires, in the future. Null or omitted: never. If the calling key expires, a later expiry than its ' +
          'own is rejected, and its own is the default.',
      ),
    ),
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

export const RotateKey = Type.Object(
  {
    overlap_seconds: Type.Integer({
      minimum: 0,
      maximum: 604_800,
      default: 0,
      description:
        'How long the old key remains valid, in seconds, 0 to 604,800 (7 days). It never expires later than before.',
    }),
    expires_at: Type.Optional(
      describe(
        Time,
        'When the new key expires. Default: when the old key would have expired. As for a new key, it is limited by the calling key.',
      ),
    ),
  },
  { ...strict, examples: [{ overlap_seconds: 3600 }] },
)

export const KeyParams = Type.Object({ id: Type.String({ description: 'Id of the key.' }) })
