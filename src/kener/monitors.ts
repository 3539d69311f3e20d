import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from 'typebox'
import { invalidRequest, notFound } from '../errors.ts'
import { deleteMonitor } from '../monitors/repository.ts'
import { type ReportedMinute, updateMinute, type WriteResult } from '../reports/repository.ts'
import { readAllMinutes } from '../reports/series.ts'
import { maxReportMinutes } from '../reports/writer.ts'
import { toChanges, toNewMonitor } from './mapping.ts'
import {
  type ExtraFields,
  findKenerMonitor,
  insertKenerMonitor,
  type KenerMonitor,
  listKenerMonitors,
  updateKenerMonitor,
} from './repository.ts'
import {
  CreateMonitor,
  FillData,
  ListMonitors,
  maxLatencyMs,
  Message,
  Monitor,
  MonitorParams,
  Point,
  PointParams,
  ReadData,
  UpdateMonitor,
  UpdatePoint,
} from './schemas.ts'

const read = { permission: 'read:monitors' } as const
const write = { permission: 'write:monitors' } as const

const OneMonitor = Type.Object({ monitor: Monitor })
const OnePoint = Type.Object({ data: Point })

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: read,
      schema: {
        querystring: ListMonitors,
        response: { 200: Type.Object({ monitors: Type.Array(Monitor) }) },
      },
    },
    async function v4ListMonitors({ query }) {
      const { status, is_hidden: isHidden, category_name: category, monitor_type: type } = query
      const filter = {
        enabled: status && status === 'ACTIVE',
        hidden: isHidden && isHidden === 'YES',
        category_name: category === 'All Categories' ? undefined : category,
        monitor_type: type,
      }
      const monitors = await listKenerMonitors(app.db, filter, externalType)
      return { monitors: monitors.map(serializeMonitor) }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateMonitor, response: { 201: OneMonitor } } },
    async function v4CreateMonitor({ body }, reply) {
      const { attributes, fields } = toNewMonitor(body)
      assertExtraFieldsSize(fields)
      const monitor = await app.db.transaction().execute((trx) => insertKenerMonitor(trx, attributes, fields))
      if (!monitor) throw invalidRequest(`Monitor with tag '${attributes.tag}' already exists`)
      return reply.code(201).send({ monitor: serializeMonitor(monitor) })
    },
  )

  app.get(
    '/:monitor_tag',
    { config: read, schema: { params: MonitorParams, response: { 200: OneMonitor } } },
    async function v4ReadMonitor({ params }) {
      return { monitor: serializeMonitor(await getMonitor(params.monitor_tag)) }
    },
  )

  app.patch(
    '/:monitor_tag',
    { config: write, schema: { params: MonitorParams, body: UpdateMonitor, response: { 200: OneMonitor } } },
    async function v4UpdateMonitor({ params: { monitor_tag: tag }, body }) {
      const monitor = await app.db.transaction().execute((trx) =>
        updateKenerMonitor(trx, tag, (before) => {
          const changes = toChanges(body, before.fields)
          assertExtraFieldsSize(changes.fields)
          return changes
        }),
      )
      if (!monitor) throw monitorNotFound(tag)
      return { monitor: serializeMonitor(monitor) }
    },
  )

  app.delete(
    '/:monitor_tag',
    {
      config: { permission: 'delete:monitors' },
      schema: { params: MonitorParams, response: { 200: Message } },
    },
    async function v4DeleteMonitor({ params: { monitor_tag: tag } }) {
      if (!(await deleteMonitor(app.db, tag))) throw monitorNotFound(tag)
      return { message: `Monitor '${tag}' deleted successfully` }
    },
  )

  app.get(
    '/:monitor_tag/data',
    {
      config: read,
      schema: {
        params: MonitorParams,
        querystring: ReadData,
        response: { 200: Type.Object({ data: Type.Array(Point) }) },
      },
    },
    async function v4ReadData({ params, query }, reply) {
      const span = { from: Math.floor(query.start_ts / 60), to: Math.floor(query.end_ts / 60) }
      if (span.from >= span.to)
        throw invalidRequest('start_ts must be less than end_ts, by a minute at least')
      const { id, tag } = await getMonitor(params.monitor_tag)
      const pages = readAllMinutes(app.db, id, span)
      // Before the reply begins, so that a database that does not answer is told of.
      const first = await pages.next()
      reply.type('application/json; charset=utf-8')
      return reply.send(Readable.from(toJson(tag, first, pages)) as never)
    },
  )

  app.patch(
    '/:monitor_tag/data',
    {
      config: write,
      schema: {
        params: MonitorParams,
        body: FillData,
        response: {
          200: Type.Object(
            { message: Type.String(), updated_count: Type.Integer({ minimum: 0 }) },
            { examples: [{ message: 'Monitoring data updated successfully', updated_count: 60 }] },
          ),
        },
      },
    },
    async function v4FillData({ params: { monitor_tag: tag }, body }) {
      const { start_ts: start, end_ts: end, status, deviation } = body
      if (start >= end) throw invalidRequest('start_ts must be less than end_ts')
      const from = Math.floor(start / 60)
      const to = Math.max(Math.floor(end / 60), from + 1)
      if (to - from > maxReportMinutes)
        throw invalidRequest('end_ts must be no more than a year after start_ts')
      const latency_ms = randomLatencies(Math.round(body.latency), Math.round(deviation ?? 0), to - from)
      const result = await app.writeReports(tag, [{ from, to, status, latency_ms }])
      if (result.outcome !== 'written') throw toApiError(result, tag)
      return { message: 'Monitoring data updated successfully', updated_count: result.minutes }
    },
  )

  app.get(
    '/:monitor_tag/data/:timestamp',
    { config: read, schema: { params: PointParams, response: { 200: OnePoint } } },
    async function v4ReadPoint({ params }) {
      const { id, tag } = await getMonitor(params.monitor_tag)
      const minute = Math.floor(params.timestamp / 60)
      const page = await readAllMinutes(app.db, id, { from: minute, to: minute + 1 }).next()
      const [reported] = page.value ?? []
      if (!reported) {
        throw notFound(`No monitoring data found for monitor '${tag}' at timestamp ${minute * 60}`)
      }
      return { data: toPoint(tag, reported) }
    },
  )

  app.patch(
    '/:monitor_tag/data/:timestamp',
    { config: write, schema: { params: PointParams, body: UpdatePoint, response: { 200: OnePoint } } },
    async function v4UpdatePoint({ params: { monitor_tag: tag, timestamp }, body }) {
      const { default_status: defaultStatus } = await getMonitor(tag)
      const minute = Math.floor(timestamp / 60)
      const result = await updateMinute(app.db, tag, minute, (before) => ({
        status: body.status ?? before?.status ?? (defaultStatus === 'NO_DATA' ? 'UP' : defaultStatus),
        latency_ms: body.latency === undefined ? (before?.latency_ms ?? 0) : Math.round(body.latency),
      }))
      if (result.outcome !== 'written') throw toApiError(result, tag)
      return { data: toPoint(tag, result.report) }
    },
  )

  async function getMonitor(tag: string): Promise<KenerMonitor> {
    const monitor = await findKenerMonitor(app.db, tag)
    if (!monitor) throw monitorNotFound(tag)
    return monitor
  }
}

