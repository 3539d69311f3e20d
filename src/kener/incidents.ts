import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Kysely } from 'kysely'
import { type Static, Type } from 'typebox'
import type { Tables } from '../database/schema.ts'
import { change } from '../http/change-context.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { listIncidents } from '../incidents/list.ts'
import * as incidents from '../incidents/repository.ts'
import { renameFields } from './errors.ts'
import { readPages, sendList } from './list.ts'
import {
  CreateIncident,
  Incident,
  IncidentDetail,
  IncidentParams,
  ListIncidents,
  UpdateIncident,
} from './schemas/incidents.ts'
import { Message, Only } from './schemas/shared.ts'
import { splitTags, toAffected, toMinuteStart, toSeconds, toUrl } from './wire.ts'

const read = { permission: 'read:incidents', tags: {} } as const
const write = { permission: 'write:incidents', tags: {} } as const

/** Length of Kener's list, which has no pages. */
const maxListed = 1_000

const IncidentList = Only(
  'incidents',
  Type.Array(Incident),
  'The newest 1,000 incidents that match, newest first',
)
const OneIncident = Only('incident', IncidentDetail, 'The incident')
const CreatedIncident = Only('incident', IncidentDetail, 'The created incident')

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: read,
      schema: {
        operationId: 'v4ListIncidents',
        summary: 'List incidents',
        querystring: ListIncidents,
        response: { 200: IncidentList },
      },
    },
    async (request, reply) => {
      const { start_ts: start, end_ts: end, monitor_tags: tags } = request.query
      const filter = {
        scope: scopeOf(request),
        from: start === undefined ? undefined : new Date(start * 1000),
        // Kener includes the end, and starts are whole seconds.
        to: end ? new Date((end + 1) * 1000) : undefined,
        monitor_tags: tags === undefined ? undefined : splitTags(tags),
      }
      const pages = readPages<incidents.Incident>(
        (last, limit) => listIncidents(app.db, { ...filter, before: last?.id }, limit, 'id'),
        maxListed,
      )
      return sendList(reply, 'incidents', pages, (incident) => serializeIncident(incident, request)) as never
    },
  )

  app.post(
    '/',
    {
      config: { ...write, tags: { field: 'monitors', isRequired: true } },
      schema: {
        operationId: 'v4CreateIncident',
        summary: 'Create an incident',
        body: CreateIncident,
        response: { 201: CreatedIncident },
      },
    },
    async (request, reply) => {
      const { title, start_date_time, end_date_time, monitors = [] } = request.body
      const incident = {
        title: title.trim(),
        started_at: toMinuteStart(start_date_time),
        ended_at: toEnd(end_date_time),
        // In Kener an end does not resolve an incident.
        state: 'INVESTIGATING' as const,
        monitors: toAffected(monitors, 'DOWN'),
      }
      const response = await change(request, async (change) => {
        const id = await incidents.createIncident(change, incident).catch(renameTimes)
        return toResponse(change.trx, id, request)
      })
      return reply.code(201).send(response)
    },
  )

  app.get(
    '/:incident_id',
    {
      config: read,
      schema: {
        operationId: 'v4ReadIncident',
        summary: 'Get an incident',
        params: IncidentParams,
        response: { 200: OneIncident },
      },
    },
    async (request) => toResponse(app.db, request.params.incident_id, request),
  )

  app.patch(
    '/:incident_id',
    {
      config: { ...write, tags: { field: 'monitors' } },
      schema: {
        operationId: 'v4UpdateIncident',
        summary: 'Update an incident',
        params: IncidentParams,
        body: UpdateIncident,
        response: { 200: OneIncident },
      },
    },
    async (request) => {
      const { incident_id: id } = request.params
      const { title, start_date_time, end_date_time, monitors } = request.body
      const changes = {
        title: title?.trim(),
        started_at: start_date_time === undefined ? undefined : toMinuteStart(start_date_time),
        ended_at: toEnd(end_date_time),
        monitors: monitors && toAffected(monitors, 'DOWN'),
      }
      return change(request, async (change) => {
        await incidents.updateIncident(change, id, changes, scopeOf(request)).catch(renameTimes)
        return toResponse(change.trx, id, request)
      })
    },
  )

  app.delete(
    '/:incident_id',
    {
      config: { permission: 'admin', tags: {} },
      schema: {
        operationId: 'v4DeleteIncident',
        summary: 'Delete an incident and its comments',
        params: IncidentParams,
        response: { 200: Message },
      },
    },
    async (request) => {
      const { incident_id: id } = request.params
      await change(request, (change) => incidents.deleteIncident(change, id))
      return { message: `Incident with id '${id}' deleted successfully` }
    },
  )
}

export default routes

/** Call it in the transaction of a write, so that no write that was stored is answered with 503. */
async function toResponse(db: Kysely<Tables>, id: number, request: FastifyRequest) {
  const incident = await incidents.getIncident(db, id, scopeOf(request))
  return { incident: { ...serializeIncident(incident, request), incident_type: 'INCIDENT' } }
}

const renameTimes = renameFields({
  '/started_at': ['/start_date_time', 'must not be after end_date_time'],
  '/ended_at': ['/end_date_time', 'must not be before start_date_time'],
})

/** Returns null for no end, which is null or 0, and undefined if the field is omitted. */
function toEnd(seconds: number | null | undefined): Date | null | undefined {
  return seconds === undefined ? undefined : seconds ? toMinuteStart(seconds) : null
}

function serializeIncident(incident: incidents.Incident, request: FastifyRequest): Static<typeof Incident> {
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
    url: toUrl(request, `/incidents/${incident.id}`),
  }
}
