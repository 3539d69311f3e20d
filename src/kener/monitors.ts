import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from 'typebox'
import { readAllMinutes, type ReportedMinute } from '../database/data.ts'
import {
  findKenerMonitor,
  insertKenerMonitor,
  type KenerMonitor,
  type KeptFields,
  listKenerMonitors,
  updateKenerMonitor,
} from '../database/kener.ts'
import { deleteMonitor, type Settings } from '../database/monitors.ts'
import { changeMinute, type Refusal, writeReports } from '../database/reports.ts'
import { invalidRequest, notFound } from '../errors.ts'
import {
  CreateMonitor,
  FillData,
  latencyMaxMs,
  ListMonitors,
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

/** As much as a PUT of our own takes at a time: a year, and a leap day. */
const fillMinutesMax = 366 * 1440

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
      const monitors = await listKenerMonitors(app.db, filter, untoldType)
      return { monitors: monitors.map(toWire) }
    },
  )

  app.post(
    '/',
    { config: write, schema: { body: CreateMonitor, response: { 201: OneMonitor } } },
    async function v4CreateMonitor({ body }, reply) {
      const { settings, fields } = toNewMonitor(body)
      refuseLarge(fields)
      const monitor = await app.db.transaction().execute((trx) => insertKenerMonitor(trx, settings, fields))
      if (!monitor) throw invalidRequest(`Monitor with tag '${settings.tag}' already exists`)
      return reply.code(201).send({ monitor: toWire(monitor) })
    },
  )

  app.get(
    '/:monitor_tag',
    { config: read, schema: { params: MonitorParams, response: { 200: OneMonitor } } },
    async function v4ReadMonitor({ params }) {
      return { monitor: toWire(await find(params.monitor_tag)) }
    },
  )

  app.patch(
    '/:monitor_tag',
    { config: write, schema: { params: MonitorParams, body: UpdateMonitor, response: { 200: OneMonitor } } },
    async function v4UpdateMonitor({ params: { monitor_tag: tag }, body }) {
      const monitor = await app.db.transaction().execute((trx) =>
        updateKenerMonitor(trx, tag, (before) => {
          const changes = toChanges(body, before.fields)
          refuseLarge(changes.fields)
          return changes
        }),
      )
      if (!monitor) throw noSuchMonitor(tag)
      return { monitor: toWire(monitor) }
    },
  )

  app.delete(
    '/:monitor_tag',
    {
      config: { permission: 'delete:monitors' },
      schema: { params: MonitorParams, response: { 200: Message } },
    },
    async function v4DeleteMonitor({ params: { monitor_tag: tag } }) {
      if (!(await deleteMonitor(app.db, tag))) throw noSuchMonitor(tag)
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
      const { id, tag } = await find(params.monitor_tag)
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
      if (to - from > fillMinutesMax)
        throw invalidRequest('end_ts must be no more than a year after start_ts')
      const latencyMs = spread(Math.round(body.latency), Math.round(deviation ?? 0), from, to)
      const [outcome] = await writeReports(app.db, [{ tag, reports: [{ from, to, status, latencyMs }] }])
      if (!outcome || 'refused' in outcome) throw toFailure(outcome, tag)
      return { message: 'Monitoring data updated successfully', updated_count: outcome.written }
    },
  )

  app.get(
    '/:monitor_tag/data/:timestamp',
    { config: read, schema: { params: PointParams, response: { 200: OnePoint } } },
    async function v4ReadPoint({ params }) {
      const { id, tag } = await find(params.monitor_tag)
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
      const { default_status: untold } = await find(tag)
      const minute = Math.floor(timestamp / 60)
      const outcome = await changeMinute(app.db, tag, minute, (before) => ({
        status: body.status ?? before?.status ?? (untold === 'NO_DATA' ? 'UP' : untold),
        latencyMs: body.latency === undefined ? (before?.latencyMs ?? 0) : Math.round(body.latency),
      }))
      if ('refused' in outcome) throw toFailure(outcome, tag)
      return { data: toPoint(tag, { minute, ...outcome.stored }) }
    },
  )

  async function find(tag: string): Promise<KenerMonitor> {
    const monitor = await findKenerMonitor(app.db, tag)
    if (!monitor) throw noSuchMonitor(tag)
    return monitor
  }
}

export default routes

const noSuchMonitor = (tag: string) => notFound(`Monitor with tag '${tag}' not found`)

/** A list has all monitors at once, and each with all that is kept for it. */
const keptMax = 65_536

/** @throws ApiError 400 */
function refuseLarge(fields: KeptFields): void {
  if (JSON.stringify(fields).length > keptMax) {
    throw invalidRequest(
      `image, cron, type_data and monitor_settings_json have more than ${keptMax} characters together`,
    )
  }
}

function toFailure(refusal: Refusal | undefined, tag: string) {
  return refusal?.refused === 'too late'
    ? invalidRequest('Monitoring data must be no more than 5 minutes ahead of now')
    : noSuchMonitor(tag)
}

