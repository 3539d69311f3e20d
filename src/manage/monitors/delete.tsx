import type { FastifyInstance } from 'fastify'
import type { Static } from 'typebox'
import { deleteMonitor, getMonitor, type MonitorData, summarizeData } from '../../monitors/repository.ts'
import { formatDate } from '../../wire/time-text.ts'
import { registerDeletion } from '../deletion.tsx'
import { formatNumber } from '../format.ts'
import { monitorPath, MonitorParams, monitorsPath, trailOf } from './ui.tsx'

export default async function routes(app: FastifyInstance) {
  registerDeletion(app, {
    path: '/:tag/delete',
    config: { permission: 'delete:monitors', tags: { param: 'tag' } },
    params: MonitorParams,
    read: async ({ tag }: Static<typeof MonitorParams>) => {
      const monitor = await getMonitor(app.db, tag)
      return { monitor, data: await summarizeData(app.db, monitor.id) }
    },
    remove: (change, { tag }, expected) => deleteMonitor(change, tag, expected),
    describe: ({ monitor, data }) => ({
      section: 'monitors',
      resource: 'monitor',
      question: `Delete ${monitor.name}?`,
      trail: trailOf(monitor),
      path: monitorPath(monitor.tag),
      version: monitor.version,
      children: (
        <>
          <p>This cannot be undone. The following is deleted as well:</p>
          <ul class="list">
            {describeLosses(data).map((loss) => (
              <li key={loss}>{loss}</li>
            ))}
          </ul>
          <p class="muted">
            To stop showing it and keep its data, disable it instead. Keys that are limited to this monitor
            are kept.
          </p>
        </>
      ),
    }),
    nextPath: () => `${monitorsPath}?notice=deleted`,
  })
}

function describeLosses({ first_day, has_heartbeat, incidents, maintenances }: MonitorData): string[] {
  const links = [
    incidents > 0 && count(incidents, 'incident'),
    maintenances > 0 && count(maintenances, 'maintenance'),
  ].filter(Boolean)
  return [
    first_day === null
      ? 'No reports: nothing was reported'
      : `All reports since ${formatDate(new Date(first_day * 86_400_000))}`,
    ...(links.length > 0 ? [`Its links to ${links.join(' and ')}, which are kept`] : []),
    ...(has_heartbeat ? ['Its heartbeat URL: requests to it are 404 from then on'] : []),
  ]
}

/** `1 incident`, `2 incidents` */
function count(number: number, noun: string): string {
  return `${formatNumber(number)} ${noun}${number === 1 ? '' : 's'}`
}
