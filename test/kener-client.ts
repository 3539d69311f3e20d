import type { Replica } from './helper.ts'

/** An error response. */
export class KenerError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export type KenerMonitor = {
  id: number
  tag: string
  name: string
  description: string | null
  image: string | null
  cron: string | null
  default_status: string
  status: string
  category_name: string | null
  monitor_type: string
  type_data: Record<string, unknown>
  include_degraded_in_downtime: string
  is_hidden: string
  confirmation_threshold: number
  monitor_settings_json: Record<string, unknown>
  external_url: string | null
  created_at: string
  updated_at: string
}
export type KenerPoint = {
  monitor_tag: string
  timestamp: number
  status: string
  latency: number
  type: string
}
export type KenerIncident = {
  id: number
  title: string
  start_date_time: number
  end_date_time: number | null
  state: string
  incident_source: string
  monitors: { monitor_tag: string; impact: string }[]
  created_at: string
  updated_at: string
  url: string
}
export type KenerComment = {
  id: number
  incident_id: number
  comment: string
  timestamp: number
  state: string
  created_at: string
  updated_at: string
}
export type KenerMaintenance = {
  id: number
  title: string
  description: string | null
  start_date_time: number
  rrule: string
  duration_seconds: number
  status: string
  monitors: { monitor_tag: string; impact: string }[]
  created_at: string
  updated_at: string
  url: string
}
export type KenerEvent = {
  id: number
  maintenance_id: number
  start_date_time: number
  end_date_time: number
  status: string
  created_at: string
  updated_at: string
  url: string
}
export type KenerEventWithMaintenance = {
  maintenance_id: number
  event_id: number
  event_start_date_time: number
  event_end_date_time: number
  event_status: string
  maintenance_title: string
  maintenance_description: string | null
  maintenance_status: string
  maintenance_rrule: string
  maintenance_duration_seconds: number
  monitors: { monitor_tag: string; impact: string }[]
  url: string
}

type Type =
  'string' | 'text or null' | 'integer' | 'integer or null' | 'number' | 'object' | 'time' | 'url' | Shape[]
type Shape = { [name: string]: Type }

const monitor: Shape = {
  id: 'integer',
  tag: 'string',
  name: 'string',
  description: 'text or null',
  image: 'text or null',
  cron: 'text or null',
  default_status: 'string',
  status: 'string',
  category_name: 'text or null',
  monitor_type: 'string',
  type_data: 'object',
  include_degraded_in_downtime: 'string',
  is_hidden: 'string',
  confirmation_threshold: 'integer',
  monitor_settings_json: 'object',
  external_url: 'text or null',
  created_at: 'time',
  updated_at: 'time',
}
const point: Shape = {
  monitor_tag: 'string',
  timestamp: 'integer',
  status: 'string',
  latency: 'number',
  type: 'string',
}
const incident: Shape = {
  id: 'integer',
  title: 'string',
  start_date_time: 'integer',
  end_date_time: 'integer or null',
  state: 'string',
  incident_source: 'string',
  monitors: [{ monitor_tag: 'string', impact: 'string' }],
  created_at: 'time',
  updated_at: 'time',
  url: 'url',
}
const detail: Shape = { ...incident, incident_type: 'string' }
const comment: Shape = {
  id: 'integer',
  incident_id: 'integer',
  comment: 'string',
  timestamp: 'integer',
  state: 'string',
  created_at: 'time',
  updated_at: 'time',
}

const maintenance: Shape = {
  id: 'integer',
  title: 'string',
  description: 'text or null',
  start_date_time: 'integer',
  rrule: 'string',
  duration_seconds: 'integer',
  status: 'string',
  monitors: [{ monitor_tag: 'string', impact: 'string' }],
  created_at: 'time',
  updated_at: 'time',
  url: 'url',
}
const event: Shape = {
  id: 'integer',
  maintenance_id: 'integer',
  start_date_time: 'integer',
  end_date_time: 'integer',
  status: 'string',
  created_at: 'time',
  updated_at: 'time',
  url: 'url',
}
const eventWithMaintenance: Shape = {
  maintenance_id: 'integer',
  event_id: 'integer',
  event_start_date_time: 'integer',
  event_end_date_time: 'integer',
  event_status: 'string',
  maintenance_title: 'string',
  maintenance_description: 'text or null',
  maintenance_status: 'string',
  maintenance_rrule: 'string',
  maintenance_duration_seconds: 'integer',
  monitors: [{ monitor_tag: 'string', impact: 'string' }],
  url: 'url',
}

