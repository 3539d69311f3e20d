import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { databaseNow } from '../database/clock.ts'
import { ApiError, invalidRequest } from '../errors.ts'
import * as events from '../maintenances/events.ts'
import * as maintenances from '../maintenances/repository.ts'
import {
  CreateMaintenance,
  Event,
  EventParams,
  EventWithMaintenance,
  ListAllEvents,
  ListEvents,
  ListMaintenances,
  Maintenance,
  MaintenanceParams,
  Message,
  originOf,
  splitTags,
  toAffected,
  toMinuteStart,
  toSeconds,
  UpdateEvent,
  UpdateMaintenance,
} from './schemas.ts'

const read = { permission: 'read:incidents' } as const
const write = { permission: 'write:incidents' } as const
const admin = { permission: 'admin' } as const

/** Kener's list has no pages; this is more than anyone plans. */
const maxListed = 1_000

const OneMaintenance = Type.Object({ maintenance: Maintenance })
const OneEvent = Type.Object({ event: Event })
const page = { page: Type.Integer({ examples: [1] }), limit: Type.Integer({ examples: [20] }) }

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: read,
      schema: {
        querystring: ListMaintenances,
        response: { 200: Type.Object({ maintenances: Type.Array(Maintenance) }) },
      },
    },
    async function v4ListMaintenances(request) {
      const { status, monitor_tag: tag } = request.query
      const filter = {
        enabled: status && status === 'ACTIVE',
        monitor_tags: tag === undefined ? undefined : [tag],
      }
      const found = await maintenances.listMaintenances(app.db, filter, maxListed, 'id')
      return { maintenances: found.map((maintenance) => serializeMaintenance(maintenance, request)) }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateMaintenance, response: { 201: OneMaintenance } } },
    async function v4CreateMaintenance(request, reply) {
      const { body } = request
      const id = await maintenances.createMaintenance(app.db, {
        title: body.title.trim(),
        description: body.description || null,
        starts_at: toMinuteStart(body.start_date_time),
        rrule: body.rrule.trim(),
        duration_seconds: body.duration_seconds,
        enabled: true,
        monitors: toAffected(body.monitors ?? [], 'MAINTENANCE'),
      })
      return reply.code(201).send(await toResponse(id, request))
    },
  )

  app.get(
    '/:maintenance_id',
    { config: read, schema: { params: MaintenanceParams, response: { 200: OneMaintenance } } },
    async function v4ReadMaintenance(request) {
      return toResponse(request.params.maintenance_id, request)
    },
  )

  app.patch(
    '/:maintenance_id',
    {
      config: write,
      schema: { params: MaintenanceParams, body: UpdateMaintenance, response: { 200: OneMaintenance } },
    },
    async function v4UpdateMaintenance(request) {
      const { body, params } = request
      const id = params.maintenance_id
      const before = await maintenances.getMaintenance(app.db, id)
      await maintenances.updateMaintenance(app.db, id, {
        title: body.title?.trim(),
        description: body.description,
        starts_at: toNewStart(body.start_date_time, before.starts_at),
        rrule: body.rrule?.trim(),
        duration_seconds: body.duration_seconds,
        enabled: body.status && body.status === 'ACTIVE',
        monitors: body.monitors && toAffected(body.monitors, 'MAINTENANCE'),
      })
      return toResponse(id, request)
    },
  )

  app.delete(
    '/:maintenance_id',
    { config: admin, schema: { params: MaintenanceParams, response: { 200: Message } } },
    async function v4DeleteMaintenance({ params: { maintenance_id: id } }) {
      await maintenances.deleteMaintenance(app.db, id)
      return { message: `Maintenance with id '${id}' deleted successfully` }
    },
  )

  app.get(
    '/events',
    {
      config: read,
      schema: {
        querystring: ListAllEvents,
        response: {
          200: Type.Object({
            events: Type.Array(EventWithMaintenance),
            ...page,
            total: Type.Integer({ examples: [1] }),
          }),
        },
      },
    },
    async function v4ListTimetable(request) {
      const { query } = request
      const { page, limit, offset } = resolvePage(query)
      const from = query.event_start_date_time
      const tags = splitTags(query.monitors ?? '')
      const { events: listed, total } = await events.listAllEvents(
        app.db,
        {
          from: from === undefined ? await databaseNow(app.db) : toMinuteStart(from),
          state: query.event_status?.toUpperCase() as events.Event['state'] | undefined,
          maintenance_id: query.maintenance_id,
          monitor_tags: tags.length > 0 ? tags : undefined,
        },
        { limit, offset },
      )
      return {
        events: listed.map((event) => serializeEventWithMaintenance(event, request)),
        page,
        limit,
        total,
      }
    },
  )

  app.get(
    '/:maintenance_id/events',
    {
      config: read,
      schema: {
        params: MaintenanceParams,
        querystring: ListEvents,
        response: { 200: Type.Object({ events: Type.Array(Event), ...page }) },
      },
    },
    async function v4ListEvents(request) {
      const id = request.params.maintenance_id
      const { page, limit, offset } = resolvePage(request.query)
      const listed = await events.listEvents(app.db, id, { limit, offset })
      return { events: listed.map((event) => serializeEvent(event, request)), page, limit }
    },
  )

  app.get(
    '/:maintenance_id/events/:event_id',
    { config: read, schema: { params: EventParams, response: { 200: OneEvent } } },
    async function v4ReadEvent(request) {
      const { maintenance_id: maintenanceId, event_id: id } = request.params
      const event = await events.getEvent(app.db, maintenanceId, id)
      return { event: serializeEvent(event, request) }
    },
  )

  app.patch(
    '/:maintenance_id/events/:event_id',
    { config: write, schema: { params: EventParams, body: UpdateEvent, response: { 200: OneEvent } } },
    async function v4UpdateEvent(request) {
      const { maintenance_id: maintenanceId, event_id: id } = request.params
      const { status, start_date_time: start = 0, end_date_time: end = 0 } = request.body
      if (status !== undefined) {
        const closed = await events.closeEvent(app.db, maintenanceId, id, status).catch(rethrowConflictAs400)
        return { event: serializeEvent(closed, request) }
      }
      const times = { starts_at: toMinuteStart(start), ends_at: toMinuteStart(end) }
      if (times.ends_at <= times.starts_at) {
        throw invalidRequest('end_date_time must be after start_date_time, by a minute at least')
      }
      const moved = await events.moveEvent(app.db, maintenanceId, id, times)
      return { event: serializeEvent(moved, request) }
    },
  )

  app.delete(
    '/:maintenance_id/events/:event_id',
    { config: admin, schema: { params: EventParams, response: { 200: Message } } },
    async function v4DeleteEvent({ params }) {
      await events.deleteEvent(app.db, params.maintenance_id, params.event_id)
      return { message: `Event with id '${params.event_id}' deleted successfully` }
    },
  )

  async function toResponse(id: number, request: FastifyRequest) {
    const maintenance = await maintenances.getMaintenance(app.db, id)
    return { maintenance: serializeMaintenance(maintenance, request) }
  }
}

