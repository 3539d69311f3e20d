import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { batch } from '../database/batch.ts'
import { readBuckets } from '../database/data.ts'
import * as monitors from '../database/monitors.ts'
import { type Outcome, type Reports, writeReports } from '../database/reports.ts'
import { conflict, invalidRequest, notFound } from '../errors.ts'
import { Conflict, NoContent, Page, Success } from '../schemas/envelope.ts'
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
  Written,
} from '../schemas/monitors.ts'
import { parseCursor, refuseBackwards, toPage } from '../schemas/page.ts'
import { formatMinute, formatTime, parseMinute, readTime } from '../schemas/time.ts'

const read = { permission: 'read:monitors' } as const
const write = { permission: 'write:monitors' } as const

/** More points than this go by themselves, so that no one waits for them who reports just one. */
const sharedPointsMax = 100

/** A year, and a leap day. */
const fillMinutesMax = 366 * 1440

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const findMonitor = batch(async (tags: string[]) => {
    const found = await monitors.findMonitors(app.db, tags)
    const shown = new Map([...found].map(([tag, monitor]) => [tag, toWire(monitor)]))
    return tags.map((tag) => shown.get(tag))
  })
  const writeAtOnce = batch((asks: Reports[]) => writeReports(app.db, asks, 'skip'), 200)
  const writeInTurn = batch((asks: Reports[]) => writeReports(app.db, asks), 200)

  app.get(
    '/',
    { config: read, schema: { querystring: ListMonitors, response: { 200: Page(Monitor) } } },
    async function listMonitors({ query: { limit, cursor, ...filter } }) {
      const afterTag = cursor === undefined ? undefined : parseCursor(cursor, /^[a-z0-9_-]{1,255}$/)
      const rows = await monitors.listMonitors(app.db, { ...filter, afterTag }, limit + 1)
      const { data, pagination } = toPage(rows, limit, ({ tag }) => tag)
      return { success: true as const, data: data.map(toWire), pagination }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateMonitor, response: { 201: Success(Monitor), 409: Conflict } } },
    async function createMonitor({ body }, reply) {
      const [inserted, monitor] = await writeAndRead(body.tag, (db) => monitors.insertMonitor(db, body))
      if (!inserted) throw tagTaken(body.tag)
      return reply.code(201).send(show(monitor))
    },
  )

  app.get(
    '/:tag',
    { config: read, schema: { params: MonitorParams, response: { 200: Success(Monitor) } } },
    async function readMonitor({ params }) {
      return showMonitor(params.tag)
    },
  )

  app.put(
    '/:tag',
    {
      config: write,
      schema: {
        params: PutMonitorParams,
        body: PutMonitor,
        response: { 200: Success(Monitor), 201: Success(Monitor) },
      },
    },
    async function putMonitor({ params: { tag }, body }, reply) {
      if (body.tag !== undefined && body.tag !== tag) throw otherTag(tag)
      const [created, monitor] = await writeAndRead(tag, (db) => monitors.putMonitor(db, { ...body, tag }))
      return reply.code(created ? 201 : 200).send(show(monitor))
    },
  )

  app.patch(
    '/:tag',
    {
      config: write,
      schema: { params: MonitorParams, body: UpdateMonitor, response: { 200: Success(Monitor) } },
    },
    async function updateMonitor({ params, body }) {
      if (!(await monitors.updateMonitor(app.db, params.tag, body))) throw noSuchMonitor()
      return showMonitor(params.tag)
    },
  )

  app.delete(
    '/:tag',
    {
      config: { permission: 'delete:monitors' },
      schema: { params: MonitorParams, response: { 204: NoContent } },
    },
    async function deleteMonitor({ params }, reply) {
      if (!(await monitors.deleteMonitor(app.db, params.tag))) throw noSuchMonitor()
      return reply.code(204).send(null)
    },
  )

  app.post(
    '/:tag/data',
    { config: write, schema: { params: MonitorParams, body: Report, response: { 200: Success(Written) } } },
    async function reportStatus({ params: { tag }, body }) {
      const points = body.points ?? (body.status ? [{ ...body, status: body.status }] : [])
      const reports = points.map(({ status, latency_ms = null, timestamp }) => ({
        status,
        latencyMs: latency_ms,
        ...(timestamp !== undefined && placeInTime(timestamp)),
      }))
      const asked = { tag, reports }
      const outcome = reports.length > sharedPointsMax ? await writeAlone(asked) : await shareWrite(asked)
      return written(outcome, body.points ? '/points/' : '')
    },
  )

  app.put(
    '/:tag/data',
    { config: write, schema: { params: MonitorParams, body: FillData, response: { 200: Success(Written) } } },
    async function fillData({ params: { tag }, body: { status, latency_ms = null, ...span } }) {
      const from = parseMinute(span.from)
      const to = parseMinute(span.to)
      if (to <= from) throw badSpan('/to', 'must be later than from, by a minute at least')
      if (to - from > fillMinutesMax) throw badSpan('/to', 'must be no more than a year after from')
      return written(await writeAlone({ tag, reports: [{ from, to, status, latencyMs: latency_ms }] }), null)
    },
  )

  app.get(
    '/:tag/data',
    {
      config: read,
      schema: { params: MonitorParams, querystring: ReadData, response: { 200: Page(Bucket) } },
    },
    async function readData({ params, query: { interval, limit, cursor, ...span } }) {
      const after = cursor === undefined ? 0 : Number(parseCursor(cursor, /^\d{1,10}$/)) + 1
      refuseBackwards(span)
      const from = Math.max(span.from === undefined ? 0 : parseMinute(span.from), after)
      const to = span.to === undefined ? parseMinute('9999-12-31T23:59:00Z') : parseMinute(span.to)
      const monitor = await monitors.findMonitorId(app.db, params.tag)
      if (!monitor) throw noSuchMonitor()
      const minutes = { minute: 1, hour: 60, day: 1440 }[interval]
      // A page ends with a whole bucket, so that the next one begins after it.
      const start = after > 0 ? Math.max(from, Math.ceil(after / minutes) * minutes) : from
      const buckets = await readBuckets(app.db, monitor.id, interval, { from: start, to }, limit + 1)
      const { data, pagination } = toPage(buckets, limit, ({ minute }) => String(minute))
      return {
        success: true as const,
        data: data.map(({ minute, sums }) => ({
          timestamp: formatMinute(minute),
          up: sums.up,
          degraded: sums.degraded,
          down: sums.down,
          maintenance: sums.maintenance,
          uptime: toUptime(sums, monitor.degraded_counts_as_down),
          latency_ms: sums.latencyCount > 0 ? sums.latencySum / sums.latencyCount : null,
        })),
        pagination,
      }
    },
  )

  async function showMonitor(tag: string) {
    return show(await findMonitor(tag))
  }

  /** In one transaction: who deletes it meanwhile must not make a monitor that was written one that is not there. */
  function writeAndRead<Written>(tag: string, write: (db: typeof app.db) => Promise<Written>) {
    return app.db.transaction().execute(async (transaction) => {
      const written = await write(transaction)
      const monitor = (await monitors.findMonitors(transaction, [tag])).get(tag)
      return [written, monitor && toWire(monitor)] as const
    })
  }

  /**
   * A monitor that takes in a year of minutes does not hold up those who report about free ones. Who finds his own held,
   * if for a moment, or not there waits in one line with all such.
   */
  async function shareWrite(reports: Reports): Promise<Outcome> {
    const outcome = await writeAtOnce(reports)
    return 'refused' in outcome && outcome.refused === 'no such monitor' ? writeInTurn(reports) : outcome
  }

  async function writeAlone(reports: Reports): Promise<Outcome> {
    const [outcome] = await writeReports(app.db, [reports])
    return outcome ?? { refused: 'no such monitor' }
  }
}