const checks: Record<Exclude<Type, Shape[]>, (value: unknown) => boolean> = {
  string: (value) => typeof value === 'string',
  'text or null': (value) => value === null || typeof value === 'string',
  integer: Number.isInteger,
  'integer or null': (value) => value === null || Number.isInteger(value),
  number: Number.isFinite,
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  time: (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value),
  url: (value) => URL.canParse(String(value)),
}

function expectShape(value: unknown, shape: Shape, path: string): void {
  const found = value as Record<string, unknown>
  if (Object.keys(found).sort().join() !== Object.keys(shape).sort().join()) {
    throw new Error(`${path} has the fields ${Object.keys(found).join()}`)
  }
  for (const [name, type] of Object.entries(shape)) {
    if (!Array.isArray(type)) {
      if (!checks[type](found[name]))
        throw new Error(`${path}.${name} is ${JSON.stringify(found[name])}, expected ${type}`)
    } else {
      for (const item of found[name] as unknown[]) expectShape(item, type[0] ?? {}, `${path}.${name}`)
    }
  }
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'

/**
 * Creates a client of Kener 4, written from the API description that Kener publishes. It uses no code of this service,
 * rejects responses with missing or additional fields, and treats any other than the documented status as an error.
 */
export function createKenerClient({ call }: Pick<Replica, 'call'>, key: string) {
  async function request(
    method: Method,
    path: string,
    body: unknown,
    status: number,
  ): Promise<Record<string, unknown>> {
    const reply = await call(key, `${method} /api/v4${path}`, body)
    if (reply.statusCode === status) return reply.json as Record<string, unknown>
    const { code, message } = reply.json.error as { code: string; message: string }
    throw new KenerError(reply.statusCode, code, message)
  }

  /** Returns the only field of a response. */
  async function fetchOne<Result>(
    method: Method,
    path: string,
    body: unknown,
    [name, shape, status]: [name: string, shape: Shape | [Shape], status?: number],
  ): Promise<Result> {
    const { [name]: value, ...rest } = await request(method, path, body, status ?? 200)
    if (Object.keys(rest).length > 0)
      throw new Error(`${method} ${path} also returns ${Object.keys(rest).join()}`)
    const [items, itemShape] = Array.isArray(shape) ? [value as unknown[], shape[0]] : [[value], shape]
    for (const item of items) expectShape(item, itemShape, name)
    return value as Result
  }

  const remove = async (path: string) => String((await request('DELETE', path, undefined, 200)).message)
  const tagged = (tag: string) => `/monitors/${encodeURIComponent(tag)}`
  const query = (parameters: Record<string, string | number>) =>
    new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)])).toString()

  return {
    listMonitors: (filter: Record<string, string> = {}) =>
      fetchOne<KenerMonitor[]>('GET', `/monitors?${query(filter)}`, undefined, ['monitors', [monitor]]),
    createMonitor: (body: unknown) =>
      fetchOne<KenerMonitor>('POST', '/monitors', body, ['monitor', monitor, 201]),
    getMonitor: (tag: string) => fetchOne<KenerMonitor>('GET', tagged(tag), undefined, ['monitor', monitor]),
    updateMonitor: (tag: string, body: unknown) =>
      fetchOne<KenerMonitor>('PATCH', tagged(tag), body, ['monitor', monitor]),
    deleteMonitor: (tag: string) => remove(tagged(tag)),
    getData: (tag: string, start: number, end: number) =>
      fetchOne<KenerPoint[]>(
        'GET',
        `${tagged(tag)}/data?${query({ start_ts: start, end_ts: end })}`,
        undefined,
        ['data', [point]],
      ),
    fillData: async (tag: string, body: unknown) => {
      const { message, updated_count: count } = await request('PATCH', `${tagged(tag)}/data`, body, 200)
      if (message !== 'Monitoring data updated successfully') throw new Error(String(message))
      return Number(count)
    },
    getPoint: (tag: string, timestamp: number) =>
      fetchOne<KenerPoint>('GET', `${tagged(tag)}/data/${timestamp}`, undefined, ['data', point]),
    updatePoint: (tag: string, timestamp: number, body: unknown) =>
      fetchOne<KenerPoint>('PATCH', `${tagged(tag)}/data/${timestamp}`, body, ['data', point]),
    listIncidents: (filter: Record<string, string | number> = {}) =>
      fetchOne<KenerIncident[]>('GET', `/incidents?${query(filter)}`, undefined, ['incidents', [incident]]),
    createIncident: (body: unknown) =>
      fetchOne<KenerIncident>('POST', '/incidents', body, ['incident', detail, 201]),
    getIncident: (id: number) =>
      fetchOne<KenerIncident>('GET', `/incidents/${id}`, undefined, ['incident', detail]),
    updateIncident: (id: number, body: unknown) =>
      fetchOne<KenerIncident>('PATCH', `/incidents/${id}`, body, ['incident', detail]),
    deleteIncident: (id: number) => remove(`/incidents/${id}`),
    listComments: (id: number) =>
      fetchOne<KenerComment[]>('GET', `/incidents/${id}/comments`, undefined, ['comments', [comment]]),
    createComment: (id: number, body: unknown) =>
      fetchOne<KenerComment>('POST', `/incidents/${id}/comments`, body, ['comment', comment, 201]),
    getComment: (id: number, commentId: number) =>
      fetchOne<KenerComment>('GET', `/incidents/${id}/comments/${commentId}`, undefined, [
        'comment',
        comment,
      ]),
    updateComment: (id: number, commentId: number, body: unknown) =>
      fetchOne<KenerComment>('PATCH', `/incidents/${id}/comments/${commentId}`, body, ['comment', comment]),
    deleteComment: (id: number, commentId: number) => remove(`/incidents/${id}/comments/${commentId}`),
    listMaintenances: (filter: Record<string, string> = {}) =>
      fetchOne<KenerMaintenance[]>('GET', `/maintenances?${query(filter)}`, undefined, [
        'maintenances',
        [maintenance],
      ]),
    createMaintenance: (body: unknown) =>
      fetchOne<KenerMaintenance>('POST', '/maintenances', body, ['maintenance', maintenance, 201]),
    getMaintenance: (id: number) =>
      fetchOne<KenerMaintenance>('GET', `/maintenances/${id}`, undefined, ['maintenance', maintenance]),
    updateMaintenance: (id: number, body: unknown) =>
      fetchOne<KenerMaintenance>('PATCH', `/maintenances/${id}`, body, ['maintenance', maintenance]),
    deleteMaintenance: (id: number) => remove(`/maintenances/${id}`),
    listEvents: async (id: number, filter: Record<string, number> = {}) => {
      const { events, ...rest } = await request(
        'GET',
        `/maintenances/${id}/events?${query(filter)}`,
        undefined,
        200,
      )
      expectShape(rest, { page: 'integer', limit: 'integer' }, 'the page')
      for (const item of events as unknown[]) expectShape(item, event, 'event')
      return { events: events as KenerEvent[], ...rest } as {
        events: KenerEvent[]
        page: number
        limit: number
      }
    },
    listAllEvents: async (filter: Record<string, string | number> = {}) => {
      const { events, ...rest } = await request(
        'GET',
        `/maintenances/events?${query(filter)}`,
        undefined,
        200,
      )
      expectShape(rest, { page: 'integer', limit: 'integer', total: 'integer' }, 'the page')
      for (const item of events as unknown[]) expectShape(item, eventWithMaintenance, 'event')
      return { events: events as KenerEventWithMaintenance[], total: Number(rest.total) }
    },
    getEvent: (id: number, eventId: number) =>
      fetchOne<KenerEvent>('GET', `/maintenances/${id}/events/${eventId}`, undefined, ['event', event]),
    updateEvent: (id: number, eventId: number, body: unknown) =>
      fetchOne<KenerEvent>('PATCH', `/maintenances/${id}/events/${eventId}`, body, ['event', event]),
    deleteEvent: (id: number, eventId: number) => remove(`/maintenances/${id}/events/${eventId}`),
  }
}
