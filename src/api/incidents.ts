import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { Kysely } from 'kysely'
import type { Static } from 'typebox'
import type { Tables } from '../database/schema.ts'
import type { Impact } from '../enums.ts'
import { change } from '../http/change-context.ts'
import { preconditionOf } from '../http/etags.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { batchPages } from '../http/shared-reads.ts'
import { listComments } from '../incidents/comments.ts'
import { listIncidentPages, listIncidentTexts, type PageQuery } from '../incidents/list.ts'
import * as incidents from '../incidents/repository.ts'
import type { Scope } from '../monitors/scope.ts'
import { describe, Envelope, NoContent, Page } from '../wire/envelope.ts'
import { assertRangeOrder, formatPosition, paginateTexts, parseTimeCursor } from '../wire/pagination.ts'
import { formatTime, formatTimeOrNull, parseOptionalTime, parseValidTime } from '../wire/time.ts'
import { serializeComment } from './incident-comments.ts'
import {
  CreateIncident,
  Incident,
  IncidentParams,
  IncidentWithComments,
  ListIncidents,
  UpdateIncident,
} from './schemas/incidents.ts'

const read = { permission: 'read:incidents', tags: {} } as const
const write = { permission: 'write:incidents', tags: {} } as const

const OneIncident = Envelope(IncidentWithComments)
const IncidentPage = Page(Incident)

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const listPage = batchPages((pages: PageQuery[]) => listIncidentPages(app.listDb, pages))

  app.get(
    '/',
    {
      config: { ...read, sharesStatements: true },
      schema: {
        operationId: 'listIncidents',
        summary: 'List incidents, newest start first',
        querystring: ListIncidents,
        response: { 200: describe(IncidentPage, 'A page of incidents') },
      },
    },
    async function list(request, reply) {
      const { query } = request
      const { state, open, from, to, monitor_tag: tag } = query
      assertRangeOrder({ from, to })
      const scope = scopeOf(request)
      const filter = {
        state,
        open,
        monitor_tags: tag === undefined ? undefined : [tag],
        from: parseOptionalTime(from),
        to: parseOptionalTime(to),
      }
      const isWholeList = scope === null && Object.values(filter).every((value) => value === undefined)
      const page = { cursor: parseTimeCursor(query.cursor, 'incidents'), limit: query.limit + 1 }
      const readPage = async () => {
        const texts = isWholeList
          ? await listPage(page)
          : await listIncidentTexts(app.db, { ...filter, scope, cursor: page.cursor }, page.limit)
        return paginateTexts(texts, query.limit, 'incidents', (last) => {
          const { id, started_at } = JSON.parse(last) as Static<typeof Incident>
          return formatPosition({ at: parseValidTime(started_at), id })
        })
      }
      return app.shareRead(request, reply, readPage, { isBatched: isWholeList })
    },
  )

  app.post(
    '/',
    {
      config: { ...write, tags: { field: 'monitors', isRequired: true }, hasEtag: true },
      schema: {
        operationId: 'createIncident',
        summary: 'Create an incident',
        body: CreateIncident,
        response: { 201: describe(OneIncident, 'The new incident') },
      },
    },
    async function create(request, reply) {
      const { body } = request
      const response = await change(request, async (change) => {
        const id = await incidents.createIncident(change, { ...body, ...parseTimes(body) })
        return toResponse(change.trx, id, scopeOf(request), reply)
      })
      return reply.code(201).send(response)
    },
  )

  app.get(
    '/:id',
    {
      config: { ...read, hasEtag: true },
      schema: {
        operationId: 'readIncident',
        summary: 'Get an incident with its comments',
        params: IncidentParams,
        response: { 200: describe(OneIncident, 'The incident') },
      },
    },
    async function get(request, reply) {
      return toResponse(app.db, request.params.id, scopeOf(request), reply)
    },
  )

  app.patch(
    '/:id',
    {
      config: { ...write, tags: { field: 'monitors' }, hasEtag: true },
      schema: {
        operationId: 'updateIncident',
        summary: 'Update an incident',
        params: IncidentParams,
        body: UpdateIncident,
        response: { 200: describe(OneIncident, 'The updated incident') },
      },
    },
    async function update(request, reply) {
      const { params, body } = request
      const scope = scopeOf(request)
      return change(request, async (change) => {
        const changes = { ...body, ...parseTimes(body) }
        await incidents.updateIncident(change, params.id, changes, scope, preconditionOf(request))
        return toResponse(change.trx, params.id, scope, reply)
      })
    },
  )

  app.delete(
    '/:id',
    {
      config: { permission: 'admin', tags: {}, hasEtag: true },
      schema: {
        operationId: 'deleteIncident',
        summary: 'Delete an incident and its comments',
        params: IncidentParams,
        response: { 204: NoContent },
      },
    },
    async function remove(request, reply) {
      await change(request, (change) =>
        incidents.deleteIncident(change, request.params.id, preconditionOf(request)),
      )
      return reply.code(204).send(null)
    },
  )
}

export default routes

/** Call it in the transaction of a write, so that no write that was stored is answered with 503. */
async function toResponse(
  db: Kysely<Tables>,
  id: number,
  scope: Scope,
  reply: Pick<FastifyReply, 'version'>,
) {
  const incident = await incidents.getIncident(db, id, scope)
  reply.version = incident.version
  const timeline = await listComments(db, id, scope)
  return {
    success: true as const,
    data: { ...serializeIncident(incident), comments: timeline.map(serializeComment) },
  }
}

function parseTimes(body: { started_at?: string; ended_at?: string | null }) {
  return {
    started_at: parseOptionalTime(body.started_at),
    ended_at: body.ended_at === null ? null : parseOptionalTime(body.ended_at),
  }
}

function isImpaired(affected: incidents.Affected): affected is { monitor_tag: string; impact: Impact } {
  return affected.impact !== 'UP'
}

/** Serialises the fields that the public page shows. */
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