export default routes

const monitorNotFound = (tag: string) => notFound(`Monitor with tag '${tag}' not found`)

/** A list has all monitors at once, and each with all that is kept for it. */
const maxExtraFieldsLength = 65_536

/** @throws ApiError 400 */
function assertExtraFieldsSize(fields: ExtraFields): void {
  if (JSON.stringify(fields).length > maxExtraFieldsLength) {
    throw invalidRequest(
      `image, cron, type_data and monitor_settings_json have more than ${maxExtraFieldsLength} characters together`,
    )
  }
}

function toApiError({ outcome }: Pick<WriteResult, 'outcome'>, tag: string) {
  return outcome === 'in_future'
    ? invalidRequest('Monitoring data must be no more than 5 minutes ahead of now')
    : monitorNotFound(tag)
}

// What a monitor is on either side.

/** Of a monitor that Kener never spoke of: nothing is checked, it is reported from outside. */
const externalType = 'NONE'

/** There are clients that cannot read a monitor without. */
const defaultCron = '* * * * *'

const defaultFormulas = {
  uptime_formula_numerator: 'up + maintenance + degraded',
  uptime_formula_denominator: 'up + down + degraded + maintenance',
}

function serializeMonitor({ fields, ...monitor }: KenerMonitor): Static<typeof Monitor> {
  return {
    id: monitor.id,
    tag: monitor.tag,
    name: monitor.name,
    description: monitor.description,
    image: fields.image ?? null,
    cron: fields.cron === undefined ? defaultCron : fields.cron,
    default_status: monitor.default_status,
    status: monitor.enabled ? 'ACTIVE' : 'INACTIVE',
    category_name: monitor.category_name ?? fields.category_name ?? null,
    monitor_type: fields.monitor_type ?? externalType,
    type_data: fields.type_data ?? {},
    include_degraded_in_downtime: toYesNo(monitor.degraded_counts_as_down),
    is_hidden: toYesNo(monitor.hidden),
    confirmation_threshold: fields.confirmation_threshold ?? 1,
    monitor_settings_json: fields.monitor_settings_json ?? defaultFormulas,
    external_url: monitor.external_url ?? fields.external_url ?? null,
    created_at: monitor.created_at.toISOString(),
    updated_at: monitor.updated_at.toISOString(),
  }
}

function toYesNo(value: boolean) {
  return value ? ('YES' as const) : ('NO' as const)
}

// What a minute is on either side.

/** Kener tells where a report came from; all of ours were pushed. */
const manualType = 'MANUAL'

function toPoint(tag: string, { minute, status, latency_ms }: ReportedMinute): Static<typeof Point> {
  return { monitor_tag: tag, timestamp: minute * 60, status, latency: latency_ms ?? 0, type: manualType }
}

async function* toJson(
  tag: string,
  first: IteratorResult<ReportedMinute[], void>,
  pages: AsyncGenerator<ReportedMinute[], void>,
): AsyncGenerator<string> {
  let separator = '{"data":['
  for (let page = first; !page.done; page = await pages.next()) {
    if (page.value.length === 0) continue
    yield separator + page.value.map((minute) => JSON.stringify(toPoint(tag, minute))).join(',')
    separator = ','
  }
  yield separator === ',' ? ']}' : `${separator}]}`
}

/** Returns one random latency per minute, at most `deviation` from `latency`. */
function randomLatencies(latency: number, deviation: number, minutes: number) {
  if (deviation === 0) return latency
  return Uint32Array.from({ length: minutes }, () => {
    const offset = Math.floor(Math.random() * (2 * deviation + 1)) - deviation
    return Math.min(Math.max(latency + offset, 0), maxLatencyMs)
  })
}
