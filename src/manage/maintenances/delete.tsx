import type { FastifyInstance } from 'fastify'
import type { Static } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { deleteMaintenance, getMaintenance } from '../../maintenances/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { registerDeletion } from '../deletion.tsx'
import { describeSchedule } from './rule.ts'
import { maintenancePath, maintenancesPath, trailOf } from './ui.tsx'

export default async function routes(app: FastifyInstance) {
  registerDeletion(app, {
    path: '/:id/delete',
    config: { permission: 'admin' },
    params: IdParams,
    read: ({ id }: Static<typeof IdParams>, request) => getMaintenance(app.db, id, scopeOf(request)),
    remove: (change, { id }, expected) => deleteMaintenance(change, id, expected),
    describe: (maintenance) => ({
      section: 'maintenances',
      resource: 'maintenance',
      question: `Delete ${maintenance.title}?`,
      trail: trailOf(maintenance),
      path: maintenancePath(maintenance.id),
      version: maintenance.version,
      children: (
        <>
          <p>{describeSchedule(maintenance)}</p>
          <p>
            The maintenance and all its events are lost, also those that ended, and disappear from the status
            page and its history. An ongoing event ends now. This cannot be undone. To keep the history,
            disable the maintenance instead.
          </p>
        </>
      ),
    }),
    nextPath: () => `${maintenancesPath}?notice=deleted`,
  })
}
