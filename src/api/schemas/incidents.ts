import { Type } from 'typebox'
import { impacts, type State, states } from '../../enums.ts'
import { maxAffectedMonitors, maxLengths } from '../../limits.ts'
import { describe, Nullable, strict, StringEnum } from '../../wire/envelope.ts'
import { Id } from '../../wire/ids.ts'
import { pageQuery } from '../../wire/pagination.ts'
import { Time } from '../../wire/time.ts'

export const Title = Type.String({
  minLength: 1,
  maxLength: maxLengths.incidents.title,
  pattern: '\\S',
  description: 'Title, 1 to 255 characters, not blank.',
})
export const MonitorTag = Type.String({ description: 'Tag of an existing monitor.' })
export const createdAt = describe(Time, 'When it was created.')
export const updatedAt = describe(Time, 'When it was last updated.')

const StateSchema = StringEnum(states, { description: 'State of the work on the incident.' })
const CommentState = describe(StateSchema, 'State of the incident according to the comment.')
const Text = Type.String({
  minLength: 1,
  maxLength: maxLengths.incident_comments.comment,
  pattern: '\\S',
  description: 'Text of the comment, 1 to 10,000 characters, not blank.',
})
const Timestamp = describe(Time, 'Time of the comment.')
const StartedAt = describe(Time, 'Start of the incident.')
const EndedAt = describe(Nullable(Time), 'End of the incident, not before its start. Null: no end is known.')

const Affected = Type.Object(
  {
    monitor_tag: MonitorTag,
    impact: StringEnum(impacts, {
      description: 'Status of the monitor while the incident is open, unless a worse impact applies.',
    }),
  },
  strict,
)
const AffectedList = Type.Array(Affected, {
  maxItems: maxAffectedMonitors,
  description: 'Affected monitors, at most 1,000, each at most once.',
})

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
    state: CommentState,
    timestamp: Timestamp,
    created_at: createdAt,
  },
  { examples: [commentExample] },
)

const incident = {
  id: Id,
  title: Title,
  state: StateSchema,
  started_at: StartedAt,
  ended_at: EndedAt,
  monitors: AffectedList,
}

const times = { created_at: createdAt, updated_at: updatedAt }

const example = {
  id: 1,
  title: 'Website is slow',
  state: 'INVESTIGATING',
  started_at: '2026-01-01T00:00:00Z',
  ended_at: null,
  monitors: [{ monitor_tag: 'website', impact: 'DEGRADED' }],
}
export const timesExample = { created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z' }

/** Item of a list. */
export const Incident = Type.Object(
  { ...incident, ...times },
  { examples: [{ ...example, ...timesExample }] },
)

/** The single view. */
export const IncidentWithComments = Type.Object(
  { ...incident, comments: Type.Array(Comment, { description: 'All comments, newest first.' }), ...times },
  { examples: [{ ...example, comments: [commentExample], ...timesExample }] },
)

/** Item of the public page. */
export const PublicIncident = Type.Object(
  {
    ...incident,
    newest_comment: Type.Unsafe<{ comment: string; state: State; timestamp: string } | null>({
      ...Type.Object({ comment: Text, state: CommentState, timestamp: Timestamp }),
      type: ['object', 'null'],
      description: 'Newest comment. Null: there are no comments.',
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
    started_at: Type.Optional(describe(StartedAt, 'Start of the incident. Default: now.')),
    ended_at: Type.Optional(
      describe(
        EndedAt,
        'End of the incident, not before its start; it may be in the future. Default: now if the state is RESOLVED, ' +
          'otherwise null.',
      ),
    ),
    state: Type.Optional(
      describe(
        StateSchema,
        'State of the work on the incident. Default: RESOLVED if ended_at has passed, otherwise INVESTIGATING.',
      ),
    ),
    monitors: Type.Optional(
      describe(AffectedList, 'Affected monitors, at most 1,000, each at most once. Default: none.'),
    ),
    comment: Type.Optional(
      describe(Text, 'Text of the first comment, 1 to 10,000 characters, not blank. Default: no comment.'),
    ),
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
    started_at: Type.Optional(StartedAt),
    ended_at: Type.Optional(
      describe(EndedAt, 'End of the incident, not before its start; it may be in the future. Null: no end.'),
    ),
    state: Type.Optional(
      describe(
        StateSchema,
        'State of the work on the incident. Without ended_at, RESOLVED ends the incident now unless it has ended, ' +
          'and any other state clears an end that has passed.',
      ),
    ),
    monitors: Type.Optional(
      describe(AffectedList, 'Replaces all affected monitors: at most 1,000, each at most once.'),
    ),
  },
  { ...strict, examples: [{ state: 'RESOLVED' }, { monitors: [] }] },
)

export const ListIncidents = Type.Object(
  {
    state: Type.Optional(describe(StateSchema, 'Only incidents in this state.')),
    open: Type.Optional(
      Type.Boolean({
        description:
          'true: only open incidents. false: only incidents that are not open. An incident is open if its state is not ' +
          'RESOLVED, it has started and it has not ended.',
      }),
    ),
    monitor_tag: Type.Optional(Type.String({ description: 'Only incidents that affect this monitor.' })),
    from: Type.Optional(describe(Time, 'Only incidents that started at this time or later.')),
    to: Type.Optional(describe(Time, 'Only incidents that started before this time.')),
    ...pageQuery,
  },
  strict,
)

const IncidentId = describe(Id, 'Id of the incident.')
export const IncidentParams = Type.Object({ id: IncidentId })
export const CommentParams = Type.Object({
  id: IncidentId,
  comment_id: describe(Id, 'Id of the comment.'),
})

export const CreateComment = Type.Object(
  {
    comment: Text,
    state: Type.Optional(
      describe(
        StateSchema,
        'New state of the incident: RESOLVED ends it at the time of the comment unless it has ended, and any other ' +
          'state clears an end that has passed. Default: the state does not change.',
      ),
    ),
    timestamp: Type.Optional(describe(Time, 'Time of the comment. Default: now.')),
  },
  {
    ...strict,
    examples: [
      { comment: 'The cause has been found', state: 'IDENTIFIED' },
      { comment: 'The fix has been deployed', state: 'RESOLVED' },
    ],
  },
)
export const UpdateComment = Type.Object(
  {
    comment: Type.Optional(Text),
    state: Type.Optional(
      describe(
        StateSchema,
        'New state of the comment. If the comment is the newest of its incident, also the new state of the incident.',
      ),
    ),
    timestamp: Type.Optional(Timestamp),
  },
  { ...strict, examples: [{ comment: 'A fix has been deployed' }] },
)
export const ListComments = Type.Object(pageQuery, strict)
