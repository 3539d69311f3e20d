export const states = ['INVESTIGATING', 'IDENTIFIED', 'MONITORING', 'RESOLVED'] as const
export type State = (typeof states)[number]

export const impacts = ['DOWN', 'DEGRADED', 'MAINTENANCE'] as const
export type Impact = (typeof impacts)[number]

export const maintenanceImpacts = ['DOWN', 'DEGRADED', 'MAINTENANCE', 'UP'] as const
export type MaintenanceImpact = (typeof maintenanceImpacts)[number]

/** As what an event can be closed by hand. */
export const closingStates = ['COMPLETED', 'CANCELLED'] as const
export type ClosingState = (typeof closingStates)[number]

export const eventStates = ['SCHEDULED', 'READY', 'ONGOING', ...closingStates] as const
export type EventState = (typeof eventStates)[number]

/** What a monitor can be found to be. Reports name one of these. */
export const reportStatuses = ['UP', 'DEGRADED', 'DOWN', 'MAINTENANCE'] as const
export const statuses = [...reportStatuses, 'NO_DATA'] as const

export type ReportStatus = (typeof reportStatuses)[number]
export type Status = (typeof statuses)[number]

/** The order in which one of several statuses stands for all of them. */
export const statusesBySeverity: readonly Status[] = ['DOWN', 'MAINTENANCE', 'DEGRADED', 'UP', 'NO_DATA']
