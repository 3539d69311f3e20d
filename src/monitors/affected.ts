import { sql, type Transaction } from 'kysely'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import { type ApiError, invalidField, invalidRequest } from '../errors.ts'
import { maxAffectedMonitors } from '../limits.ts'
import { lockExistingMonitorsForShare } from './repository.ts'

type Affected = { monitor_tag: string; impact: string }

/**
 * SQL for the link tables `incident_monitors` and `maintenance_monitors`.
 * @param owners table of the owners. @param name prefix of the link table and of its column with the owner's id.
 */
export function affectedMonitors(owners: 'incidents' | 'maintenances', name: 'incident' | 'maintenance') {
  const table = sql.table(`${name}_monitors`)
  const ownerId = sql.ref(`${name}_id`)
  const links = sql`${table} join monitors on monitors.id = monitor_id where ${ownerId} = ${sql.ref(`${owners}.id`)}`
  const list = sql`json_agg(json_build_object('monitor_tag', tag, 'impact', impact) order by tag)`

  /** @param monitorIds ids by tag, of monitors that the transaction has locked. @throws ApiError 400 for too many */
  async function insert(
    trx: Transaction<Tables>,
    id: number,
    affected: readonly Affected[],
    monitorIds: Map<string, number>,
  ): Promise<void> {
    if (affected.length === 0) return
    if (affected.length > maxAffectedMonitors) {
      throw invalidField('/monitors', `must have at most ${maxAffectedMonitors} items`)
    }
    await prepared(sql`
      insert into ${table} (${ownerId}, monitor_id, impact)
      select ${id}::integer, * from unnest(
        ${affected.map(({ monitor_tag }) => monitorIds.get(monitor_tag))}::integer[],
        ${affected.map(({ impact }) => impact)}::text[])`).execute(trx)
  }

  return {
    /** Column for a select from `owners`: all affected monitors, ordered by tag. */
    column: sql`coalesce((select ${list} from ${links}), '[]') as monitors`,
    /** Lateral join for a select from `owners`: the number of all affected monitors, and the list of the visible ones. */
    publicMonitors: sql`
      lateral (
        select count(*) as total, coalesce(
          ${list} filter (where monitors.enabled and not hidden), '[]') as monitors
        from ${links}
      ) as affected`,
    /** Condition on publicMonitors: affects a visible monitor, or none at all. */
    isPublic: sql`(total = 0 or json_array_length(affected.monitors) > 0)`,
    /** Condition: affects at least one of these monitors. */
    includes: (tags: readonly string[]) => sql`exists (select from ${links} and tag = any(${tags}::text[]))`,
    insert,
    /** Replaces all links of an owner. */
    async replace(...[trx, id, affected, monitorIds]: Parameters<typeof insert>): Promise<void> {
      await prepared(sql`delete from ${table} where ${ownerId} = ${id}`).execute(trx)
      await insert(trx, id, affected, monitorIds)
    },
  }
}

export function tagsOf(affected: MonitorReference): string[] {
  return affected.map(({ monitor_tag }) => monitor_tag)
}

/** The field `monitors` in the body of an incident or a maintenance. */
type MonitorReference = readonly { monitor_tag: string }[]

/** @throws ApiError 400 if a tag is repeated */
export function assertUniqueMonitors(affected: MonitorReference = []): void {
  const seen = new Set<string>()
  affected.forEach(({ monitor_tag: tag }, index) => {
    if (seen.has(tag)) throw invalidMonitors([index], 'must not repeat the tag of another item')
    seen.add(tag)
  })
}

/**
 * Locks the monitors FOR KEY SHARE until commit. Call it before touching link rows, because deleting a monitor locks in
 * this order, and the reverse order deadlocks.
 * @returns their ids, by tag. @throws ApiError 400 naming each unknown tag
 */
export async function lockAffectedMonitors(
  trx: Transaction<Tables>,
  affected: MonitorReference,
): Promise<Map<string, number>> {
  const monitorIds = await lockExistingMonitorsForShare(trx, tagsOf(affected))
  const unknown = affected.flatMap(({ monitor_tag: tag }, index) => (monitorIds.has(tag) ? [] : [index]))
  if (unknown.length > 0) throw invalidMonitors(unknown, 'must be the tag of an existing monitor')
  return monitorIds
}

function invalidMonitors(indices: number[], message: string): ApiError {
  const details = indices.map((index) => ({ path: `/monitors/${index}/monitor_tag`, message }))
  return invalidRequest(`Invalid body: ${details[0]?.path ?? '/monitors'} ${message}`, details)
}
