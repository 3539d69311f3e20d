import { Type } from 'typebox'
import { auditActions, auditTargetTypes, auditVias } from '../../enums.ts'
import { describe, Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

const Action = StringEnum(auditActions, {
  description: 'What was done: the kind of resource, and how it was changed.',
})

export const AuditFilter = {
  actor: Type.Optional(Type.String({ maxLength: 255, description: 'Only changes by the key with this id.' })),
  action: Type.Optional(describe(Action, 'Only events with this action.')),
  target: Type.Optional(
    Type.String({
      maxLength: 2_048,
      description:
        'Only changes of the resource with this id: of a key, incident or maintenance, or the tag of a monitor.',
    }),
  ),
  from: Type.Optional(describe(Time, 'Only events at this time or later.')),
  to: Type.Optional(describe(Time, 'Only events before this time.')),
}

export const ListAuditEvents = Type.Object({ ...AuditFilter, ...pageQuery }, strict)

export const AuditEvent = Type.Object(
  {
    id: Type.Integer({ description: 'Id of the event.' }),
    at: describe(Time, 'When the change was made.'),
    actor: Type.Object(
      {
        key_id: Nullable(
          Type.String({
            description: 'Id of the key that made the change. Null: an operator on the machine.',
          }),
        ),
        key_name: Nullable(Type.String({ description: 'Name that this key had. Null: as for key_id.' })),
        via: StringEnum(auditVias, {
          description: 'How the change was made: by the API, the panel, the command line or an import.',
        }),
      },
      { description: 'What made the change.' },
    ),
    action: Action,
    target: Type.Object(
      {
        type: StringEnum(auditTargetTypes, {
          description:
            'Kind of the resource. A comment belongs to its incident, an event to its maintenance.',
        }),
        id: Type.Unsafe<string | number>({
          type: ['string', 'integer'],
          description:
            'Id of a key, incident or maintenance, tag of a monitor, or address of an imported Kener.',
        }),
        name: Nullable(Type.String({ description: 'Name or title that the resource had. Null: none.' })),
      },
      { description: 'The resource that was changed.' },
    ),
    changes: Type.Unsafe<Record<string, [before: unknown, after: unknown]>>({
      type: 'object',
      additionalProperties: { type: 'array' },
      description:
        'The changed fields, each with its values before and after; null: no value. Texts are shortened to 2,000 characters, lists to 100 items.',
    }),
    address: Nullable(Type.String({ description: 'Address of the client. Null: the command line.' })),
    request_id: Nullable(
      Type.String({ description: 'Id of the request, as in X-Request-Id and the log. Null: no request.' }),
    ),
  },
  {
    examples: [
      {
        id: 42,
        at: '2026-01-01T00:00:00Z',
        actor: { key_id: '0123456789abcdef', key_name: 'ops', via: 'api' },
        action: 'key.updated',
        target: { type: 'key', id: 'fedcba9876543210', name: 'ci' },
        changes: { permissions: [['admin'], ['write:monitors']] },
        address: '203.0.113.7',
        request_id: '8f14e45f-ceea-467f-a8b5-d2d7c2a1d3a1',
      },
    ],
  },
)
