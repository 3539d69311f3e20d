import { endBeforeStart } from '../errors.ts'
import { rethrowUnknownMonitors } from '../monitors/affected.ts'
import type { Affected } from './repository.ts'

/**
 * What the database refused of an incident, in words for the client.
 * @param end where its end stands in the body.
 */
export function rethrowIncidentError(affected: Affected[] = [], end = '/ended_at') {
  return (error: unknown): never => {
    rethrowUnknownMonitors(error, affected)
    if (error instanceof Error && 'constraint' in error && error.constraint === 'incidents_check') {
      throw endBeforeStart(end)
    }
    throw error
  }
}
