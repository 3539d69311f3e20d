import { Type } from 'typebox'
import { adviceCodes } from '../../keys/findings.ts'
import { usageRetention } from '../../keys/usage-retention.ts'
import { type UsageInterval, usageIntervals } from '../../keys/usage.ts'
import { type Permission, permissions } from '../../permissions.ts'
import { describe, strict, StringEnum } from '../../wire/envelope.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'
import { UpdateKey } from './keys.ts'

export const ReadUsage = Type.Object(
  {
    from: Type.Optional(
      describe(
        Time,
        'Only buckets from the one that contains this time on. Default: 24 hours or 30 days before the end.',
      ),
    ),
    to: Type.Optional(
      describe(
        Time,
        'Only buckets that start before this time. Default: until now, with the current bucket.',
      ),
    ),
    interval: StringEnum(Object.keys(usageIntervals) as UsageInterval[], {
      default: 'hour',
      description:
        `Length of a bucket. Days are UTC days. Usage is kept by the hour for ${usageRetention.hourly} days, and by the ` +
        `day for ${usageRetention.daily}.`,
    }),
    limit: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 1_440,
      description: 'Maximum number of buckets in the response, 1 to 10,000.',
    }),
    cursor: pageQuery.cursor,
  },
  strict,
)

const Requests = (description: string) => Type.Integer({ minimum: 0, description })

export const UsageBucket = Type.Object(
  {
    timestamp: describe(Time, 'Start of the hour or UTC day.'),
    requests: Requests(
      'Number of requests with the key, with those that were rejected. Each log-in to the panel counts as one that requires admin.',
    ),
    by_permission: Type.Object(
      Object.fromEntries(
        permissions.map((permission) => [
          permission,
          Requests(`Number of requests to routes that require ${permission}.`),
        ]),
      ) as Record<Permission, ReturnType<typeof Requests>>,
      {
        description:
          'Requests that were not rejected, by the permission that their route requires. Those to routes that require ' +
          'no permission, such as GET /api/me, are only counted in requests.',
      },
    ),
    rejected: Type.Object(
      {
        forbidden: Requests(
          'Number of requests that were 403, because of a permission, a monitor or the address.',
        ),
        rate_limited: Requests(
          'Number of requests that were 429, because the limit of the key was exceeded.',
        ),
      },
      { description: 'Rejected requests.' },
    ),
  },
  {
    examples: [
      {
        timestamp: '2026-01-01T00:00:00Z',
        requests: 128,
        by_permission: {
          'read:monitors': 120,
          'write:monitors': 0,
          'delete:monitors': 0,
          'read:incidents': 4,
          'write:incidents': 0,
          admin: 0,
        },
        rejected: { forbidden: 1, rate_limited: 2 },
      },
    ],
  },
)

export const ListAdvice = Type.Object(pageQuery, strict)

export const Finding = Type.Object(
  {
    key_id: Type.String({ description: 'Id of the key.' }),
    key_name: Type.String({ description: 'Name of the key.' }),
    code: StringEnum(adviceCodes, {
      description:
        'unused_permission: no request of 90 days needed one of its permissions. never_expires: it has no expiry. ' +
        'expires_soon: it expires within 14 days. idle: it was not used for 90 days. rotated_but_used: it was used after ' +
        'it was rotated.',
    }),
    message: Type.String({ description: 'What was found, and what to do, for people. It may change.' }),
    since: Type.Optional(describe(Time, 'Since when this is the case. Omitted for an expiry.')),
    fix: Type.Optional(
      Type.Object(
        {
          method: StringEnum(['PATCH', 'POST'], { description: 'Method of the request.' }),
          path: Type.String({ description: 'Path of the request.' }),
          body: Type.Object(
            {
              permissions: UpdateKey.properties.permissions,
              expires_at: UpdateKey.properties.expires_at,
            },
            { description: 'Body of the request.' },
          ),
        },
        {
          description:
            'The request that resolves the finding. Omitted if there is none that leaves the key a permission and the ' +
            'calling key its access.',
        },
      ),
    ),
  },
  {
    examples: [
      {
        key_id: 'aB3dE5fG7hJ9kL1m',
        key_name: 'monitoring-service',
        code: 'unused_permission',
        message: 'No request of this key needed admin for 90 days: it needed only read:monitors',
        since: '2026-01-01T00:00:00Z',
        fix: {
          method: 'PATCH',
          path: '/api/keys/aB3dE5fG7hJ9kL1m',
          body: { permissions: ['read:monitors'] },
        },
      },
    ],
  },
)
