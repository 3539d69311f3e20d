import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { databaseNow } from '../database/clock.ts'
import type { EventState } from '../enums.ts'
import { change } from '../http/change-context.ts'
import { scopeOf } from '../http/permission-guard.ts'
import * as events from '../maintenances/events.ts'
import { renameFields, rethrowConflictAsInvalid } from './errors.ts'
import {
  AllEventsPage,
  Event,
  EventPage,
  EventParams,
  type EventWithMaintenance,
  ListAllEvents,
  ListEvents,
  MaintenanceParams,
  UpdateEvent,
} from './schemas/maintenances.ts'
import { Message, Only } from './schemas/shared.ts'
import { splitTags, toActivity, toMinuteStart, toSeconds, toUrl } from './wire.ts'

const read = { permission: 'read:incidents', tags: {} } as const

const OneEvent = Only('event', Event, 'The event')

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/events',
    {
      config: read,
      schema: {
        operationId: 'v4ListTimetable',
        summary: 'List the events of all maintenances',
        querystring: ListAllEvents,
        response: { 200: AllEventsPage },
      },
    },
    async (request) => {
      const { event_start_date_time: from, event_status: status, maintenance_id, monitors } = request.query
      const { page, limit, offset } = resolvePage(request.query)
      const tags = splitTags(monitors ?? '')
      const filter = {
        scope: scopeOf(request),
        from: from === undefined ? await databaseNow(app.db) : toMinuteStart(from),
        state: status?.toUpperCase() as EventState | undefined,
        maintenance_id,
        monitor_tags: tags.length > 0 ? tags : undefined,
      }
      const { events: listed, total } = await events.listAllEvents(app.db, filter, { limit, offset })
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
        operationId: 'v4ListEvents',
        summary: 'List the events of a maintenance',
        params: MaintenanceParams,
        querystring: ListEvents,
        response: { 200: EventPage },
      },
    },
    async (request) => {
      const { page, limit, offset } = resolvePage(request.query)
      const { maintenance_id: id } = request.params
      const listed = await events.listEvents(app.db, id, scopeOf(request), { limit, offset })
      return { events: listed.map((event) => serializeEvent(event, request)), page, limit }
    },
  )

  app.get(
    '/:maintenance_id/events/:event_id',
    {
      config: read,
      schema: {
        operationId: 'v4ReadEvent',
        summary: 'Get an event',
        params: EventParams,
        response: { 200: OneEvent },
      },
    },
    async (request) => {
      const { maintenance_id: maintenanceId, event_id: id } = request.params
      return {
        event: serializeEvent(await events.getEvent(app.db, maintenanceId, id, scopeOf(request)), request),
      }
    },
  )

  app.patch(
    '/:maintenance_id/events/:event_id',
    {
      config: { permission: 'write:incidents', tags: {} },
      schema: {
        operationId: 'v4UpdateEvent',
        summary: 'Close or move an event',
        params: EventParams,
        body: UpdateEvent,
        response: { 200: OneEvent },
      },
    },
    async (request) => {
      const { maintenance_id: maintenanceId, event_id: id } = request.params
      const { status, start_date_time: start = 0, end_date_time: end = 0 } = request.body
      const scope = scopeOf(request)
      const span = { starts_at: toMinuteStart(start), ends_at: toMinuteStart(end) }
      const updated = await change(request, (change) =>
        status === undefined
          ? events.moveEvent(change, maintenanceId, id, span, scope).catch(renameEnd)
          : events.closeEvent(change, maintenanceId, id, status, scope).catch(rethrowConflictAsInvalid),
      )
      return { event: serializeEvent(updated, request) }
    },
  )

  app.delete(
    '/:maintenance_id/events/:event_id',
    {
      config: { permission: 'admin', tags: {} },
      schema: {
        operationId: 'v4DeleteEvent',
        summary: 'Delete an event',
        params: EventParams,
        response: { 200: Message },
      },
    },
    async (request) => {
      const { maintenance_id: maintenanceId, event_id: id } = request.params
      await change(request, (change) => events.deleteEvent(change, maintenanceId, id))
      return { message: `Event with id '${id}' deleted successfully` }
    },
  )
}

export default routes

const renameEnd = renameFields({
  '/ends_at': ['/end_date_time', 'must be at least one minute later than start_date_time'],
})

/** Applies the defaults and bounds. As in Kener, 0 is the default, and values out of bounds are clamped. */
function resolvePage({ page, limit }: { page?: number; limit?: number }) {
  const resolved = { page: Math.max(page || 1, 1), limit: Math.min(Math.max(limit || 20, 1), 100) }
  return { ...resolved, offset: (resolved.page - 1) * resolved.limit }
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
    maintenance_status: toActivity(event.enabled),
    maintenance_rrule: event.rrule,
    maintenance_duration_seconds: event.duration_seconds,
    monitors: event.monitors,
    url: urlOf(event, request),
  }
}

function urlOf({ maintenance_id: maintenanceId, id }: events.Event, request: FastifyRequest): string {
  const page = `/maintenances/${maintenanceId}`
  return toUrl(request, `${page}/events/${id}`, page)
}
