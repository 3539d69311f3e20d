import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from 'typebox'
import { batch } from '../database/batch.ts'
import { heartbeatUrlReturnedOnce, monitorNotFound, tagMismatch, tagTaken } from '../errors.ts'
import { change } from '../http/change-context.ts'
import { preconditionOf } from '../http/etags.ts'
import { scopeOf } from '../http/permission-guard.ts'
import { toHeartbeatUrl } from '../http/heartbeat-url.ts'
import { batchPages } from '../http/shared-reads.ts'
import { siteUrl } from '../http/site-url.ts'
import { createHeartbeat, deleteHeartbeat } from '../monitors/heartbeats.ts'
import { listMonitorPages, listMonitorTexts, type PageQuery } from '../monitors/list.ts'
import * as monitors from '../monitors/repository.ts'
import { Conflict, describe, Envelope, NoContent, Page } from '../wire/envelope.ts'
import { formatEtag } from '../wire/etag.ts'
import { paginateTexts, parseCursor } from '../wire/pagination.ts'
import { CreateMonitor } from '../wire/monitors.ts'
import { formatMinute, formatTime } from '../wire/time.ts'
import { compileSerializer } from '../wire/validator.ts'
import { HeartbeatUrl } from './schemas/heartbeats.ts'
import {
  ListMonitors,
  Monitor,
  MonitorParams,
  PutMonitor,
  PutMonitorParams,
  UpdateMonitor,
} from './schemas/monitors.ts'

const inPath = { param: 'tag' } as const
const read = { permission: 'read:monitors', tags: inPath } as const
const write = { permission: 'write:monitors', tags: inPath } as const

const OneMonitor = Envelope(Monitor)
const MonitorPage = Page(Monitor)
const stringifyOne = compileSerializer(OneMonitor)

