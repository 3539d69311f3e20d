import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { Kysely } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { eventNotClosable } from '../errors.ts'
import { change, toChangeContext } from '../http/change-context.ts'
import { preconditionOf } from '../http/etags.ts'
import { scopeOf } from '../http/permission-guard.ts'
import * as events from '../maintenances/events.ts'
import { listMaintenances } from '../maintenances/list.ts'
import type { PublicMaintenance } from '../maintenances/public-maintenances.ts'
import * as maintenances from '../maintenances/repository.ts'
import { once } from '../maintenances/schedule.ts'
import type { Scope } from '../monitors/scope.ts'
import { Conflict, describe, Envelope, NoContent, Page } from '../wire/envelope.ts'
import { pageByTime } from '../wire/pagination.ts'
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

const read = { permission: 'read:incidents', tags: {} } as const
const write = { permission: 'write:incidents', tags: {} } as const
const admin = { permission: 'admin', tags: {} } as const

const OneMaintenance = Envelope(Maintenance)

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: read,
      schema: {
        operationId: 'listMaintenances',
        summary: 'List maintenances, newest start first',
        querystring: ListMaintenances,
        response: { 200: describe(Page(Maintenance), 'A page of maintenances') },
      },
    },
    async function list(request) {
      const { query } = request
      const { enabled, monitor_tag: tag } = query
      const filter = { scope: scopeOf(request), enabled, monitor_tags: tag === undefined ? undefined : [tag] }
      return pageByTime(
        query,
        'maintenances',
        ({ cursor, limit }) => listMaintenances(app.db, { ...filter, cursor }, limit),
        ({ starts_at }) => starts_at,
        serializeMaintenance,
      )
    },
  )

  app.post(
    '/',
    {
      config: { ...write, tags: { field: 'monitors', isRequired: true }, hasEtag: true },
      schema: {
        operationId: 'createMaintenance',
        summary: 'Create a maintenance and its events',
        body: CreateMaintenance,
        response: { 201: describe(OneMaintenance, 'The new maintenance') },
      },
    },
    async function create(request, reply) {
      const { body } = request
      const maintenance = {
        ...body,
        starts_at: parseValidTime(body.starts_at),
        rrule: body.rrule ?? once,
      }
      const response = await maintenances.createMaintenance(
        toChangeContext(request),
        maintenance,
        (trx, id) => toResponse(trx, id, scopeOf(request), reply),
      )
      return reply.code(201).send(response)
    },
  )

  app.get(
    '/:id',
    {
      config: { ...read, hasEtag: true },
      schema: {
        operationId: 'readMaintenance',
        summary: 'Get a maintenance',
        params: MaintenanceParams,
        response: { 200: describe(OneMaintenance, 'The maintenance') },
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
        operationId: 'updateMaintenance',
        summary: 'Update a maintenance',
        params: MaintenanceParams,
        body: UpdateMaintenance,
        response: { 200: describe(OneMaintenance, 'The updated maintenance') },
      },
    },
    async function update(request, reply) {
      const { params, body } = request
      const scope = scopeOf(request)
      const changes = {
        ...body,
        starts_at: parseOptionalTime(body.starts_at),
        rrule: body.rrule === null ? once : body.rrule,
      }
      return maintenances.updateMaintenance(
        toChangeContext(request),
        params.id,
        changes,
        scope,
        (trx, id) => toResponse(trx, id, scope, reply),
        preconditionOf(request),
      )
    },
  )

  app.delete(
    '/:id',
    {
      config: { ...admin, hasEtag: true },
      schema: {
        operationId: 'deleteMaintenance',
        summary: 'Delete a maintenance and its events',
        params: MaintenanceParams,
        response: { 204: NoContent },
      },
    },
    async function remove(request, reply) {
      await change(request, (change) =>
        maintenances.deleteMaintenance(change, request.params.id, preconditionOf(request)),
      )
      return reply.code(204).send(null)
    },
  )

  app.get(
    '/:id/events',
    {
      config: read,
      schema: {
        operationId: 'listMaintenanceEvents',
        summary: 'List the events of a maintenance, soonest first',
        params: MaintenanceParams,
        querystring: ListEvents,
        response: { 200: describe(Page(Event), 'A page of events') },
      },
    },
    async function listEvents(request) {
      const { params, query } = request
      return pageByTime(
        query,
        `maintenances/${params.id}/events`,
        (page) => events.listEvents(app.db, params.id, scopeOf(request), page),
        ({ starts_at }) => starts_at,
        serializeEvent,
      )
    },
  )

  app.patch(
    '/:id/events/:event_id',
    {
      config: write,
      schema: {
        operationId: 'updateMaintenanceEvent',
        summary: 'Close or move an event',
        params: EventParams,
        body: UpdateEvent,
        response: {
          200: describe(Envelope(Event), 'The updated event'),
          409: Conflict(
            'the state of the event does not allow it to be closed like this',
            eventNotClosable('SCHEDULED', 'COMPLETED', ['ONGOING']),
          ),
        },
      },
    },
    async function updateEvent(request) {
      const { id, event_id: eventId } = request.params
      const { body } = request
      const scope = scopeOf(request)
      const event = await change(request, (change) =>
        body.state === undefined
          ? events.moveEvent(change, id, eventId, parseSpan(body), scope)
          : events.closeEvent(change, id, eventId, body.state, scope),
      )
      return { success: true as const, data: serializeEvent(event) }
    },
  )

  app.delete(
    '/:id/events/:event_id',
    {
      config: admin,
      schema: {
        operationId: 'deleteMaintenanceEvent',
        summary: 'Delete an event',
        params: EventParams,
        response: { 204: NoContent },
      },
    },
    async function deleteEvent(request, reply) {
      const { id, event_id: eventId } = request.params
      await change(request, (change) => events.deleteEvent(change, id, eventId))
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
  const maintenance = await maintenances.getMaintenance(db, id, scope)
  reply.version = maintenance.version
  return { success: true as const, data: serializeMaintenance(maintenance) }
}

/** Both times are present, because the schema requires them without a state. */
function parseSpan({ starts_at = '', ends_at = '' }: { starts_at?: string; ends_at?: string }) {
  return { starts_at: parseValidTime(starts_at), ends_at: parseValidTime(ends_at) }
}

/** Expresses a schedule that occurs once as a rule of null, and times as RFC 3339. */
function serializeMaintenance({ next_event: next, ...maintenance }: maintenances.Maintenance) {
  return {
    ...maintenance,
    rrule: maintenance.rrule === once ? null : maintenance.rrule,
    starts_at: formatTime(maintenance.starts_at),
    next_event: next && {
      ...next,
      starts_at: formatTime(new Date(next.starts_at * 1000)),
      ends_at: formatTime(new Date(next.ends_at * 1000)),
    },
    created_at: formatTime(maintenance.created_at),
    updated_at: formatTime(maintenance.updated_at),
  }
}

/** Serialises the fields that the public page shows. */
export function serializePublicMaintenance(maintenance: PublicMaintenance) {
  return {
    ...maintenance,
    starts_at: formatTime(maintenance.starts_at),
    ends_at: formatTime(maintenance.ends_at),
  }
}

function serializeEvent(event: events.Event) {
  return {
    ...event,
    starts_at: formatTime(event.starts_at),
    ends_at: formatTime(event.ends_at),
    created_at: formatTime(event.created_at),
    updated_at: formatTime(event.updated_at),
  }
}
