import { Type } from 'typebox'
import { Nullable } from '../../wire/envelope.ts'
import { PublicIncident } from './incidents.ts'
import { PublicMaintenance } from './maintenances.ts'
import { StatusSchema } from './monitors.ts'

export const StatusPage = Type.Object({
  status: { ...StatusSchema, examples: ['DEGRADED'] },
  monitors: Type.Array(
    Type.Object(
      {
        tag: Type.String(),
        name: Type.String(),
        category_name: Nullable(Type.String()),
        status: StatusSchema,
      },
      { examples: [{ tag: 'website', name: 'Website', category_name: 'Public', status: 'DEGRADED' }] },
    ),
  ),
  incidents: Type.Array(PublicIncident),
  maintenances: Type.Array(PublicMaintenance),
})
