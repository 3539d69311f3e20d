import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { deleteMaintenance, getMaintenance } from '../../maintenances/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { isConflict, readPrecondition } from '../form.ts'
import { sendPage } from '../page.tsx'
import { ConflictSummary, DeleteForm } from '../ui.tsx'
import { describeSchedule } from './rule.ts'
import { Breadcrumbs, maintenancePath, maintenancesPath } from './ui.tsx'

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
        await change(request, (change) => deleteMaintenance(change, id, readPrecondition(request.body)))
      } catch (error) {
        if (!isConflict(error)) throw error
        return sendConfirmation(request, reply.code(error.status), id, true)
      }
      return reply.redirect(`${maintenancesPath}?notice=deleted`, 303)
    },
  )

  async function sendConfirmation(
    request: FastifyRequest,
    reply: FastifyReply,
    id: number,
    isStale: boolean,
  ) {
    const maintenance = await getMaintenance(app.db, id, scopeOf(request))
    const { title, version } = maintenance
    return sendPage(
      request,
      reply,
      { title: `Delete ${title}`, section: 'maintenances' },
      <>
        <Breadcrumbs current="Delete" maintenance={maintenance} />
        <h1>Delete {title}?</h1>
        <section class="card form">
          {isStale && <ConflictSummary resource="maintenance">Check it, and try again.</ConflictSummary>}
          <p>{describeSchedule(maintenance)}</p>
          <p>
            The maintenance and all its events are lost, also those that ended, and disappear from the status
            page and its history. An ongoing event ends now. This cannot be undone. To keep the history,
            disable the maintenance instead.
          </p>
          <DeleteForm
            action={`${maintenancePath(id)}/delete`}
            version={version}
            cancelPath={maintenancePath(id)}
          />
        </section>
      </>,
    )
  }
}

export default routes
