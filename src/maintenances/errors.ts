import type { MaintenanceImpact } from '../enums.ts'
import { invalidField } from '../errors.ts'
import { rethrowUnknownMonitors } from '../monitors/affected.ts'
import { InvalidSchedule } from './schedule.ts'

/** What was refused of a maintenance, in words for the client. */
export function rethrowMaintenanceError(affected: MonitorReference[] = []) {
  return (error: unknown): never => {
    rethrowUnknownMonitors(error, affected)
    if (error instanceof InvalidSchedule) throw invalidField(`/${error.field}`, error.message)
    throw error
  }
}

export type MonitorReference = { monitor_tag: string; impact?: MaintenanceImpact }