const routes: FastifyPluginAsyncTypebox = async (app) => {
  // Serialized once per statement.
  const findMonitor = batch(async (tags: string[]) => {
    const texts = new Map<string, { body: Buffer; etag: string }>()
    for (const [tag, monitor] of await monitors.findMonitors(app.db, tags)) {
      const body = Buffer.from(stringifyOne({ success: true, data: serializeMonitor(monitor) }))
      texts.set(tag, { body, etag: formatEtag(monitor.version, body) })
    }
    return tags.map((tag) => texts.get(tag))
  })

  const listPage = batchPages((pages: PageQuery[]) => listMonitorPages(app.listDb, pages))

  app.get(
    '/',
    {
      config: { ...read, tags: {}, sharesStatements: true },
      schema: {
        operationId: 'listMonitors',
        summary: 'List monitors, ordered by tag',
        querystring: ListMonitors,
        response: { 200: describe(MonitorPage, 'A page of monitors') },
      },
    },
    async function listMonitors(request, reply) {
      const { limit, cursor, ...filter } = request.query
      const after = cursor === undefined ? undefined : parseCursor(cursor, 'monitors', /^[a-z0-9_-]{1,255}$/)
      const scope = scopeOf(request)
      const isWholeList = scope === null && Object.keys(filter).length === 0
      const readPage = async () => {
        const texts = isWholeList
          ? await listPage({ after, limit: limit + 1 })
          : await listMonitorTexts(app.db, { ...filter, scope, after }, limit + 1)
        return paginateTexts(
          texts,
          limit,
          'monitors',
          (last) => (JSON.parse(last) as Static<typeof Monitor>).tag,
        )
      }
      return app.shareRead(request, reply, readPage, { isBatched: isWholeList })
    },
  )

  app.post(
    '/',
    {
      config: { ...write, tags: { field: 'tag' }, hasEtag: true },
      schema: {
        operationId: 'createMonitor',
        summary: 'Create a monitor',
        body: CreateMonitor,
        response: {
          201: describe(OneMonitor, 'The new monitor'),
          409: Conflict('the tag is taken', tagTaken('website')),
        },
      },
    },
    async function createMonitor(request, reply) {
      const monitor = await change(request, (change) => monitors.createMonitor(change, request.body))
      reply.version = monitor.version
      return reply.code(201).send({ success: true, data: serializeMonitor(monitor) })
    },
  )

  app.get(
    '/:tag',
    {
      config: { ...read, sharesStatements: true, hasEtag: true },
      schema: {
        operationId: 'readMonitor',
        summary: 'Get a monitor',
        params: MonitorParams,
        response: { 200: describe(OneMonitor, 'The monitor') },
      },
    },
    async function readMonitor({ params }, reply) {
      const text = await findMonitor(params.tag)
      if (!text) throw monitorNotFound()
      void reply.header('etag', text.etag).type('application/json; charset=utf-8')
      return text.body as never
    },
  )

  app.put(
    '/:tag',
    {
      config: { ...write, tags: { param: 'tag', field: 'tag' }, hasEtag: true },
      schema: {
        operationId: 'putMonitor',
        summary: 'Create or replace a monitor',
        params: PutMonitorParams,
        body: PutMonitor,
        response: {
          200: describe(OneMonitor, 'The monitor, which replaces the previous one'),
          201: describe(OneMonitor, 'The new monitor'),
        },
      },
    },
    async function putMonitor(request, reply) {
      const { params, body } = request
      const { tag } = params
      if (body.tag !== undefined && body.tag !== tag) throw tagMismatch(tag)
      const { created, monitor } = await change(request, (change) =>
        monitors.putMonitor(change, { ...body, tag }, preconditionOf(request)),
      )
      reply.version = monitor.version
      return reply.code(created ? 201 : 200).send({ success: true, data: serializeMonitor(monitor) })
    },
  )

  app.patch(
    '/:tag',
    {
      config: { ...write, hasEtag: true },
      schema: {
        operationId: 'updateMonitor',
        summary: 'Update a monitor',
        params: MonitorParams,
        body: UpdateMonitor,
        response: { 200: describe(OneMonitor, 'The updated monitor') },
      },
    },
    async function updateMonitor(request, reply) {
      const { params, body } = request
      const monitor = await change(request, async (change) => {
        await monitors.updateMonitor(change, params.tag, body, { expected: preconditionOf(request) })
        return monitors.getMonitor(change.trx, params.tag)
      })
      reply.version = monitor.version
      return { success: true as const, data: serializeMonitor(monitor) }
    },
  )

  app.delete(
    '/:tag',
    {
      config: { permission: 'delete:monitors', tags: inPath, hasEtag: true },
      schema: {
        operationId: 'deleteMonitor',
        summary: 'Delete a monitor and its data',
        params: MonitorParams,
        response: { 204: NoContent },
      },
    },
    async function deleteMonitor(request, reply) {
      await change(request, (change) =>
        monitors.deleteMonitor(change, request.params.tag, preconditionOf(request)),
      )
      return reply.code(204).send(null)
    },
  )

  app.post(
    '/:tag/heartbeat',
    {
      config: write,
      schema: {
        operationId: 'createHeartbeatUrl',
        summary: 'Create a URL that reports the status without a key',
        description: 'It replaces the previous URL of the monitor, which is 404 from then on.',
        params: MonitorParams,
        response: { 201: describe(Envelope(HeartbeatUrl), 'The new URL') },
      },
    },
    async function createHeartbeatUrl(request, reply) {
      const { tag } = request.params
      // Before the change, because it rejects an invalid Host.
      const base = siteUrl(request)
      const secret = await change(request, (change) => createHeartbeat(change, tag))
      const url = toHeartbeatUrl(base, tag, secret)
      return reply.code(201).withSecret(heartbeatUrlReturnedOnce()).send({ success: true, data: { url } })
    },
  )

  app.delete(
    '/:tag/heartbeat',
    {
      config: write,
      schema: {
        operationId: 'deleteHeartbeatUrl',
        summary: 'Delete the URL that reports the status without a key',
        params: MonitorParams,
        response: { 204: NoContent },
      },
    },
    async function deleteHeartbeatUrl(request, reply) {
      await change(request, (change) => deleteHeartbeat(change, request.params.tag))
      return reply.code(204).send(null)
    },
  )
}

export default routes

function serializeMonitor(monitor: monitors.Monitor) {
  const { last_report: last } = monitor
  return {
    ...monitor,
    last_report: last && {
      timestamp: formatMinute(last.minute),
      status: last.status,
      latency_ms: last.latency_ms,
    },
    created_at: formatTime(monitor.created_at),
    updated_at: formatTime(monitor.updated_at),
  }
}
