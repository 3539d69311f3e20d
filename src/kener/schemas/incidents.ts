import { Type } from 'typebox'
import { states } from '../../enums.ts'
import { maxLengths } from '../../limits.ts'
import { Nullable, StringEnum } from '../../wire/envelope.ts'
import {
  affected,
  idOf,
  minute,
  newAffected,
  nonBlankText,
  resourceUrl,
  seconds,
  timestamps,
  timestampsExample,
} from './shared.ts'

const incident = {
  id: idOf('incident'),
  title: Type.String({ description: 'Title of the incident.' }),
  start_date_time: seconds('Start of the incident'),
  end_date_time: Nullable(seconds('End of the incident', 'Null: it has not ended, and no end is planned.')),
  state: StringEnum(states, { description: 'Current state of the incident.' }),
  incident_source: Type.String({ description: 'Always API.' }),
  monitors: affected,
  ...timestamps,
  url: resourceUrl,
}

const incidentExample = {
  id: 1,
  title: 'Website is slow',
  start_date_time: 1_767_225_600,
  end_date_time: null,
  state: 'INVESTIGATING',
  incident_source: 'API',
  monitors: [{ monitor_tag: 'website', impact: 'DEGRADED' }],
  ...timestampsExample,
  url: 'https://status.example.com/incidents/1',
}

/** An incident in a list. */
export const Incident = Type.Object(incident, { examples: [incidentExample] })

export const IncidentDetail = Type.Object(
  { ...incident, incident_type: Type.String({ description: 'Always INCIDENT.' }) },
  { examples: [{ ...incidentExample, incident_type: 'INCIDENT' }] },
)

const title = nonBlankText(maxLengths.incidents.title, 'Title of the incident.')
const start = minute('Start of the incident')
const end = Type.Optional(Nullable(minute('End of the incident, not before its start', 'Null or 0: no end.')))

export const CreateIncident = Type.Object(
  {
    title,
    start_date_time: start,
    end_date_time: end,
    monitors: Type.Optional(newAffected('DOWN')),
  },
  { examples: [{ title: 'Website is slow', start_date_time: 1_767_225_600 }] },
)

export const UpdateIncident = Type.Object(
  {
    title: Type.Optional(title),
    start_date_time: Type.Optional(start),
    end_date_time: end,
    monitors: Type.Optional(newAffected('DOWN')),
  },
  { examples: [{ title: 'Website was slow', monitors: [] }] },
)

export const ListIncidents = Type.Object({
  start_ts: Type.Optional(seconds('Only incidents that start at or after this time')),
  end_ts: Type.Optional(seconds('Only incidents that start at or before this time', '0: no filter.')),
  monitor_tags: Type.Optional(
    Type.String({
      description: 'Comma-separated tags. Only incidents that affect at least one of these monitors.',
    }),
  ),
})

export const IncidentParams = Type.Object({ incident_id: idOf('incident') })

const commentState = StringEnum(states, { description: 'State of the incident that the comment reports.' })

export const Comment = Type.Object(
  {
    id: idOf('comment'),
    incident_id: idOf('incident'),
    comment: Type.String({ description: 'Text of the comment.' }),
    timestamp: seconds('Time of the comment'),
    state: commentState,
    ...timestamps,
  },
  {
    examples: [
      {
        id: 1,
        incident_id: 1,
        comment: 'We are looking into it',
        timestamp: 1_767_225_600,
        state: 'INVESTIGATING',
        ...timestampsExample,
      },
    ],
  },
)

const commentText = nonBlankText(maxLengths.incident_comments.comment, 'Text of the comment.')

export const CreateComment = Type.Object(
  {
    comment: commentText,
    state: StringEnum(states, { description: 'New state of the incident.' }),
    timestamp: Type.Optional(Nullable(minute('Time of the comment', 'Default, also if null: now.'))),
  },
  { examples: [{ comment: 'We are looking into it', state: 'IDENTIFIED' }] },
)

export const UpdateComment = Type.Object(
  {
    comment: Type.Optional(commentText),
    state: Type.Optional(
      StringEnum(states, { description: 'State that the comment reports. The incident keeps its state.' }),
    ),
    timestamp: Type.Optional(minute('Time of the comment')),
  },
  { examples: [{ comment: 'We have found the cause' }] },
)

export const CommentParams = Type.Object({ incident_id: idOf('incident'), comment_id: idOf('comment') })
