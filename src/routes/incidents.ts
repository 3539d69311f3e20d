import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import * as incidents from '../database/incidents.ts'
import { invalidRequest, notFound } from '../errors.ts'
import { NoContent, Page, Success } from '../schemas/envelope.ts'
import {
  Comment,
  CommentParams,
  CreateComment,
  CreateIncident,
  type Impact,
  Incident,
  IncidentParams,
  IncidentWithComments,
  ListComments,
  ListIncidents,
  UpdateComment,
  UpdateIncident,
} from '../schemas/incidents.ts'
import { formatPlace, parsePlace, refuseBackwards, toPage } from '../schemas/page.ts'
import { formatTime, formatTimeOrNull, toTime } from '../schemas/time.ts'
import { explainMonitors, refuseTwice } from './affected.ts'

const read = { permission: 'read:incidents' } as const
const write = { permission: 'write:incidents' } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    { config: read, schema: { querystring: ListIncidents, response: { 200: Page(Incident) } } },
    async function listIncidents({ query: { limit, cursor, from, to, monitor_tag: tag, ...filter } }) {
      refuseBackwards({ from, to })
      const place = parsePlace(cursor)
      const rows = await incidents.listIncidents(
        app.db,
        {
          ...filter,
          monitor_tags: tag === undefined ? undefined : [tag],
          from: toTime(from),
          to: toTime(to),
          before: place && { startedAt: place.at, id: place.id },
        },
        limit + 1,
      )
      const { data, pagination } = toPage(rows, limit, (last) => formatPlace(last.started_at, last.id))
      return { success: true as const, data: data.map(toWire), pagination }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateIncident, response: { 201: Success(IncidentWithComments) } } },
    async function createIncident({ body }, reply) {
      refuseTwice(body.monitors)
      const id = await incidents
        .insertIncident(app.db, {
          title: body.title,
          startedAt: toTime(body.started_at),
          endedAt: toTimeOrNull(body.ended_at),
          state: body.state,
          monitors: body.monitors ?? [],
          comment: body.comment,
        })
        .catch(explainRefusal(body.monitors))
      return reply.code(201).send(await showIncident(id))
    },
  )

  app.get(
    '/:id',
    {
      config: read,
      schema: { params: IncidentParams, response: { 200: Success(IncidentWithComments) } },
    },
    async function readIncident({ params }) {
      return showIncident(params.id)
    },
  )

  app.patch(
    '/:id',
    {
      config: write,
      schema: {
        params: IncidentParams,
        body: UpdateIncident,
        response: { 200: Success(IncidentWithComments) },
      },
    },
    async function updateIncident({ params, body }) {
      refuseTwice(body.monitors)
      const found = await incidents
        .updateIncident(app.db, params.id, {
          title: body.title,
          startedAt: toTime(body.started_at),
          endedAt: toTimeOrNull(body.ended_at),
          state: body.state,
          monitors: body.monitors,
        })
        .catch(explainRefusal(body.monitors))
      if (!found) throw noSuchIncident()
      return showIncident(params.id)
    },
  )

  app.delete(
    '/:id',
    { config: { permission: 'admin' }, schema: { params: IncidentParams, response: { 204: NoContent } } },
    async function deleteIncident({ params }, reply) {
      if (!(await incidents.deleteIncident(app.db, params.id))) throw noSuchIncident()
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
      const before = parsePlace(cursor)
      if (!(await incidents.findIncident(app.db, params.id))) throw noSuchIncident()
      const rows = await incidents.listComments(app.db, params.id, { before, limit: limit + 1 })
      const { data, pagination } = toPage(rows, limit, (last) => formatPlace(last.commented_at, last.id))
      return { success: true as const, data: data.map(toWireComment), pagination }
    },
  )

  app.post(
    '/:id/comments',
    {
      config: write,
      schema: { params: IncidentParams, body: CreateComment, response: { 201: Success(Comment) } },
    },
    async function createComment({ params, body: { comment, state, timestamp } }, reply) {
      const stored = await incidents.insertComment(app.db, params.id, {
        comment,
        state,
        at: toTime(timestamp),
      })
      if (!stored) throw noSuchIncident()
      return reply.code(201).send({ success: true, data: toWireComment(stored) })
    },
  )

  app.patch(
    '/:id/comments/:comment_id',
    {
      config: write,
      schema: { params: CommentParams, body: UpdateComment, response: { 200: Success(Comment) } },
    },
    async function updateComment({ params, body: { comment, state, timestamp } }) {
      const changes = { comment, state, at: toTime(timestamp) }
      const stored = await incidents.updateComment(app.db, params.id, params.comment_id, changes)
      if (!stored) throw noSuchComment()
      return { success: true as const, data: toWireComment(stored) }
    },
  )

  app.delete(
    '/:id/comments/:comment_id',
    { config: write, schema: { params: CommentParams, response: { 204: NoContent } } },
    async function deleteComment({ params }, reply) {
      if (!(await incidents.deleteComment(app.db, params.id, params.comment_id))) throw noSuchComment()
      return reply.code(204).send(null)
    },
  )

  async function showIncident(id: number) {
    const incident = await incidents.findIncident(app.db, id)
    if (!incident) throw noSuchIncident()
    const comments = await incidents.listComments(app.db, id)
    return {
      success: true as const,
      data: { ...toWire(incident), comments: comments.map(toWireComment) },
    }
  }
}

export default routes

const noSuchIncident = () => notFound('There is no incident of this id')
const noSuchComment = () => notFound('There is no comment of this id on this incident')

const endBeforeStart = (path: string) =>
  invalidRequest(`Invalid body: ${path} is before the start`, [
    { path, message: 'must not be before the start' },
  ])

/**
 * What the database refused of an incident, in words for the client.
 * @param end where its end stands in the body.
 */
export function explainRefusal(affected: incidents.Affected[] = [], end = '/ended_at') {
  return (error: unknown): never => {
    explainMonitors(error, affected)
    if (error instanceof Error && 'constraint' in error && error.constraint === 'incidents_check') {
      throw endBeforeStart(end)
    }
    throw error
  }
}

function toTimeOrNull(text: string | null | undefined): Date | null | undefined {
  return text === null ? null : toTime(text)
}

function isImpaired(affected: incidents.Affected): affected is { monitor_tag: string; impact: Impact } {
  return affected.impact !== 'UP'
}

/** What everyone may see of an incident. */
export function toPublicWire(incident: incidents.Incident) {
  return {
    id: incident.id,
    title: incident.title,
    state: incident.state,
    started_at: formatTime(incident.started_at),
    ended_at: formatTimeOrNull(incident.ended_at),
    monitors: incident.monitors.filter(isImpaired),
  }
}

function toWire(incident: incidents.Incident) {
  return {
    ...toPublicWire(incident),
    created_at: formatTime(incident.created_at),
    updated_at: formatTime(incident.updated_at),
  }
}

function toWireComment(comment: incidents.Comment) {
  return {
    id: comment.id,
    comment: comment.comment,
    state: comment.state,
    timestamp: formatTime(comment.commented_at),
    created_at: formatTime(comment.created_at),
  }
}
