import { Type } from 'typebox'
import { Nullable } from './envelope.ts'
import { PublicIncident } from './incidents.ts'
import { PublicMaintenance } from './maintenances.ts'
import { Status } from './monitors.ts'

export const StatusPage = Type.Object({
  status: { ...Status, examples: ['DEGRADED'] },
  monitors: Type.Array(
    Type.Object(
      {
        tag: Type.String(),
        name: Type.String(),
        category_name: Nullable(Type.String()),
        status: Status,
      },
      { examples: [{ tag: 'website', name: 'Website', category_name: 'Public', status: 'DEGRADED' }] },
    ),
  ),
  incidents: Type.Array(PublicIncident),
  maintenances: Type.Array(PublicMaintenance),
})
