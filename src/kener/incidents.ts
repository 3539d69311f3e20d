import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { databaseNow } from '../database/clock.ts'
import { ApiError, invalidField } from '../errors.ts'
import * as comments from '../incidents/comments.ts'
import * as incidents from '../incidents/repository.ts'
import {
  Comment,
  CommentParams,
  CreateComment,
  CreateIncident,
  Incident,
  IncidentDetail,
  IncidentParams,
  ListIncidents,
  Message,
  originOf,
  splitTags,
  toAffected,
  toMinuteStart,
  toSeconds,
  UpdateComment,
  UpdateIncident,
} from './schemas.ts'

const read = { permission: 'read:incidents' } as const
const write = { permission: 'write:incidents' } as const

/** As many as Kener's list has; it has no pages. */
const maxListed = 1_000

const OneIncident = Type.Object({ incident: IncidentDetail })
const OneComment = Type.Object({ comment: Comment })

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: read,
      schema: {
        querystring: ListIncidents,
        response: { 200: Type.Object({ incidents: Type.Array(Incident) }) },
      },
    },
    async function v4ListIncidents(request) {
      const { start_ts: start, end_ts: end, monitor_tags: tags } = request.query
      const filter = {
        from: start === undefined ? undefined : new Date(start * 1000),
        // The end belongs to Kener's window, and starts are whole seconds.
        to: end ? new Date((end + 1) * 1000) : undefined,
        monitor_tags: tags === undefined ? undefined : splitTags(tags),
      }
      const found = await incidents.listIncidents(app.db, filter, maxListed, 'id')
      return { incidents: found.map((incident) => serializeIncident(incident, originOf(request))) }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateIncident, response: { 201: OneIncident } } },
    async function v4CreateIncident(request, reply) {
      const { body } = request
      const id = await incidents
        .createIncident(app.db, {
          title: body.title.trim(),
          started_at: toMinuteStart(body.start_date_time),
          ended_at: toEnd(body.end_date_time),
          // In Kener an end does not resolve an incident.
          state: 'INVESTIGATING',
          monitors: toAffected(body.monitors ?? [], 'DOWN'),
        })
        .catch(rethrowWithKenerField)
      return reply.code(201).send(await toResponse(id, request))
    },
  )

  app.get(
    '/:incident_id',
    { config: read, schema: { params: IncidentParams, response: { 200: OneIncident } } },
    async function v4ReadIncident(request) {
      return toResponse(request.params.incident_id, request)
    },
  )

  app.patch(
    '/:incident_id',
    {
      config: write,
      schema: { params: IncidentParams, body: UpdateIncident, response: { 200: OneIncident } },
    },
    async function v4UpdateIncident(request) {
      const { body, params } = request
      const id = params.incident_id
      const changes = {
        title: body.title?.trim(),
        started_at: body.start_date_time === undefined ? undefined : toMinuteStart(body.start_date_time),
        ended_at: toEnd(body.end_date_time),
        monitors: body.monitors && toAffected(body.monitors, 'DOWN'),
      }
      await incidents.updateIncident(app.db, id, changes).catch(rethrowWithKenerField)
      return toResponse(id, request)
    },
  )

  app.delete(
    '/:incident_id',
    { config: { permission: 'admin' }, schema: { params: IncidentParams, response: { 200: Message } } },
    async function v4DeleteIncident({ params: { incident_id: id } }) {
      await incidents.deleteIncident(app.db, id)
      return { message: `Incident with id '${id}' deleted successfully` }
    },
  )

  app.get(
    '/:incident_id/comments',
    {
      config: read,
      schema: { params: IncidentParams, response: { 200: Type.Object({ comments: Type.Array(Comment) }) } },
    },
    async function v4ListComments({ params: { incident_id: id } }) {
      const listed = await comments.listComments(app.db, id)
      return { comments: listed.map(serializeComment) }
    },
  )

  app.post(
    '/:incident_id/comments',
    {
      config: write,
      schema: { params: IncidentParams, body: CreateComment, response: { 201: OneComment } },
    },
    async function v4CreateComment({ params: { incident_id: id }, body }, reply) {
      const seconds = body.timestamp ?? toSeconds(await databaseNow(app.db))
      const comment = {
        comment: body.comment.trim(),
        state: body.state,
        commented_at: toMinuteStart(seconds),
      }
      const stored = await comments.createComment(app.db, id, comment)
      return reply.code(201).send({ comment: serializeComment(stored) })
    },
  )

  app.get(
    '/:incident_id/comments/:comment_id',
    { config: read, schema: { params: CommentParams, response: { 200: OneComment } } },
    async function v4ReadComment({ params }) {
      const comment = await comments.getComment(app.db, params.incident_id, params.comment_id)
      return { comment: serializeComment(comment) }
    },
  )

  app.patch(
    '/:incident_id/comments/:comment_id',
    {
      config: write,
      schema: { params: CommentParams, body: UpdateComment, response: { 200: OneComment } },
    },
    async function v4UpdateComment({ params, body: { comment, state, timestamp } }) {
      const commented_at = timestamp === undefined ? undefined : toMinuteStart(timestamp)
      const changes = { comment, state, commented_at }
      // In Kener a comment moves its incident when it is posted, and not when it is mended.
      const stored = await comments.updateComment(app.db, params.incident_id, params.comment_id, changes, {
        appliesState: false,
      })
      return { comment: serializeComment(stored) }
    },
  )

  app.delete(
    '/:incident_id/comments/:comment_id',
    { config: write, schema: { params: CommentParams, response: { 200: Message } } },
    async function v4DeleteComment({ params }) {
      await comments.deleteComment(app.db, params.incident_id, params.comment_id)
      return { message: `Comment with id '${params.comment_id}' deleted successfully` }
    },
  )

  async function toResponse(id: number, request: FastifyRequest) {
    const incident = await incidents.getIncident(app.db, id)
    return { incident: { ...serializeIncident(incident, originOf(request)), incident_type: 'INCIDENT' } }
  }
}

export default routes

/** Reports an error of the end under Kener's name of the field. */
function rethrowWithKenerField(error: unknown): never {
  const [detail] = error instanceof ApiError ? (error.details ?? []) : []
  throw detail?.path === '/ended_at' ? invalidField('/end_date_time', 'must not be before the start') : error
}

function toEnd(seconds: number | null | undefined): Date | null | undefined {
  return seconds === undefined ? undefined : seconds ? toMinuteStart(seconds) : null
}

function serializeIncident(incident: incidents.Incident, origin: string): Static<typeof Incident> {
  return {
    id: incident.id,
    title: incident.title,
    start_date_time: toSeconds(incident.started_at),
    end_date_time: incident.ended_at && toSeconds(incident.ended_at),
    state: incident.state,
    incident_source: 'API',
    monitors: incident.monitors,
    created_at: incident.created_at.toISOString(),
    updated_at: incident.updated_at.toISOString(),
    url: `${origin}/incidents/${incident.id}`,
  }
}

function serializeComment(comment: comments.Comment): Static<typeof Comment> {
  return {
    id: comment.id,
    incident_id: comment.incident_id,
    comment: comment.comment,
    timestamp: toSeconds(comment.commented_at),
    state: comment.state,
    created_at: comment.created_at.toISOString(),
    updated_at: comment.updated_at.toISOString(),
  }
}
