import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Impact } from '../enums.ts'
import { commentNotFound, incidentNotFound } from '../errors.ts'
import { rethrowIncidentError } from '../incidents/errors.ts'
import * as incidents from '../incidents/repository.ts'
import { assertUniqueMonitors } from '../monitors/affected.ts'
import { Envelope, NoContent, Page } from '../wire/envelope.ts'
import { assertRangeOrder, decodeCursor, encodeCursor, paginate } from '../wire/pagination.ts'
import { formatTime, formatTimeOrNull, parseOptionalTime } from '../wire/time.ts'
import {
  Comment,
  CommentParams,
  CreateComment,
  CreateIncident,
  Incident,
  IncidentParams,
  IncidentWithComments,
  ListComments,
  ListIncidents,
  UpdateComment,
  UpdateIncident,
} from './schemas/incidents.ts'

const read = { permission: 'read:incidents' } as const
const write = { permission: 'write:incidents' } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    { config: read, schema: { querystring: ListIncidents, response: { 200: Page(Incident) } } },
    async function listIncidents({ query: { limit, cursor, from, to, monitor_tag: tag, ...filter } }) {
      assertRangeOrder({ from, to })
      const position = decodeCursor(cursor)
      const rows = await incidents.listIncidents(
        app.db,
        {
          ...filter,
          monitor_tags: tag === undefined ? undefined : [tag],
          from: parseOptionalTime(from),
          to: parseOptionalTime(to),
          cursor: position && { startedAt: position.at, id: position.id },
        },
        limit + 1,
      )
      const { data, pagination } = paginate(rows, limit, (last) => encodeCursor(last.started_at, last.id))
      return { success: true as const, data: data.map(serializeIncident), pagination }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateIncident, response: { 201: Envelope(IncidentWithComments) } } },
    async function createIncident({ body }, reply) {
      assertUniqueMonitors(body.monitors)
      const id = await incidents
        .insertIncident(app.db, {
          title: body.title,
          startedAt: parseOptionalTime(body.started_at),
          endedAt: parseOptionalTimeOrNull(body.ended_at),
          state: body.state,
          monitors: body.monitors ?? [],
          comment: body.comment,
        })
        .catch(rethrowIncidentError(body.monitors))
      return reply.code(201).send(await getIncident(id))
    },
  )

  app.get(
    '/:id',
    {
      config: read,
      schema: { params: IncidentParams, response: { 200: Envelope(IncidentWithComments) } },
    },
    async function readIncident({ params }) {
      return getIncident(params.id)
    },
  )

  app.patch(
    '/:id',
    {
      config: write,
      schema: {
        params: IncidentParams,
        body: UpdateIncident,
        response: { 200: Envelope(IncidentWithComments) },
      },
    },
    async function updateIncident({ params, body }) {
      assertUniqueMonitors(body.monitors)
      const found = await incidents
        .updateIncident(app.db, params.id, {
          title: body.title,
          startedAt: parseOptionalTime(body.started_at),
          endedAt: parseOptionalTimeOrNull(body.ended_at),
          state: body.state,
          monitors: body.monitors,
        })
        .catch(rethrowIncidentError(body.monitors))
      if (!found) throw incidentNotFound()
      return getIncident(params.id)
    },
  )

  app.delete(
    '/:id',
    { config: { permission: 'admin' }, schema: { params: IncidentParams, response: { 204: NoContent } } },
    async function deleteIncident({ params }, reply) {
      if (!(await incidents.deleteIncident(app.db, params.id))) throw incidentNotFound()
      return reply.code(204).send(null)
    },
  )

  app.get(
    '/:id/comments',
    {
      config: read,
      schema: { params: IncidentParams, querystring: ListComments, response: { 200: Page(Comment) } },
    },
    async function listComments({ params, query: { limit, cursor } }) {
      const position = decodeCursor(cursor)
      if (!(await incidents.findIncident(app.db, params.id))) throw incidentNotFound()
      const rows = await incidents.listComments(app.db, params.id, { cursor: position, limit: limit + 1 })
      const { data, pagination } = paginate(rows, limit, (last) => encodeCursor(last.commented_at, last.id))
      return { success: true as const, data: data.map(serializeComment), pagination }
    },
  )

  app.post(
    '/:id/comments',
    {
      config: write,
      schema: { params: IncidentParams, body: CreateComment, response: { 201: Envelope(Comment) } },
    },
    async function createComment({ params, body: { comment, state, timestamp } }, reply) {
      const stored = await incidents.insertComment(app.db, params.id, {
        comment,
        state,
        at: parseOptionalTime(timestamp),
      })
      if (!stored) throw incidentNotFound()
      return reply.code(201).send({ success: true, data: serializeComment(stored) })
    },
  )

  app.patch(
    '/:id/comments/:comment_id',
    {
      config: write,
      schema: { params: CommentParams, body: UpdateComment, response: { 200: Envelope(Comment) } },
    },
    async function updateComment({ params, body: { comment, state, timestamp } }) {
      const changes = { comment, state, at: parseOptionalTime(timestamp) }
      const stored = await incidents.updateComment(app.db, params.id, params.comment_id, changes)
      if (!stored) throw commentNotFound()
      return { success: true as const, data: serializeComment(stored) }
    },
  )

  app.delete(
    '/:id/comments/:comment_id',
    { config: write, schema: { params: CommentParams, response: { 204: NoContent } } },
    async function deleteComment({ params }, reply) {
      if (!(await incidents.deleteComment(app.db, params.id, params.comment_id))) throw commentNotFound()
      return reply.code(204).send(null)
    },
  )

  async function getIncident(id: number) {
    const incident = await incidents.findIncident(app.db, id)
    if (!incident) throw incidentNotFound()
    const comments = await incidents.listComments(app.db, id)
    return {
      success: true as const,
      data: { ...serializeIncident(incident), comments: comments.map(serializeComment) },
    }
  }
}

export default routes

function parseOptionalTimeOrNull(text: string | null | undefined): Date | null | undefined {
  return text === null ? null : parseOptionalTime(text)
}

function isImpaired(affected: incidents.Affected): affected is { monitor_tag: string; impact: Impact } {
  return affected.impact !== 'UP'
}

/** What everyone may see of an incident. */
export function serializePublicIncident(incident: incidents.Incident) {
  return {
    id: incident.id,
    title: incident.title,
    state: incident.state,
    started_at: formatTime(incident.started_at),
    ended_at: formatTimeOrNull(incident.ended_at),
    monitors: incident.monitors.filter(isImpaired),
  }
}

function serializeIncident(incident: incidents.Incident) {
  return {
    ...serializePublicIncident(incident),
    created_at: formatTime(incident.created_at),
    updated_at: formatTime(incident.updated_at),
  }
}

function serializeComment(comment: incidents.Comment) {
  return {
    id: comment.id,
    comment: comment.comment,
    state: comment.state,
    timestamp: formatTime(comment.commented_at),
    created_at: formatTime(comment.created_at),
  }
}
