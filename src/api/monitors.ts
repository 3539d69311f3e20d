import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { batch } from '../database/batch.ts'
import { invalidField, monitorNotFound, tagMismatch, tagTaken } from '../errors.ts'
import * as monitors from '../monitors/repository.ts'
import { readBuckets } from '../reports/series.ts'
import { maxFillMinutes, type MonitorReports, type Outcome, writeReports } from '../reports/writer.ts'
import { Conflict, Envelope, NoContent, Page } from '../wire/envelope.ts'
import { assertRangeOrder, paginate, parseCursorText } from '../wire/pagination.ts'
import { formatMinute, formatTime, parseMinute, parseValidTime } from '../wire/time.ts'
import {
  Bucket,
  CreateMonitor,
  FillData,
  ListMonitors,
  Monitor,
  MonitorParams,
  PutMonitor,
  PutMonitorParams,
  ReadData,
  Report,
  UpdateMonitor,
  WriteResult,
} from './schemas/monitors.ts'

const read = { permission: 'read:monitors' } as const
const write = { permission: 'write:monitors' } as const

/** More points than this go by themselves, so that no one waits for them who reports just one. */
const maxSharedReports = 100

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const findMonitor = batch(async (tags: string[]) => {
    const found = await monitors.findMonitors(app.db, tags)
    const serialized = new Map([...found].map(([tag, monitor]) => [tag, serializeMonitor(monitor)]))
    return tags.map((tag) => serialized.get(tag))
  })
  const writeOrSkipLocked = batch((items: MonitorReports[]) => writeReports(app.db, items, 'skip'), 200)
  const writeWaiting = batch((items: MonitorReports[]) => writeReports(app.db, items), 200)

  app.get(
    '/',
    { config: read, schema: { querystring: ListMonitors, response: { 200: Page(Monitor) } } },
    async function listMonitors({ query: { limit, cursor, ...filter } }) {
      const position = cursor === undefined ? undefined : parseCursorText(cursor, /^[a-z0-9_-]{1,255}$/)
      const rows = await monitors.listMonitors(app.db, { ...filter, cursor: position }, limit + 1)
      const { data, pagination } = paginate(rows, limit, ({ tag }) => tag)
      return { success: true as const, data: data.map(serializeMonitor), pagination }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateMonitor, response: { 201: Envelope(Monitor), 409: Conflict } } },
    async function createMonitor({ body }, reply) {
      const [inserted, monitor] = await writeAndRead(body.tag, (db) => monitors.insertMonitor(db, body))
      if (!inserted) throw tagTaken(body.tag)
      return reply.code(201).send(toResponse(monitor))
    },
  )

  app.get(
    '/:tag',
    { config: read, schema: { params: MonitorParams, response: { 200: Envelope(Monitor) } } },
    async function readMonitor({ params }) {
      return getMonitor(params.tag)
    },
  )

  app.put(
    '/:tag',
    {
      config: write,
      schema: {
        params: PutMonitorParams,
        body: PutMonitor,
        response: { 200: Envelope(Monitor), 201: Envelope(Monitor) },
      },
    },
    async function putMonitor({ params: { tag }, body }, reply) {
      if (body.tag !== undefined && body.tag !== tag) throw tagMismatch(tag)
      const [created, monitor] = await writeAndRead(tag, (db) => monitors.putMonitor(db, { ...body, tag }))
      return reply.code(created ? 201 : 200).send(toResponse(monitor))
    },
  )

  app.patch(
    '/:tag',
    {
      config: write,
      schema: { params: MonitorParams, body: UpdateMonitor, response: { 200: Envelope(Monitor) } },
    },
    async function updateMonitor({ params, body }) {
      if (!(await monitors.updateMonitor(app.db, params.tag, body))) throw monitorNotFound()
      return getMonitor(params.tag)
    },
  )

  app.delete(
    '/:tag',
    {
      config: { permission: 'delete:monitors' },
      schema: { params: MonitorParams, response: { 204: NoContent } },
    },
    async function deleteMonitor({ params }, reply) {
      if (!(await monitors.deleteMonitor(app.db, params.tag))) throw monitorNotFound()
      return reply.code(204).send(null)
    },
  )

  app.post(
    '/:tag/data',
    {
      config: write,
      schema: { params: MonitorParams, body: Report, response: { 200: Envelope(WriteResult) } },
    },
    async function reportStatus({ params: { tag }, body }) {
      const points = body.points ?? (body.status ? [{ ...body, status: body.status }] : [])
      const reports = points.map(({ status, latency_ms = null, timestamp }) => ({
        status,
        latencyMs: latency_ms,
        ...(timestamp !== undefined && toMinute(timestamp)),
      }))
      const item = { tag, reports }
      const outcome = reports.length > maxSharedReports ? await writeAlone(item) : await writeShared(item)
      return toWriteResponse(outcome, body.points ? '/points/' : '')
    },
  )

  app.put(
    '/:tag/data',
    {
      config: write,
      schema: { params: MonitorParams, body: FillData, response: { 200: Envelope(WriteResult) } },
    },
    async function fillData({ params: { tag }, body: { status, latency_ms = null, ...span } }) {
      const from = parseMinute(span.from)
      const to = parseMinute(span.to)
      if (to <= from) throw invalidField('/to', 'must be later than from, by a minute at least')
      if (to - from > maxFillMinutes) throw invalidField('/to', 'must be no more than a year after from')
      return toWriteResponse(
        await writeAlone({ tag, reports: [{ from, to, status, latencyMs: latency_ms }] }),
        null,
      )
    },
  )

  app.get(
    '/:tag/data',
    {
      config: read,
      schema: { params: MonitorParams, querystring: ReadData, response: { 200: Page(Bucket) } },
    },
    async function readData({ params, query: { interval, limit, cursor, ...span } }) {
      const after = cursor === undefined ? 0 : Number(parseCursorText(cursor, /^\d{1,10}$/)) + 1
      assertRangeOrder(span)
      const from = Math.max(span.from === undefined ? 0 : parseMinute(span.from), after)
      const to = span.to === undefined ? parseMinute('9999-12-31T23:59:00Z') : parseMinute(span.to)
      const monitor = await monitors.findMonitorId(app.db, params.tag)
      if (!monitor) throw monitorNotFound()
      const minutes = { minute: 1, hour: 60, day: 1440 }[interval]
      // A page ends with a whole bucket, so that the next one begins after it.
      const start = after > 0 ? Math.max(from, Math.ceil(after / minutes) * minutes) : from
      const buckets = await readBuckets(app.db, monitor.id, interval, { from: start, to }, limit + 1)
      const { data, pagination } = paginate(buckets, limit, ({ minute }) => String(minute))
      return {
        success: true as const,
        data: data.map(({ minute, totals }) => ({
          timestamp: formatMinute(minute),
          up: totals.up,
          degraded: totals.degraded,
          down: totals.down,
          maintenance: totals.maintenance,
          uptime: toUptime(totals, monitor.degraded_counts_as_down),
          latency_ms: totals.latencyCount > 0 ? totals.latencySum / totals.latencyCount : null,
        })),
        pagination,
      }
    },
  )

  async function getMonitor(tag: string) {
    return toResponse(await findMonitor(tag))
  }

  /** In one transaction: who deletes it meanwhile must not make a monitor that was written one that is not there. */
  function writeAndRead<Written>(tag: string, write: (db: typeof app.db) => Promise<Written>) {
    return app.db.transaction().execute(async (transaction) => {
      const toWriteResponse = await write(transaction)
      const monitor = (await monitors.findMonitors(transaction, [tag])).get(tag)
      return [toWriteResponse, monitor && serializeMonitor(monitor)] as const
    })
  }

  /**
   * A monitor that takes in a year of minutes does not hold up those who report about free ones. Who finds his own held,
   * if for a moment, or not there waits in one line with all such.
   */
  async function writeShared(reports: MonitorReports): Promise<Outcome> {
    const outcome = await writeOrSkipLocked(reports)
    return 'error' in outcome && outcome.error === 'unknown_monitor' ? writeWaiting(reports) : outcome
  }

  async function writeAlone(reports: MonitorReports): Promise<Outcome> {
    const [outcome] = await writeReports(app.db, [reports])
    return outcome ?? { error: 'unknown_monitor' }
  }
}

