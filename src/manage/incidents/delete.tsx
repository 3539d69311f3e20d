import type { FastifyInstance } from 'fastify'
import type { Static } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { listComments } from '../../incidents/comments.ts'
import { deleteIncident, getIncident } from '../../incidents/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { registerDeletion } from '../deletion.tsx'
import { formatNumber } from '../format.ts'
import { incidentPath, incidentsPath, trailOf } from './ui.tsx'

export default async function routes(app: FastifyInstance) {
  registerDeletion(app, {
    path: '/:id/delete',
    config: { permission: 'admin' },
    params: IdParams,
    read: async ({ id }: Static<typeof IdParams>, request) => {
      const scope = scopeOf(request)
      const incident = await getIncident(app.db, id, scope)
      return { incident, comments: await listComments(app.db, id, scope) }
    },
    remove: (change, { id }, expected) => deleteIncident(change, id, expected),
    describe: ({ incident, comments: { length: count } }) => ({
      section: 'incidents',
      resource: 'incident',
      question: `Delete ${incident.title}?`,
      trail: trailOf(incident),
      path: incidentPath(incident.id),
      version: incident.version,
      children: (
        <p>
          The incident and its {count === 1 ? 'update are' : `${formatNumber(count)} updates are`} lost, and
          disappear from the status page and its history. This cannot be undone. To end the incident, resolve
          it instead.
        </p>
      ),
    }),
    nextPath: () => `${incidentsPath}?notice=deleted`,
  })
}