export default routes

/** Kener has 400 where /api has 409. */
function rethrowConflictAs400(error: unknown): never {
  throw error instanceof ApiError && error.status === 409 ? invalidRequest(error.message) : error
}

/** As Kener takes them: 0 for nothing said, and what is too small or too large for the nearest. */
function resolvePage({ page, limit }: { page?: number; limit?: number }) {
  const resolved = { page: Math.max(page || 1, 1), limit: Math.min(Math.max(limit || 20, 1), 100) }
  return { ...resolved, offset: (resolved.page - 1) * resolved.limit }
}

/** What was read may be sent back: a start within a minute is not moved to the minute's. */
function toNewStart(seconds: number | undefined, before: Date): Date | undefined {
  if (seconds === undefined) return undefined
  const start = toMinuteStart(seconds)
  return start.getTime() === toMinuteStart(toSeconds(before)).getTime() ? undefined : start
}

function serializeMaintenance(
  maintenance: maintenances.Maintenance,
  request: FastifyRequest,
): Static<typeof Maintenance> {
  return {
    id: maintenance.id,
    title: maintenance.title,
    description: maintenance.description,
    start_date_time: toSeconds(maintenance.starts_at),
    rrule: maintenance.rrule,
    duration_seconds: maintenance.duration_seconds,
    status: toStatus(maintenance.enabled),
    monitors: maintenance.monitors,
    created_at: maintenance.created_at.toISOString(),
    updated_at: maintenance.updated_at.toISOString(),
    url: `${originOf(request)}/maintenances/${maintenance.id}`,
  }
}

function serializeEvent(event: events.Event, request: FastifyRequest): Static<typeof Event> {
  return {
    id: event.id,
    maintenance_id: event.maintenance_id,
    start_date_time: toSeconds(event.starts_at),
    end_date_time: toSeconds(event.ends_at),
    status: event.state,
    created_at: event.created_at.toISOString(),
    updated_at: event.updated_at.toISOString(),
    url: urlOf(event, request),
  }
}

function serializeEventWithMaintenance(
  event: events.EventWithMaintenance,
  request: FastifyRequest,
): Static<typeof EventWithMaintenance> {
  return {
    maintenance_id: event.maintenance_id,
    event_id: event.id,
    event_start_date_time: toSeconds(event.starts_at),
    event_end_date_time: toSeconds(event.ends_at),
    event_status: event.state,
    maintenance_title: event.title,
    maintenance_description: event.description,
    maintenance_status: toStatus(event.enabled),
    maintenance_rrule: event.rrule,
    maintenance_duration_seconds: event.duration_seconds,
    monitors: event.monitors,
    url: urlOf(event, request),
  }
}

function toStatus(enabled: boolean) {
  return enabled ? ('ACTIVE' as const) : ('INACTIVE' as const)
}

function urlOf({ maintenance_id: maintenanceId, id }: events.Event, request: FastifyRequest): string {
  return `${originOf(request)}/maintenances/${maintenanceId}/events/${id}`
}
