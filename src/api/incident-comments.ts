import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { change } from '../http/change-context.ts'
import { scopeOf } from '../http/permission-guard.ts'
import * as comments from '../incidents/comments.ts'
import { describe, Envelope, NoContent, Page } from '../wire/envelope.ts'
import { pageByTime } from '../wire/pagination.ts'
import { formatTime, parseOptionalTime } from '../wire/time.ts'
import {
  Comment,
  CommentParams,
  CreateComment,
  IncidentParams,
  ListComments,
  UpdateComment,
} from './schemas/incidents.ts'

const read = { permission: 'read:incidents', tags: {} } as const
const write = { permission: 'write:incidents', tags: {} } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/:id/comments',
    {
      config: read,
      schema: {
        operationId: 'listComments',
        summary: 'List the comments of an incident, newest first',
        params: IncidentParams,
        querystring: ListComments,
        response: { 200: describe(Page(Comment), 'A page of comments') },
      },
    },
    async function listComments(request) {
      const { params, query } = request
      return pageByTime(
        query,
        `incidents/${params.id}/comments`,
        (page) => comments.listComments(app.db, params.id, scopeOf(request), page),
        ({ commented_at }) => commented_at,
        serializeComment,
      )
    },
  )

  app.post(
    '/:id/comments',
    {
      config: write,
      schema: {
        operationId: 'createComment',
        summary: 'Add a comment to an incident',
        params: IncidentParams,
        body: CreateComment,
        response: { 201: describe(Envelope(Comment), 'The new comment') },
      },
    },
    async function createComment(request, reply) {
      const { timestamp, ...rest } = request.body
      const comment = { ...rest, commented_at: parseOptionalTime(timestamp) }
      const created = await change(request, (change) =>
        comments.createComment(change, request.params.id, comment, scopeOf(request)),
      )
      return reply.code(201).send({ success: true, data: serializeComment(created) })
    },
  )

  app.patch(
    '/:id/comments/:comment_id',
    {
      config: write,
      schema: {
        operationId: 'updateComment',
        summary: 'Update a comment',
        params: CommentParams,
        body: UpdateComment,
        response: { 200: describe(Envelope(Comment), 'The updated comment') },
      },
    },
    async function updateComment(request) {
      const { id, comment_id: commentId } = request.params
      const { timestamp, ...rest } = request.body
      const changes = { ...rest, commented_at: parseOptionalTime(timestamp) }
      const updated = await change(request, (change) =>
        comments.updateComment(change, id, commentId, changes, scopeOf(request)),
      )
      return { success: true as const, data: serializeComment(updated) }
    },
  )

  app.delete(
    '/:id/comments/:comment_id',
    {
      config: write,
      schema: {
        operationId: 'deleteComment',
        summary: 'Delete a comment',
        params: CommentParams,
        response: { 204: NoContent },
      },
    },
    async function deleteComment(request, reply) {
      const { id, comment_id: commentId } = request.params
      await change(request, (change) => comments.deleteComment(change, id, commentId, scopeOf(request)))
      return reply.code(204).send(null)
    },
  )
}

export default routes

export function serializeComment({ id, comment, state, commented_at, created_at }: comments.Comment) {
  return { id, comment, state, timestamp: formatTime(commented_at), created_at: formatTime(created_at) }
}
