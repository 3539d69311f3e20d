import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Kysely } from 'kysely'
import { type Static, Type } from 'typebox'
import type { Tables } from '../database/schema.ts'
import { change, toChangeContext } from '../http/change-context.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { listMaintenances } from '../maintenances/list.ts'
import * as maintenances from '../maintenances/repository.ts'
import { readPages, sendList } from './list.ts'
import {
  CreateMaintenance,
  ListMaintenances,
  Maintenance,
  MaintenanceParams,
  UpdateMaintenance,
} from './schemas/maintenances.ts'
import { Message, Only } from './schemas/shared.ts'
import { toActivity, toAffected, toMinuteStart, toSeconds, toUrl } from './wire.ts'

const read = { permission: 'read:incidents', tags: {} } as const
const write = { permission: 'write:incidents', tags: {} } as const

/** Longest list. Kener's list has no limit and no pages. */
const maxListed = 1_000

const MaintenanceList = Only(
  'maintenances',
  Type.Array(Maintenance),
  'The newest 1,000 maintenances that match, newest first',
)
const OneMaintenance = Only('maintenance', Maintenance, 'The maintenance')
const CreatedMaintenance = Only('maintenance', Maintenance, 'The created maintenance')

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: read,
      schema: {
        operationId: 'v4ListMaintenances',
        summary: 'List maintenances',
        querystring: ListMaintenances,
        response: { 200: MaintenanceList },
      },
    },
    async (request, reply) => {
      const { status, monitor_tag: tag } = request.query
      const filter = {
        scope: scopeOf(request),
        enabled: status && status === 'ACTIVE',
        monitor_tags: tag === undefined ? undefined : [tag],
      }
      const pages = readPages<maintenances.Maintenance>(
        (last, limit) => listMaintenances(app.db, { ...filter, before: last?.id }, limit, 'id'),
        maxListed,
      )
      const serialize = (maintenance: maintenances.Maintenance) => serializeMaintenance(maintenance, request)
      return sendList(reply, 'maintenances', pages, serialize) as never
    },
  )

  app.post(
    '/',
    {
      config: { ...write, tags: { field: 'monitors', isRequired: true } },
      schema: {
        operationId: 'v4CreateMaintenance',
        summary: 'Create a maintenance',
        body: CreateMaintenance,
        response: { 201: CreatedMaintenance },
      },
    },
    async (request, reply) => {
      const { title, description, start_date_time, rrule, duration_seconds, monitors = [] } = request.body
      const maintenance = {
        title: title.trim(),
        description: description || null,
        starts_at: toMinuteStart(start_date_time),
        rrule: rrule.trim(),
        duration_seconds,
        enabled: true,
        monitors: toAffected(monitors, 'MAINTENANCE'),
      }
      const response = await maintenances.createMaintenance(
        toChangeContext(request),
        maintenance,
        (trx, id) => toResponse(trx, id, request),
      )
      return reply.code(201).send(response)
    },
  )

  app.get(
    '/:maintenance_id',
    {
      config: read,
      schema: {
        operationId: 'v4ReadMaintenance',
        summary: 'Get a maintenance',
        params: MaintenanceParams,
        response: { 200: OneMaintenance },
      },
    },
    async (request) => toResponse(app.db, request.params.maintenance_id, request),
  )

  app.patch(
    '/:maintenance_id',
    {
      config: { ...write, tags: { field: 'monitors' } },
      schema: {
        operationId: 'v4UpdateMaintenance',
        summary: 'Update a maintenance',
        params: MaintenanceParams,
        body: UpdateMaintenance,
        response: { 200: OneMaintenance },
      },
    },
    async (request) => {
      const { maintenance_id: id } = request.params
      const { title, description, start_date_time, rrule, duration_seconds, status, monitors } = request.body
      const changes = {
        title: title?.trim(),
        description,
        // Sending back a response must not move a maintenance that starts within a minute.
        starts_in_minute: start_date_time === undefined ? undefined : toMinuteStart(start_date_time),
        rrule: rrule?.trim(),
        duration_seconds,
        enabled: status && status === 'ACTIVE',
        monitors: monitors && toAffected(monitors, 'MAINTENANCE'),
      }
      return maintenances.updateMaintenance(toChangeContext(request), id, changes, scopeOf(request), (trx) =>
        toResponse(trx, id, request),
      )
    },
  )

  app.delete(
    '/:maintenance_id',
    {
      config: { permission: 'admin', tags: {} },
      schema: {
        operationId: 'v4DeleteMaintenance',
        summary: 'Delete a maintenance and its events',
        params: MaintenanceParams,
        response: { 200: Message },
      },
    },
    async (request) => {
      const { maintenance_id: id } = request.params
      await change(request, (change) => maintenances.deleteMaintenance(change, id))
      return { message: `Maintenance with id '${id}' deleted successfully` }
    },
  )
}

export default routes

/** Call it in the transaction of a write, so that no write that was stored is answered with 503. */
async function toResponse(db: Kysely<Tables>, id: number, request: FastifyRequest) {
  const maintenance = await maintenances.getMaintenance(db, id, scopeOf(request))
  return { maintenance: serializeMaintenance(maintenance, request) }
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
    status: toActivity(maintenance.enabled),
    monitors: maintenance.monitors,
    created_at: maintenance.created_at.toISOString(),
    updated_at: maintenance.updated_at.toISOString(),
    url: toUrl(request, `/maintenances/${maintenance.id}`),
  }
}
