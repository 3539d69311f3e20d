import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { conflict, eventNotFound, invalidField, maintenanceNotFound } from '../errors.ts'
import { type MonitorReference, rethrowMaintenanceError } from '../maintenances/errors.ts'
import * as maintenances from '../maintenances/repository.ts'
import { once } from '../maintenances/schedule.ts'
import { assertUniqueMonitors } from '../monitors/affected.ts'
import { Conflict, Envelope, NoContent, Page } from '../wire/envelope.ts'
import { decodeCursor, encodeCursor, paginate } from '../wire/pagination.ts'
import { formatTime, parseOptionalTime, parseValidTime } from '../wire/time.ts'
import {
  CreateMaintenance,
  Event,
  EventParams,
  ListEvents,
  ListMaintenances,
  Maintenance,
  MaintenanceParams,
  UpdateEvent,
  UpdateMaintenance,
} from './schemas/maintenances.ts'

const read = { permission: 'read:incidents' } as const
const write = { permission: 'write:incidents' } as const
const admin = { permission: 'admin' } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    { config: read, schema: { querystring: ListMaintenances, response: { 200: Page(Maintenance) } } },
    async function listMaintenances({ query: { limit, cursor, enabled, monitor_tag: tag } }) {
      const position = decodeCursor(cursor)
      const rows = await maintenances.listMaintenances(
        app.db,
        {
          enabled,
          monitor_tags: tag === undefined ? undefined : [tag],
          cursor: position && { startsAt: position.at, id: position.id },
        },
        limit + 1,
      )
      const { data, pagination } = paginate(rows, limit, (last) => encodeCursor(last.starts_at, last.id))
      return { success: true as const, data: data.map(serializeMaintenance), pagination }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateMaintenance, response: { 201: Envelope(Maintenance) } } },
    async function createMaintenance({ body }, reply) {
      assertUniqueMonitors(body.monitors)
      const id = await maintenances
        .insertMaintenance(app.db, {
          title: body.title,
          description: body.description,
          startsAt: parseValidTime(body.starts_at),
          durationSeconds: body.duration_seconds,
          rrule: body.rrule ?? once,
          enabled: body.enabled,
          monitors: body.monitors.map(toAffected),
        })
        .catch(rethrowMaintenanceError(body.monitors))
      return reply.code(201).send(await getMaintenance(id))
    },
  )

  app.get(
    '/:id',
    { config: read, schema: { params: MaintenanceParams, response: { 200: Envelope(Maintenance) } } },
    async function readMaintenance({ params }) {
      return getMaintenance(params.id)
    },
  )

  app.patch(
    '/:id',
    {
      config: write,
      schema: {
        params: MaintenanceParams,
        body: UpdateMaintenance,
        response: { 200: Envelope(Maintenance) },
      },
    },
    async function updateMaintenance({ params, body }) {
      assertUniqueMonitors(body.monitors)
      const found = await maintenances
        .updateMaintenance(app.db, params.id, {
          title: body.title,
          description: body.description,
          startsAt: parseOptionalTime(body.starts_at),
          durationSeconds: body.duration_seconds,
          rrule: body.rrule === null ? once : body.rrule,
          enabled: body.enabled,
          monitors: body.monitors?.map(toAffected),
        })
        .catch(rethrowMaintenanceError(body.monitors))
      if (!found) throw maintenanceNotFound()
      return getMaintenance(params.id)
    },
  )

  app.delete(
    '/:id',
    { config: admin, schema: { params: MaintenanceParams, response: { 204: NoContent } } },
    async function deleteMaintenance({ params }, reply) {
      if (!(await maintenances.deleteMaintenance(app.db, params.id))) throw maintenanceNotFound()
      return reply.code(204).send(null)
    },
  )

  app.get(
    '/:id/events',
    {
      config: read,
      schema: { params: MaintenanceParams, querystring: ListEvents, response: { 200: Page(Event) } },
    },
    async function listMaintenanceEvents({ params, query: { limit, cursor } }) {
      const position = decodeCursor(cursor)
      if (!(await maintenances.findMaintenance(app.db, params.id))) throw maintenanceNotFound()
      const start = position && { startsAt: position.at, id: position.id }
      const rows = await maintenances.listEvents(app.db, params.id, { cursor: start, limit: limit + 1 })
      const { data, pagination } = paginate(rows, limit, (last) => encodeCursor(last.starts_at, last.id))
      return { success: true as const, data: data.map(serializeEvent), pagination }
    },
  )

  app.patch(
    '/:id/events/:event_id',
    {
      config: write,
      schema: {
        params: EventParams,
        body: UpdateEvent,
        response: { 200: Envelope(Event), 409: Conflict },
      },
    },
    async function updateMaintenanceEvent({ params: { id, event_id: eventId }, body }) {
      const event = body.state
        ? await maintenances.closeEvent(app.db, id, eventId, body.state)
        : await maintenances.moveEvent(app.db, id, eventId, toSpan(body))
      if (!event) throw eventNotFound()
      if ('refused' in event) throw conflict(`The event is ${event.refused}: it cannot become ${body.state}`)
      return { success: true as const, data: serializeEvent(event) }
    },
  )

  app.delete(
    '/:id/events/:event_id',
    { config: admin, schema: { params: EventParams, response: { 204: NoContent } } },
    async function deleteMaintenanceEvent({ params }, reply) {
      if (!(await maintenances.deleteEvent(app.db, params.id, params.event_id))) throw eventNotFound()
      return reply.code(204).send(null)
    },
  )

  async function getMaintenance(id: number) {
    const maintenance = await maintenances.findMaintenance(app.db, id)
    if (!maintenance) throw maintenanceNotFound()
    return { success: true as const, data: serializeMaintenance(maintenance) }
  }
}

