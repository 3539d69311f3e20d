import { Type } from 'typebox'
import { impacts, type State, states } from '../../enums.ts'
import { Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

const StateSchema = StringEnum(states)
export const Title = Type.String({ minLength: 1, maxLength: 255, pattern: '\\S' })
const Text = Type.String({ minLength: 1, maxLength: 10_000, pattern: '\\S' })
export const Id = Type.Integer({ minimum: 1, maximum: 2_147_483_647 })

const Affected = Type.Object({ monitor_tag: Type.String(), impact: StringEnum(impacts) }, strict)
const AffectedList = Type.Array(Affected, { maxItems: 1_000 })

const commentExample = {
  id: 1,
  comment: 'We are looking into it',
  state: 'INVESTIGATING',
  timestamp: '2026-01-01T00:00:00Z',
  created_at: '2026-01-01T00:00:00Z',
}

export const Comment = Type.Object(
  {
    id: Id,
    comment: Text,
    state: StateSchema,
    timestamp: Time,
    created_at: Time,
  },
  { examples: [commentExample] },
)

const incident = {
  id: Id,
  title: Title,
  state: StateSchema,
  started_at: Time,
  ended_at: Nullable(Time),
  monitors: AffectedList,
}

const times = { created_at: Time, updated_at: Time }

const example = {
  id: 1,
  title: 'Website is slow',
  state: 'INVESTIGATING',
  started_at: '2026-01-01T00:00:00Z',
  ended_at: null,
  monitors: [{ monitor_tag: 'website', impact: 'DEGRADED' }],
}
export const timesExample = { created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z' }

/** In lists. */
export const Incident = Type.Object(
  { ...incident, ...times },
  { examples: [{ ...example, ...timesExample }] },
)

/** In the single view: with its timeline, newest first. */
export const IncidentWithComments = Type.Object(
  { ...incident, comments: Type.Array(Comment), ...times },
  { examples: [{ ...example, comments: [commentExample], ...timesExample }] },
)

/** On the public page: with the newest of its comments. */
export const PublicIncident = Type.Object(
  {
    ...incident,
    newest_comment: Type.Unsafe<{ comment: string; state: State; timestamp: string } | null>({
      ...Type.Object({ comment: Text, state: StateSchema, timestamp: Time }),
      type: ['object', 'null'],
    }),
  },
  {
    examples: [
      {
        ...example,
        newest_comment: {
          comment: 'We are looking into it',
          state: 'INVESTIGATING',
          timestamp: '2026-01-01T00:00:00Z',
        },
      },
    ],
  },
)

export const CreateIncident = Type.Object(
  {
    title: Title,
    started_at: Type.Optional(Time),
    ended_at: Type.Optional(Nullable(Time)),
    state: Type.Optional(StateSchema),
    monitors: Type.Optional(AffectedList),
    comment: Type.Optional(Text),
  },
  {
    ...strict,
    examples: [
      {
        title: 'Website is slow',
        monitors: [{ monitor_tag: 'website', impact: 'DEGRADED' }],
        comment: 'We are looking into it',
      },
    ],
  },
)

export const UpdateIncident = Type.Object(
  {
    title: Type.Optional(Title),
    started_at: Type.Optional(Time),
    ended_at: Type.Optional(Nullable(Time)),
    state: Type.Optional(StateSchema),
    monitors: Type.Optional(AffectedList),
  },
  { ...strict, examples: [{ state: 'RESOLVED' }, { monitors: [] }] },
)

export const ListIncidents = Type.Object(
  {
    state: Type.Optional(StateSchema),
    open: Type.Optional(Type.Boolean()),
    monitor_tag: Type.Optional(Type.String()),
    from: Type.Optional(Time),
    to: Type.Optional(Time),
    ...pageQuery,
  },
  strict,
)

export const IncidentParams = Type.Object({ id: Id })
export const CommentParams = Type.Object({ id: Id, comment_id: Id })

export const CreateComment = Type.Object(
  { comment: Text, state: Type.Optional(StateSchema), timestamp: Type.Optional(Time) },
  {
    ...strict,
    examples: [
      { comment: 'A fix is on its way', state: 'IDENTIFIED' },
      { comment: 'It is over', state: 'RESOLVED' },
    ],
  },
)
export const UpdateComment = Type.Partial(CreateComment, {
  ...strict,
  examples: [{ comment: 'A fix has been deployed' }],
})
export const ListComments = Type.Object(pageQuery, strict)
