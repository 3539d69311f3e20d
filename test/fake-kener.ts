import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export type SourceItem = { id: number } & Record<string, unknown>

export type FakeKener = Awaited<ReturnType<typeof startFakeKener>>

/**
 * Starts a server with the part of Kener 4's API that an import reads, as Kener's published description defines it: all
 * monitors; the 1000 incidents with the highest ids that start within a window with inclusive bounds, where 0 means no
 * bound; the comments of an incident. `intercept` returns true if it has responded instead.
 */
export async function startFakeKener(t: Test, { key = 'the-key-of-kener', base = '' } = {}) {
  const content = {
    monitors: [] as SourceItem[],
    incidents: [] as SourceItem[],
    /** By the id of the incident. */
    comments: new Map<number, SourceItem[]>(),
  }
  const requests: { path: string; authorization: string | undefined }[] = []
  const hooks: { intercept?: (request: IncomingMessage, response: ServerResponse) => boolean } = {}
  const server = createServer((request, response) => {
    const { url = '', headers } = request
    requests.push({ path: url, authorization: headers.authorization })
    if (hooks.intercept?.(request, response)) return
    const reply = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (headers.authorization !== `Bearer ${key}`) {
      reply(401, { error: { code: 'UNAUTHORIZED', message: 'Invalid API key' } })
      return
    }
    const { pathname, searchParams } = new URL(url, 'http://kener.invalid')
    const path = pathname.startsWith(`${base}/api/v4`) ? pathname.slice(`${base}/api/v4`.length) : ''
    const [, id] = /^\/incidents\/(\d+)\/comments$/.exec(path) ?? []
    const bound = (name: string) => Number(searchParams.get(name) ?? 0)
    if (path === '/monitors') {
      reply(200, { monitors: content.monitors })
    } else if (path === '/incidents') {
      const [from, to] = [bound('start_ts'), bound('end_ts')]
      const listed = content.incidents
        .filter(
          ({ start_date_time: start }) => (!from || Number(start) >= from) && (!to || Number(start) <= to),
        )
        .sort((a, b) => b.id - a.id)
      reply(200, { incidents: listed.slice(0, 1000) })
    } else if (id && content.incidents.some((incident) => incident.id === Number(id))) {
      reply(200, { comments: content.comments.get(Number(id)) ?? [] })
    } else {
      reply(404, { error: { code: 'NOT_FOUND', message: `No API route matches '${pathname}'` } })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${base}`
  return { url, key, content, requests, hooks }
}

const stamps = { created_at: '2026-01-27T16:07:19.000Z', updated_at: '2026-01-27T16:07:19.000Z' }

export function sourceMonitor(id: number, tag: string, fields: Record<string, unknown> = {}): SourceItem {
  return {
    id,
    tag,
    name: `Monitor ${id}`,
    description: null,
    image: null,
    cron: '* * * * *',
    default_status: 'UP',
    status: 'ACTIVE',
    category_name: 'Home',
    monitor_type: 'API',
    type_data: { url: 'https://www.example.com' },
    include_degraded_in_downtime: 'NO',
    is_hidden: 'NO',
    confirmation_threshold: 1,
    monitor_settings_json: { uptime_formula_numerator: 'up', uptime_formula_denominator: 'up + down' },
    external_url: null,
    ...stamps,
    ...fields,
  }
}

export function sourceIncident(id: number, fields: Record<string, unknown> = {}): SourceItem {
  return {
    id,
    title: `Incident ${id}`,
    start_date_time: 1_767_225_600 + id * 3600,
    end_date_time: null,
    state: 'INVESTIGATING',
    incident_source: 'API',
    monitors: [],
    url: `https://status.example.com/incidents/${id}`,
    ...stamps,
    ...fields,
  }
}

export function sourceComment(
  id: number,
  incidentId: number,
  fields: Record<string, unknown> = {},
): SourceItem {
  return {
    id,
    incident_id: incidentId,
    comment: `Comment ${id}`,
    timestamp: 1_767_225_600 + incidentId * 3600 + id * 60,
    state: 'INVESTIGATING',
    ...stamps,
    ...fields,
  }
}
