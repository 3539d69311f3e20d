import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import * as maintenances from '../database/maintenances.ts'
import { conflict, invalidRequest, notFound } from '../errors.ts'
import { InvalidSchedule, once } from '../maintenances/schedule.ts'
import { Conflict, NoContent, Page, Success } from '../schemas/envelope.ts'
import {
  CreateMaintenance,
  Event,
  EventParams,
  ListEvents,
  ListMaintenances,
  Maintenance,
  type MaintenanceImpact,
  MaintenanceParams,
  UpdateEvent,
  UpdateMaintenance,
} from '../schemas/maintenances.ts'
import { formatPlace, parsePlace, toPage } from '../schemas/page.ts'
import { formatTime, readTime, toTime } from '../schemas/time.ts'
import { explainMonitors, refuseTwice } from './affected.ts'

const read = { permission: 'read:incidents' } as const
const write = { permission: 'write:incidents' } as const
const admin = { permission: 'admin' } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    { config: read, schema: { querystring: ListMaintenances, response: { 200: Page(Maintenance) } } },
    async function listMaintenances({ query: { limit, cursor, enabled, monitor_tag: tag } }) {
      const place = parsePlace(cursor)
      const rows = await maintenances.listMaintenances(
        app.db,
        {
          enabled,
          monitor_tags: tag === undefined ? undefined : [tag],
          before: place && { startsAt: place.at, id: place.id },
        },
        limit + 1,
      )
      const { data, pagination } = toPage(rows, limit, (last) => formatPlace(last.starts_at, last.id))
      return { success: true as const, data: data.map(toWire), pagination }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateMaintenance, response: { 201: Success(Maintenance) } } },
    async function createMaintenance({ body }, reply) {
      refuseTwice(body.monitors)
      const id = await maintenances
        .insertMaintenance(app.db, {
          title: body.title,
          description: body.description,
          startsAt: readTime(body.starts_at),
          durationSeconds: body.duration_seconds,
          rrule: body.rrule ?? once,
          enabled: body.enabled,
          monitors: body.monitors.map(toAffected),
        })
        .catch(explainRefusal(body.monitors))
      return reply.code(201).send(await showMaintenance(id))
    },
  )

  app.get(
    '/:id',
    { config: read, schema: { params: MaintenanceParams, response: { 200: Success(Maintenance) } } },
    async function readMaintenance({ params }) {
      return showMaintenance(params.id)
    },
  )

  app.patch(
    '/:id',
    {
      config: write,
      schema: {
        params: MaintenanceParams,
        body: UpdateMaintenance,
        response: { 200: Success(Maintenance) },
      },
    },
    async function updateMaintenance({ params, body }) {
      refuseTwice(body.monitors)
      const found = await maintenances
        .updateMaintenance(app.db, params.id, {
          title: body.title,
          description: body.description,
          startsAt: toTime(body.starts_at),
          durationSeconds: body.duration_seconds,
          rrule: body.rrule === null ? once : body.rrule,
          enabled: body.enabled,
          monitors: body.monitors?.map(toAffected),
        })
        .catch(explainRefusal(body.monitors))
      if (!found) throw noSuchMaintenance()
      return showMaintenance(params.id)
    },
  )

  app.delete(
    '/:id',
    { config: admin, schema: { params: MaintenanceParams, response: { 204: NoContent } } },
    async function deleteMaintenance({ params }, reply) {
      if (!(await maintenances.deleteMaintenance(app.db, params.id))) throw noSuchMaintenance()
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
      const place = parsePlace(cursor)
      if (!(await maintenances.findMaintenance(app.db, params.id))) throw noSuchMaintenance()
      const after = place && { startsAt: place.at, id: place.id }
      const rows = await maintenances.listEvents(app.db, params.id, { after, limit: limit + 1 })
      const { data, pagination } = toPage(rows, limit, (last) => formatPlace(last.starts_at, last.id))
      return { success: true as const, data: data.map(toWireEvent), pagination }
    },
  )

  app.patch(
    '/:id/events/:event_id',
    {
      config: write,
      schema: {
        params: EventParams,
        body: UpdateEvent,
        response: { 200: Success(Event), 409: Conflict },
      },
    },
    async function updateMaintenanceEvent({ params: { id, event_id: eventId }, body }) {
      const event = body.state
        ? await maintenances.closeEvent(app.db, id, eventId, body.state)
        : await maintenances.moveEvent(app.db, id, eventId, toSpan(body))
      if (!event) throw noSuchEvent()
      if ('refused' in event) throw conflict(`The event is ${event.refused}: it cannot become ${body.state}`)
      return { success: true as const, data: toWireEvent(event) }
    },
  )

  app.delete(
    '/:id/events/:event_id',
    { config: admin, schema: { params: EventParams, response: { 204: NoContent } } },
    async function deleteMaintenanceEvent({ params }, reply) {
      if (!(await maintenances.deleteEvent(app.db, params.id, params.event_id))) throw noSuchEvent()
      return reply.code(204).send(null)
    },
  )

  async function showMaintenance(id: number) {
    const maintenance = await maintenances.findMaintenance(app.db, id)
    if (!maintenance) throw noSuchMaintenance()
    return { success: true as const, data: toWire(maintenance) }
  }
}

export default routes

const noSuchMaintenance = () => notFound('There is no maintenance of this id')
const noSuchEvent = () => notFound('There is no event of this id of this maintenance')

const invalidField = (path: string, message: string) =>
  invalidRequest(`Invalid body: ${path} ${message}`, [{ path, message }])

/** What was refused of a maintenance, in words for the client. */
export function explainRefusal(affected: Named[] = []) {
  return (error: unknown): never => {
    explainMonitors(error, affected)
    if (error instanceof InvalidSchedule) throw invalidField(`/${error.field}`, error.message)
    throw error
  }
}

type Named = { monitor_tag: string; impact?: MaintenanceImpact }

function toAffected({ monitor_tag, impact = 'MAINTENANCE' }: Named): maintenances.Affected {
  return { monitor_tag, impact }
}

/** The schema has seen to it that both are there. @throws ApiError 400 */
function toSpan({ starts_at: start = '', ends_at: end = '' }: { starts_at?: string; ends_at?: string }) {
  const span = { startsAt: readTime(start), endsAt: readTime(end) }
  if (span.endsAt <= span.startsAt) throw invalidField('/ends_at', 'must be after starts_at')
  return span
}

function toWire(maintenance: maintenances.Maintenance) {
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
export function toPublicWire(maintenance: maintenances.PublicMaintenance) {
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

function toWireEvent(event: maintenances.Event) {
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