export default routes

/** @throws ApiError 404 */
function toResponse<Wire>(monitor: Wire | undefined) {
  if (!monitor) throw monitorNotFound()
  return { success: true as const, data: monitor }
}

function toMinute(timestamp: string) {
  const seconds = parseValidTime(timestamp).getTime() / 1000
  return { from: Math.floor(seconds / 60), second: seconds % 60 }
}

/** @param pointsPath where the points stand in the body; null when a span was written. */
function toWriteResponse(outcome: Outcome, pointsPath: string | null) {
  if (!('error' in outcome)) return { success: true as const, data: outcome }
  if (outcome.error === 'unknown_monitor') throw monitorNotFound()
  const path =
    pointsPath === null ? '/to' : pointsPath === '' ? '/timestamp' : `${pointsPath}${outcome.index}/timestamp`
  throw invalidField(path, 'must be no more than 5 minutes ahead')
}

/** The share of the reported minutes that were good; null when none was reported. */
function toUptime({ up, degraded, down, maintenance }: monitors.StatusTotals, degradedCountsAsDown: boolean) {
  const all = up + degraded + down + maintenance
  const good = up + maintenance + (degradedCountsAsDown ? 0 : degraded)
  return all > 0 ? good / all : null
}

function serializeMonitor(monitor: monitors.Monitor) {
  const { last_minute, last_status, totals, degraded_counts_as_down } = monitor
  return {
    tag: monitor.tag,
    name: monitor.name,
    description: monitor.description,
    category_name: monitor.category_name,
    external_url: monitor.external_url,
    enabled: monitor.enabled,
    hidden: monitor.hidden,
    default_status: monitor.default_status,
    stale_after_seconds: monitor.stale_after_seconds,
    degraded_counts_as_down,
    status: monitor.status,
    status_source: monitor.status_source,
    last_report:
      last_minute === null || last_status === null
        ? null
        : {
            timestamp: formatMinute(last_minute),
            status: last_status,
            latency_ms: monitor.last_latency_ms,
          },
    uptime: {
      '24h': toUptime(totals['24h'], degraded_counts_as_down),
      '7d': toUptime(totals['7d'], degraded_counts_as_down),
      '30d': toUptime(totals['30d'], degraded_counts_as_down),
      '90d': toUptime(totals['90d'], degraded_counts_as_down),
    },
    created_at: formatTime(monitor.created_at),
    updated_at: formatTime(monitor.updated_at),
  }
}
