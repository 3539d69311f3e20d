import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { invalidField, monitorNotFound } from '../errors.ts'
import { isAborted } from '../http/request-log.ts'
import type { Report as ReportRecord, WriteResult } from '../reports/repository.ts'
import { readSeries } from '../reports/series.ts'
import { maxReportMinutes } from '../reports/writer.ts'
import { describe, Envelope, Page } from '../wire/envelope.ts'
import { assertRangeOrder, paginate, parseCursor } from '../wire/pagination.ts'
import { formatMinute, maxTime, parseMinute, parseValidTime } from '../wire/time.ts'
import { Bucket, FillData, type Point, ReadData, Report, WriteResponse } from './schemas/monitor-data.ts'
import { MonitorParams } from './schemas/monitors.ts'

const read = { permission: 'read:monitors', tags: { param: 'tag' } } as const
const write = { permission: 'write:monitors', tags: { param: 'tag' } } as const

/** Reports in a larger body are written alone, on a connection of their own. */
const maxBatchedBytes = 8_192

/** Points or buckets that are processed without leaving a turn of the event loop to other requests. */
const maxItemsPerTurn = 1_000

function isBatched({ headers }: FastifyRequest): boolean {
  const isSmall = Number(headers['content-length'] ?? Infinity) <= maxBatchedBytes
  // With an Idempotency-Key, reports are written in the transaction of their request.
  return isSmall && headers['idempotency-key'] === undefined
}

/** The reports of a monitor. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/:tag/data',
    {
      config: { ...write, sharesStatements: isBatched },
      schema: {
        operationId: 'reportStatus',
        summary: 'Report the status of a monitor',
        params: MonitorParams,
        body: Report,
        response: { 200: describe(Envelope(WriteResponse), 'The reports are written') },
      },
    },
    async function reportStatus(request, reply) {
      const { points, status, ...report } = request.body
      // Validation and conversion take 30 ms each for 10,000 points: in two turns, other requests wait half as long.
      if (points && points.length > maxItemsPerTurn) await nextTurn()
      const reports = (points ?? (status ? [{ ...report, status }] : [])).map(toReport)
      const result = await app.writeReports(
        request.params.tag,
        reports,
        () => isAborted(request, reply),
        request.firstRequest?.db,
      )
      return toWriteResponse(result, (index) => (points ? `/points/${index}/timestamp` : '/timestamp'))
    },
  )

  app.put(
    '/:tag/data',
    {
      config: write,
      schema: {
        operationId: 'fillData',
        summary: 'Report the same status for every minute of a period',
        params: MonitorParams,
        body: FillData,
        response: { 200: describe(Envelope(WriteResponse), 'The reports are written') },
      },
    },
    async function fillData(request, reply) {
      const { status, latency_ms, ...span } = request.body
      const from = parseMinute(span.from)
      const to = parseMinute(span.to)
      if (to <= from) throw invalidField('/to', 'must be at least one minute later than from')
      if (to - from > maxReportMinutes) throw invalidField('/to', 'must be at most 366 days later than from')
      const reports = [{ from, to, status, latency_ms: toWholeMs(latency_ms) }]
      const result = await app.writeReports(request.params.tag, reports, () => isAborted(request, reply))
      return toWriteResponse(result, () => '/to')
    },
  )

  app.get(
    '/:tag/data',
    {
      config: read,
      schema: {
        operationId: 'readData',
        summary: 'List the data of a monitor by minute, hour or day',
        params: MonitorParams,
        querystring: ReadData,
        response: { 200: describe(Page(Bucket), 'A page of buckets that have reports, in ascending order') },
      },
    },
    async function readData({ params, query: { interval, limit, cursor, from, to } }) {
      assertRangeOrder({ from, to })
      const list = `monitors/${params.tag}/data?${interval}`
      const buckets = await readSeries(app.db, params.tag, {
        interval,
        from: from === undefined ? 0 : parseMinute(from),
        to: to === undefined ? Math.floor(maxTime.getTime() / 60_000) : parseMinute(to),
        after: cursor === undefined ? undefined : Number(parseCursor(cursor, list, /^\d{1,10}$/)),
        limit: limit + 1,
      })
      const { data, pagination } = paginate(buckets, limit, list, ({ minute }) => String(minute))
      const page = data.map(({ minute, ...bucket }) => ({ timestamp: formatMinute(minute), ...bucket }))
      // Serialization takes as long.
      if (page.length > maxItemsPerTurn) await nextTurn()
      return { success: true as const, data: page, pagination }
    },
  )
}

export default routes

function toReport({ status, latency_ms, timestamp }: Static<typeof Point>): ReportRecord {
  const report = { status, latency_ms: toWholeMs(latency_ms) }
  if (timestamp === undefined) return report
  const seconds = parseValidTime(timestamp).getTime() / 1000
  return { ...report, from: Math.floor(seconds / 60), second: seconds % 60 }
}

export function toWholeMs(latencyMs: number | null | undefined): number | null {
  return latencyMs == null ? null : Math.round(latencyMs)
}

/** @param timePath returns the field that contains the time of a report. */
function toWriteResponse(result: WriteResult, timePath: (index: number) => string) {
  switch (result.outcome) {
    case 'written':
      return { success: true as const, data: { written: result.minutes } }
    case 'unknown':
      throw monitorNotFound()
    case 'in_future':
      throw invalidField(timePath(result.index), 'must be at most 5 minutes in the future')
  }
}