// What a monitor is on either side.

/** Of a monitor that Kener never spoke of: nothing is checked, it is reported from outside. */
const untoldType = 'NONE'

/** There are clients that cannot read a monitor without. */
const untoldCron = '* * * * *'

const untoldFormulas = {
  uptime_formula_numerator: 'up + maintenance + degraded',
  uptime_formula_denominator: 'up + down + degraded + maintenance',
}

function toWire({ fields, ...monitor }: KenerMonitor): Static<typeof Monitor> {
  return {
    id: monitor.id,
    tag: monitor.tag,
    name: monitor.name,
    description: monitor.description,
    image: fields.image ?? null,
    cron: fields.cron === undefined ? untoldCron : fields.cron,
    default_status: monitor.default_status,
    status: monitor.enabled ? 'ACTIVE' : 'INACTIVE',
    category_name: monitor.category_name ?? fields.category_name ?? null,
    monitor_type: fields.monitor_type ?? untoldType,
    type_data: fields.type_data ?? {},
    include_degraded_in_downtime: toYesNo(monitor.degraded_counts_as_down),
    is_hidden: toYesNo(monitor.hidden),
    confirmation_threshold: fields.confirmation_threshold ?? 1,
    monitor_settings_json: fields.monitor_settings_json ?? untoldFormulas,
    external_url: monitor.external_url ?? fields.external_url ?? null,
    created_at: monitor.created_at.toISOString(),
    updated_at: monitor.updated_at.toISOString(),
  }
}

function toYesNo(value: boolean) {
  return value ? ('YES' as const) : ('NO' as const)
}

/** What a monitor of Kener's is here. What it does not say is as in Kener. */
export function toNewMonitor(body: Static<typeof CreateMonitor>): { settings: Settings; fields: KeptFields } {
  const { settings, fields } = toChanges(body, { monitor_type: defaultType })
  return { settings: { ...defaults, ...settings, tag: body.tag.trim(), name: body.name.trim() }, fields }
}

const defaultType = 'API'

const defaults = {
  description: null,
  category_name: null,
  external_url: null,
  enabled: true,
  hidden: false,
  default_status: 'UP',
  stale_after_seconds: null,
  degraded_counts_as_down: false,
} as const

/** With the fields that a body names, null being the default. Objects are merged into what was there. */
function toChanges(
  body: Static<typeof UpdateMonitor>,
  before: KeptFields,
): { settings: Partial<Settings>; fields: KeptFields } {
  const { description, category_name: category, external_url: url } = body
  return {
    settings: {
      ...(body.name !== undefined && { name: body.name.trim() }),
      ...(description !== undefined && { description }),
      ...(category !== undefined && { category_name: category || null }),
      ...(url !== undefined && { external_url: url || null }),
      ...(body.status !== undefined && { enabled: body.status !== 'INACTIVE' }),
      ...(body.is_hidden !== undefined && { hidden: body.is_hidden === 'YES' }),
      ...(body.default_status !== undefined && {
        default_status: body.default_status ?? defaults.default_status,
      }),
      ...(body.include_degraded_in_downtime !== undefined && {
        degraded_counts_as_down: body.include_degraded_in_downtime === 'YES',
      }),
    },
    fields: {
      ...before,
      ...(category !== undefined && { category_name: category === '' ? '' : undefined }),
      ...(url !== undefined && { external_url: url === '' ? '' : undefined }),
      ...(body.image !== undefined && { image: body.image }),
      ...(body.cron !== undefined && { cron: body.cron }),
      ...(body.monitor_type !== undefined && { monitor_type: body.monitor_type ?? defaultType }),
      ...(body.type_data !== undefined && { type_data: merge(before.type_data, body.type_data) }),
      ...(body.monitor_settings_json !== undefined && {
        monitor_settings_json: merge(before.monitor_settings_json, body.monitor_settings_json),
      }),
      ...(body.confirmation_threshold !== undefined && {
        confirmation_threshold: body.confirmation_threshold ?? 1,
      }),
    },
  }
}

function merge(before: object | null | undefined, change: object | null): Record<string, unknown> | null {
  return change && { ...before, ...change }
}

// What a minute is on either side.

/** Kener tells where a report came from; all of ours were pushed. */
const pushed = 'MANUAL'

function toPoint(tag: string, { minute, status, latencyMs }: ReportedMinute): Static<typeof Point> {
  return { monitor_tag: tag, timestamp: minute * 60, status, latency: latencyMs ?? 0, type: pushed }
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

/** Around `latency`, at random; the same for a minute each time it is asked for. */
function spread(latency: number, deviation: number, from: number, to: number) {
  if (deviation === 0) return latency
  const chosen = new Uint32Array(to - from)
  for (let index = 0; index < chosen.length; index++) {
    const offset = Math.floor(Math.random() * (2 * deviation + 1)) - deviation
    chosen[index] = Math.min(Math.max(latency + offset, 0), latencyMaxMs)
  }
  return (minute: number) => chosen[minute - from] ?? latency
}
