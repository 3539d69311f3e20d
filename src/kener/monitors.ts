import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { invalidField, monitorNotFound } from '../errors.ts'
import { requirePrincipal } from '../http/auth.ts'
import { change } from '../http/change-context.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { deleteMonitor } from '../monitors/repository.ts'
import { allows } from '../permissions.ts'
import { readPages, sendList } from './list.ts'
import { serializeMonitor, toChanges, toNewMonitor } from './mapping.ts'
import {
  getKenerMonitor,
  insertKenerMonitor,
  type KenerMonitor,
  listKenerMonitors,
  updateKenerMonitor,
} from './repository.ts'
import { CreateMonitor, ListMonitors, Monitor, MonitorParams, UpdateMonitor } from './schemas/monitors.ts'
import { Message, Only } from './schemas/shared.ts'

const inPath = { param: 'monitor_tag' } as const
const read = { permission: 'read:monitors', tags: inPath } as const
const write = { permission: 'write:monitors', tags: inPath } as const

const MonitorList = Only('monitors', Type.Array(Monitor), 'All monitors that match, newest first')
const OneMonitor = Only('monitor', Monitor, 'The monitor')
const CreatedMonitor = Only('monitor', Monitor, 'The created monitor')

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: { ...read, tags: {} },
      schema: {
        operationId: 'v4ListMonitors',
        summary: 'List monitors',
        querystring: ListMonitors,
        response: { 200: MonitorList },
      },
    },
    async (request, reply) => {
      const { status, is_hidden, category_name, monitor_type } = request.query
      const filter = {
        scope: scopeOf(request),
        enabled: status && status === 'ACTIVE',
        hidden: is_hidden && is_hidden === 'YES',
        category_name: category_name === 'All Categories' ? undefined : category_name,
        monitor_type,
      }
      const pages = readPages<KenerMonitor>((last, limit) =>
        listKenerMonitors(app.db, { ...filter, before: last?.id, limit }),
      )
      const showsSettings = maySeeSettings(request)
      return sendList(reply, 'monitors', pages, (monitor) =>
        serializeMonitor(monitor, showsSettings),
      ) as never
    },
  )

  app.post(
    '/',
    {
      config: { ...write, tags: { field: 'tag' } },
      schema: {
        operationId: 'v4CreateMonitor',
        summary: 'Create a monitor',
        body: CreateMonitor,
        response: { 201: CreatedMonitor },
      },
    },
    async (request, reply) => {
      const { attributes, fields } = toNewMonitor(request.body)
      const monitor = await change(request, (change) => insertKenerMonitor(change, attributes, fields))
      if (!monitor) throw invalidField('/tag', 'must not be the tag of an existing monitor')
      return reply.code(201).send({ monitor: serializeMonitor(monitor, true) })
    },
  )

  app.get(
    '/:monitor_tag',
    {
      config: read,
      schema: {
        operationId: 'v4ReadMonitor',
        summary: 'Get a monitor',
        params: MonitorParams,
        response: { 200: OneMonitor },
      },
    },
    async (request) => {
      const monitor = await getKenerMonitor(app.db, request.params.monitor_tag)
      return { monitor: serializeMonitor(monitor, maySeeSettings(request)) }
    },
  )

  app.patch(
    '/:monitor_tag',
    {
      config: write,
      schema: {
        operationId: 'v4UpdateMonitor',
        summary: 'Update a monitor',
        params: MonitorParams,
        body: UpdateMonitor,
        response: { 200: OneMonitor },
      },
    },
    async (request) => {
      const { params, body } = request
      const monitor = await change(request, (change) =>
        updateKenerMonitor(change, params.monitor_tag, (before) => toChanges(body, before.fields)),
      )
      if (!monitor) throw monitorNotFound()
      return { monitor: serializeMonitor(monitor, true) }
    },
  )

  app.delete(
    '/:monitor_tag',
    {
      config: { permission: 'delete:monitors', tags: inPath },
      schema: {
        operationId: 'v4DeleteMonitor',
        summary: 'Delete a monitor and its data',
        params: MonitorParams,
        response: { 200: Message },
      },
    },
    async (request) => {
      const { monitor_tag: tag } = request.params
      await change(request, (change) => deleteMonitor(change, tag))
      return { message: `Monitor '${tag}' deleted successfully` }
    },
  )
}

export default routes

/** Settings may contain secrets of the monitored service, which readers of a status do not need. */
function maySeeSettings(request: FastifyRequest): boolean {
  return allows(requirePrincipal(request).permissions, 'write:monitors')
}
