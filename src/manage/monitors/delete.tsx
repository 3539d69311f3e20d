import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { change } from '../../http/change-context.ts'
import { deleteMonitor, getMonitor, type MonitorData, summarizeData } from '../../monitors/repository.ts'
import { isConflict, readPrecondition } from '../form.ts'
import { formatDate } from '../../wire/time-text.ts'
import { formatNumber } from '../format.ts'
import { sendPage } from '../page.tsx'
import { ConflictSummary } from '../ui.tsx'
import { ConfirmPage, MonitorParams, monitorsPath } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'delete:monitors', tags: { param: 'tag' } } as const
  const schema = { params: MonitorParams }

  app.get('/:tag/delete', { config, schema }, async function confirm(request, reply) {
    return sendConfirmation(request, reply, request.params.tag)
  })

  app.post(
    '/:tag/delete',
    { config: { ...config, recentLogIn: true }, schema },
    async function remove(request, reply) {
      const { tag } = request.params
      try {
        const expected = readPrecondition(request.body)
        await change(request, (change) => deleteMonitor(change, tag, expected))
      } catch (error) {
        if (!isConflict(error)) throw error
        return sendConfirmation(request, reply.code(error.status), tag, true)
      }
      return reply.redirect(`${monitorsPath}?notice=deleted`, 303)
    },
  )

  async function sendConfirmation(
    request: FastifyRequest,
    reply: FastifyReply,
    tag: string,
    isStale = false,
  ) {
    const monitor = await getMonitor(app.db, tag)
    const data = await summarizeData(app.db, monitor.id)
    return sendPage(
      request,
      reply,
      { title: `Delete ${monitor.name}`, section: 'monitors' },
      <ConfirmPage
        label="Delete"
        question={`Delete ${monitor.name}?`}
        action="delete"
        monitor={monitor}
        fields={<input type="hidden" name="version" value={monitor.version} />}
      >
        {isStale && (
          <ConflictSummary resource="monitor">Look at it again before you delete it.</ConflictSummary>
        )}
        <p>This cannot be undone. The following is deleted as well:</p>
        <ul class="list">
          {describeLosses(data).map((loss) => (
            <li key={loss}>{loss}</li>
          ))}
        </ul>
        <p class="muted">
          To stop showing it and keep its data, disable it instead. Keys that are limited to this monitor are
          kept.
        </p>
      </ConfirmPage>,
    )
  }
}

export default routes

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
