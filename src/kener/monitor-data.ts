import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from 'typebox'
import {
  type ApiError,
  invalidField,
  invalidPath,
  invalidQuery,
  monitorNotFound,
  reportNotFound,
} from '../errors.ts'
import { isAborted } from '../http/request-log.ts'
import { getMonitorId } from '../monitors/repository.ts'
import { type ReportedMinute, updateMinute } from '../reports/repository.ts'
import { readAllMinutes } from '../reports/series.ts'
import { maxLatencyMs, maxReportMinutes } from '../reports/writer.ts'
import { sendList } from './list.ts'
import { FillData, FillResult, Point, PointParams, ReadData, UpdatePoint } from './schemas/monitor-data.ts'
import { MonitorParams } from './schemas/monitors.ts'
import { Only } from './schemas/shared.ts'

const tags = { param: 'monitor_tag' } as const
const read = { permission: 'read:monitors', tags } as const
const write = { permission: 'write:monitors', tags } as const

const OnePoint = Only('data', Point, 'The data of the minute')
const PointList = Only('data', Type.Array(Point), 'The minutes of the period that have a report, ascending')

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/:monitor_tag/data',
    {
      config: read,
      schema: {
        operationId: 'v4ReadData',
        summary: 'List the data of a monitor by minute',
        params: MonitorParams,
        querystring: ReadData,
        response: { 200: PointList },
      },
    },
    async ({ params: { monitor_tag: tag }, query }, reply) => {
      const span = { from: Math.floor(query.start_ts / 60), to: Math.floor(query.end_ts / 60) }
      if (span.from >= span.to) {
        throw invalidQuery('/end_ts', 'must be at least one minute later than start_ts')
      }
      const { id } = await getMonitorId(app.db, tag)
      return sendList(reply, 'data', readAllMinutes(app.db, id, span), (minute) =>
        toPoint(tag, minute),
      ) as never
    },
  )

  app.patch(
    '/:monitor_tag/data',
    {
      config: write,
      schema: {
        operationId: 'v4FillData',
        summary: 'Report the same status for every minute of a period',
        params: MonitorParams,
        body: FillData,
        response: { 200: FillResult },
      },
    },
    async (request, reply) => {
      const { start_ts, end_ts, status, latency, deviation } = request.body
      if (start_ts >= end_ts) throw invalidField('/end_ts', 'must be later than start_ts')
      const from = Math.floor(start_ts / 60)
      const to = Math.max(Math.floor(end_ts / 60), from + 1)
      if (to - from > maxReportMinutes) {
        throw invalidField('/end_ts', 'must be at most 366 days later than start_ts')
      }
      const latency_ms = randomLatencies(Math.round(latency), Math.round(deviation ?? 0), to - from)
      const reports = [{ from, to, status, latency_ms }]
      const { monitor_tag: tag } = request.params
      const result = await app.writeReports(tag, reports, () => isAborted(request, reply))
      if (result.outcome !== 'written') throw writeError(result.outcome, invalidField, '/end_ts')
      return { message: 'Monitoring data updated successfully', updated_count: result.minutes }
    },
  )

  app.get(
    '/:monitor_tag/data/:timestamp',
    {
      config: read,
      schema: {
        operationId: 'v4ReadPoint',
        summary: 'Get the data of a minute',
        params: PointParams,
        response: { 200: OnePoint },
      },
    },
    async ({ params: { monitor_tag: tag, timestamp } }) => {
      const { id } = await getMonitorId(app.db, tag)
      const minute = Math.floor(timestamp / 60)
      const page = await readAllMinutes(app.db, id, { from: minute, to: minute + 1 }).next()
      const [report] = page.value ?? []
      if (!report) throw reportNotFound()
      return { data: toPoint(tag, report) }
    },
  )

  app.patch(
    '/:monitor_tag/data/:timestamp',
    {
      config: write,
      schema: {
        operationId: 'v4UpdatePoint',
        summary: 'Update the data of a minute',
        params: PointParams,
        body: UpdatePoint,
        response: { 200: OnePoint },
      },
    },
    async ({ params: { monitor_tag: tag, timestamp }, body }) => {
      const minute = Math.floor(timestamp / 60)
      const result = await updateMinute(app.db, tag, minute, (before, defaultStatus) => ({
        status: body.status ?? before?.status ?? (defaultStatus === 'NO_DATA' ? 'UP' : defaultStatus),
        latency_ms: body.latency === undefined ? (before?.latency_ms ?? 0) : Math.round(body.latency),
      }))
      if (result.outcome !== 'written') throw writeError(result.outcome, invalidPath, '/timestamp')
      return { data: toPoint(tag, result.report) }
    },
  )
}

export default routes

/** @param invalid constructs the error for the part of the request that contains the time, at `timePath` */
function writeError(
  outcome: 'unknown' | 'in_future',
  invalid: (path: string, message: string) => ApiError,
  timePath: string,
): ApiError {
  return outcome === 'unknown'
    ? monitorNotFound()
    : invalid(timePath, 'must be at most 5 minutes in the future')
}

function toPoint(tag: string, { minute, status, latency_ms }: ReportedMinute): Static<typeof Point> {
  return { monitor_tag: tag, timestamp: minute * 60, status, latency: latency_ms ?? 0, type: 'MANUAL' }
}

/** Returns one random latency per minute, at most `deviation` from `latency`. */
function randomLatencies(latency: number, deviation: number, minutes: number) {
  if (deviation === 0) return latency
  return Uint32Array.from({ length: minutes }, () => {
    const offset = Math.floor(Math.random() * (2 * deviation + 1)) - deviation
    return Math.min(Math.max(latency + offset, 0), maxLatencyMs)
  })
}
