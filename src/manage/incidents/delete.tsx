import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { listComments } from '../../incidents/comments.ts'
import { deleteIncident, getIncident } from '../../incidents/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { isConflict, readPrecondition } from '../form.ts'
import { formatNumber } from '../format.ts'
import { sendPage } from '../page.tsx'
import { ConflictSummary, DeleteForm } from '../ui.tsx'
import { Breadcrumbs, incidentPath, incidentsPath } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'admin' } as const
  const schema = { params: IdParams }

  app.get('/:id/delete', { config, schema }, async function confirm(request, reply) {
    return sendConfirmation(request, reply, request.params.id, false)
  })

  app.post(
    '/:id/delete',
    { config: { ...config, recentLogIn: true }, schema },
    async function remove(request, reply) {
      const { id } = request.params
      try {
        await change(request, (change) => deleteIncident(change, id, readPrecondition(request.body)))
      } catch (error) {
        if (!isConflict(error)) throw error
        return sendConfirmation(request, reply.code(error.status), id, true)
      }
      return reply.redirect(`${incidentsPath}?notice=deleted`, 303)
    },
  )

  async function sendConfirmation(
    request: FastifyRequest,
    reply: FastifyReply,
    id: number,
    isStale: boolean,
  ) {
    const scope = scopeOf(request)
    const { title, version } = await getIncident(app.db, id, scope)
    const { length: count } = await listComments(app.db, id, scope)
    return sendPage(
      request,
      reply,
      { title: `Delete ${title}`, section: 'incidents' },
      <>
        <Breadcrumbs current="Delete" incident={{ id, title }} />
        <h1>Delete {title}?</h1>
        <section class="card form">
          {isStale && <ConflictSummary resource="incident">Check it, and try again.</ConflictSummary>}
          <p>
            The incident and its {count === 1 ? 'update are' : `${formatNumber(count)} updates are`} lost, and
            disappear from the status page and its history. This cannot be undone. To end the incident,
            resolve it instead.
          </p>
          <DeleteForm action={`${incidentPath(id)}/delete`} version={version} cancelPath={incidentPath(id)} />
        </section>
      </>,
    )
  }
}

export default routes
