import type { FastifyInstance } from 'fastify'
import type { Replica } from '../helper.ts'

/** Collects the paths of all pages of the panel as they are registered, so that tests cover new ones too. */
export function collectPages(paths: string[]) {
  return (app: FastifyInstance) => {
    app.addHook('onRoute', ({ method, url }) => {
      const isPage = url.startsWith('/manage') && !url.startsWith('/manage/assets') && !url.endsWith('/login')
      if (method === 'GET' && isPage) paths.push(url.length > 7 ? url.replace(/\/$/, '') : url)
    })
  }
}

type Ids = Record<'incident' | 'comment' | 'maintenance' | 'event' | 'key', string>

/** Replaces the parameters of a path by ids. The tag is that of the first monitor. */
export function fillPath(path: string, ids: Ids): string {
  const id = path.includes('/incidents')
    ? ids.incident
    : path.includes('/maintenances')
      ? ids.maintenance
      : ids.key
  const filled = path
    .replace(':comment_id', ids.comment)
    .replace(':event_id', ids.event)
    .replace(':tag', 'monitor-0')
    .replace(':id', id)
  if (filled.includes(':')) throw new Error(`${path} has a parameter that is not known`)
  return filled
}

/**
 * Creates `count` monitors with a report, incidents with updates, maintenances and keys, and returns the ids of the first
 * ones.
 */
export async function fillPanel({ call }: Replica, token: string, from: number, count: number): Promise<Ids> {
  const send = async (route: Parameters<typeof call>[1], body: object) =>
    (await call(token, route, body)).json?.data
  let ids: Ids | undefined
  for (let index = from; index < from + count; index++) {
    const tag = `monitor-${index}`
    await send(`PUT /api/monitors/${tag}`, { name: `Monitor ${index}`, category_name: `Category ${index}` })
    if (index === 0) await send(`POST /api/monitors/${tag}/heartbeat`, {})
    await send(`POST /api/monitors/${tag}/data`, { status: index % 2 === 0 ? 'DOWN' : 'UP', latency_ms: 80 })
    const monitors = [{ monitor_tag: 'monitor-0', impact: 'DEGRADED' }]
    const incident = await send('POST /api/incidents', {
      title: `Incident ${index}`,
      monitors,
      comment: 'First',
    })
    const maintenance = await send('POST /api/maintenances', {
      title: `Maintenance ${index}`,
      starts_at: '2998-12-30T02:00:00Z',
      duration_seconds: 7200,
      monitors: [{ monitor_tag: tag }],
    })
    const key = await send('POST /api/keys', { name: `Key ${index}`, permissions: ['write:monitors'] })
    await send(`POST /api/incidents/${incident.id}/comments`, { comment: `Update ${index}` })
    ids ??= {
      incident: String(incident.id),
      comment: String(incident.comments[0].id),
      maintenance: String(maintenance.id),
      event: String((await call(token, `GET /api/maintenances/${maintenance.id}/events`)).json.data[0].id),
      key: key.id,
    }
  }
  if (!ids) throw new Error('Nothing was created')
  return ids
}