export default routes

/** @throws ApiError 404 */
function show<Wire>(monitor: Wire | undefined) {
  if (!monitor) throw noSuchMonitor()
  return { success: true as const, data: monitor }
}

const noSuchMonitor = () => notFound('There is no monitor of this tag')

const tagTaken = (tag: string) =>
  conflict(`There is a monitor ${tag} already: PUT /api/monitors/${tag} replaces it, PATCH changes it`)

const otherTag = (tag: string) =>
  invalidRequest('Invalid body: /tag is not that of the path', [
    { path: '/tag', message: `must be ${tag}, as in the path: a tag does not change` },
  ])

function placeInTime(timestamp: string) {
  const seconds = readTime(timestamp).getTime() / 1000
  return { from: Math.floor(seconds / 60), second: seconds % 60 }
}

const badSpan = (path: string, message: string) =>
  invalidRequest(`Invalid body: ${path} ${message}`, [{ path, message }])

/** @param at where the points stand in the body; null when a span was written. */
function written(outcome: Outcome, at: string | null) {
  if (!('refused' in outcome)) return { success: true as const, data: outcome }
  if (outcome.refused === 'no such monitor') throw noSuchMonitor()
  const path = at === null ? '/to' : at === '' ? '/timestamp' : `${at}${outcome.index}/timestamp`
  throw badSpan(path, 'must be no more than 5 minutes ahead')
}

/** The share of the reported minutes that were good; null when none was reported. */
function toUptime({ up, degraded, down, maintenance }: monitors.Counts, degradedCountsAsDown: boolean) {
  const all = up + degraded + down + maintenance
  const good = up + maintenance + (degradedCountsAsDown ? 0 : degraded)
  return all > 0 ? good / all : null
}

function toWire(monitor: monitors.Monitor) {
  const { last_minute, last_status, sums, degraded_counts_as_down } = monitor
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
      '24h': toUptime(sums['24h'], degraded_counts_as_down),
      '7d': toUptime(sums['7d'], degraded_counts_as_down),
      '30d': toUptime(sums['30d'], degraded_counts_as_down),
      '90d': toUptime(sums['90d'], degraded_counts_as_down),
    },
    created_at: formatTime(monitor.created_at),
    updated_at: formatTime(monitor.updated_at),
  }
}
