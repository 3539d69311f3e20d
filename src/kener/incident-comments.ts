import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from 'typebox'
import { databaseNow } from '../database/clock.ts'
import { change } from '../http/change-context.ts'
import { scopeOf } from '../http/permission-guard.ts'
import * as comments from '../incidents/comments.ts'
import { readPages, sendList } from './list.ts'
import { Comment, CommentParams, CreateComment, IncidentParams, UpdateComment } from './schemas/incidents.ts'
import { Message, Only } from './schemas/shared.ts'
import { toMinuteStart, toSeconds } from './wire.ts'

const read = { permission: 'read:incidents', tags: {} } as const
const write = { permission: 'write:incidents', tags: {} } as const

const CommentList = Only('comments', Type.Array(Comment), 'All comments of the incident, newest first')
const OneComment = Only('comment', Comment, 'The comment')
const CreatedComment = Only('comment', Comment, 'The created comment')

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/:incident_id/comments',
    {
      config: read,
      schema: {
        operationId: 'v4ListComments',
        summary: 'List the comments of an incident',
        params: IncidentParams,
        response: { 200: CommentList },
      },
    },
    async (request, reply) => {
      const pages = readPages<comments.Comment>((last, limit) =>
        comments.listComments(app.db, request.params.incident_id, scopeOf(request), {
          cursor: last && { at: last.commented_at, id: last.id },
          limit,
        }),
      )
      return sendList(reply, 'comments', pages, serializeComment) as never
    },
  )

  app.post(
    '/:incident_id/comments',
    {
      config: write,
      schema: {
        operationId: 'v4CreateComment',
        summary: 'Add a comment to an incident',
        params: IncidentParams,
        body: CreateComment,
        response: { 201: CreatedComment },
      },
    },
    async (request, reply) => {
      const { comment, state, timestamp } = request.body
      const seconds = timestamp ?? toSeconds(await databaseNow(app.db))
      const values = { comment: comment.trim(), state, commented_at: toMinuteStart(seconds) }
      const created = await change(request, (change) =>
        comments.createComment(change, request.params.incident_id, values, scopeOf(request)),
      )
      return reply.code(201).send({ comment: serializeComment(created) })
    },
  )

  app.get(
    '/:incident_id/comments/:comment_id',
    {
      config: read,
      schema: {
        operationId: 'v4ReadComment',
        summary: 'Get a comment',
        params: CommentParams,
        response: { 200: OneComment },
      },
    },
    async (request) => {
      const { incident_id, comment_id } = request.params
      const comment = await comments.getComment(app.db, incident_id, comment_id, scopeOf(request))
      return { comment: serializeComment(comment) }
    },
  )

  app.patch(
    '/:incident_id/comments/:comment_id',
    {
      config: write,
      schema: {
        operationId: 'v4UpdateComment',
        summary: 'Update a comment',
        params: CommentParams,
        body: UpdateComment,
        response: { 200: OneComment },
      },
    },
    async (request) => {
      const { incident_id: incidentId, comment_id: id } = request.params
      const { comment, state, timestamp } = request.body
      const commented_at = timestamp === undefined ? undefined : toMinuteStart(timestamp)
      const changes = { comment, state, commented_at }
      // In Kener only a new comment sets the state of the incident, an update does not.
      const options = { appliesState: false }
      const updated = await change(request, (change) =>
        comments.updateComment(change, incidentId, id, changes, scopeOf(request), options),
      )
      return { comment: serializeComment(updated) }
    },
  )

  app.delete(
    '/:incident_id/comments/:comment_id',
    {
      config: write,
      schema: {
        operationId: 'v4DeleteComment',
        summary: 'Delete a comment',
        params: CommentParams,
        response: { 200: Message },
      },
    },
    async (request) => {
      const { incident_id: incidentId, comment_id: id } = request.params
      await change(request, (change) => comments.deleteComment(change, incidentId, id, scopeOf(request)))
      return { message: `Comment with id '${id}' deleted successfully` }
    },
  )
}

export default routes

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