export default routes

function toAffected({ monitor_tag, impact = 'MAINTENANCE' }: MonitorReference): maintenances.Affected {
  return { monitor_tag, impact }
}

/** The schema has seen to it that both are there. @throws ApiError 400 */
function toSpan({ starts_at: start = '', ends_at: end = '' }: { starts_at?: string; ends_at?: string }) {
  const span = { startsAt: parseValidTime(start), endsAt: parseValidTime(end) }
  if (span.endsAt <= span.startsAt) throw invalidField('/ends_at', 'must be after starts_at')
  return span
}

function serializeMaintenance(maintenance: maintenances.Maintenance) {
  const { next_event: next } = maintenance
  return {
    id: maintenance.id,
    title: maintenance.title,
    description: maintenance.description,
    starts_at: formatTime(maintenance.starts_at),
    duration_seconds: maintenance.duration_seconds,
    rrule: maintenance.rrule === once ? null : maintenance.rrule,
    enabled: maintenance.enabled,
    monitors: maintenance.monitors,
    next_event: next && {
      id: next.id,
      starts_at: formatTime(new Date(next.starts_at * 1000)),
      ends_at: formatTime(new Date(next.ends_at * 1000)),
      state: next.state,
    },
    created_at: formatTime(maintenance.created_at),
    updated_at: formatTime(maintenance.updated_at),
  }
}

/** What everyone may see of a maintenance. */
export function serializePublicMaintenance(maintenance: maintenances.PublicMaintenance) {
  return {
    id: maintenance.id,
    title: maintenance.title,
    description: maintenance.description,
    state: maintenance.state,
    starts_at: formatTime(maintenance.starts_at),
    ends_at: formatTime(maintenance.ends_at),
    monitors: maintenance.monitors,
  }
}

function serializeEvent(event: maintenances.Event) {
  return {
    id: event.id,
    maintenance_id: event.maintenance_id,
    starts_at: formatTime(event.starts_at),
    ends_at: formatTime(event.ends_at),
    state: event.state,
    created_at: formatTime(event.created_at),
    updated_at: formatTime(event.updated_at),
  }
}
