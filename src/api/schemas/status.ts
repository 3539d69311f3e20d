import { Type } from 'typebox'
import { statuses } from '../../enums.ts'
import { Nullable, StringEnum } from '../../wire/envelope.ts'
import { PublicIncident } from './incidents.ts'
import { PublicMaintenance } from './maintenances.ts'

export const StatusPage = Type.Object({
  status: StringEnum(statuses, {
    description: 'Most severe status of all visible monitors, or NO_DATA if there are none.',
    examples: ['DEGRADED'],
  }),
  monitors: Type.Array(
    Type.Object(
      {
        tag: Type.String({ description: 'Tag of the monitor.' }),
        name: Type.String({ description: 'Name for display.' }),
        category_name: Nullable(Type.String({ description: 'Category of the monitor. Null: none.' })),
        status: StringEnum(statuses, { description: 'Current status of the monitor.' }),
      },
      { examples: [{ tag: 'website', name: 'Website', category_name: 'Public', status: 'DEGRADED' }] },
    ),
    { description: 'Monitors that are enabled and not hidden, ordered by tag.' },
  ),
  incidents: Type.Array(PublicIncident, {
    description: 'Open incidents that affect a visible monitor, or no monitor at all.',
  }),
  maintenances: Type.Array(PublicMaintenance, {
    description: 'Maintenances that are ongoing or start within 7 days, at most 100.',
  }),
})
