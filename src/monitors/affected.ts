import { sql, type Transaction } from 'kysely'
import { jsonObject, jsonWord } from '../database/json-text.ts'
import { prepared } from '../database/prepared.ts'
import type { Tables } from '../database/schema.ts'
import type { Impact } from '../enums.ts'
import {
  affectsOtherMonitors,
  type ApiError,
  incidentNotFound,
  invalidField,
  invalidRequest,
  maintenanceNotFound,
} from '../errors.ts'
import { maxAffectedMonitors } from '../limits.ts'
import { assertPrecondition, type Precondition } from '../preconditions.ts'
import { isInScope, type Scope, tagIsInScope } from './scope.ts'

type Affected = { monitor_tag: string; impact: string }

/** An affected monitor with its name. */
export type PublicAffected<Item extends Affected> = Item & { name: string }

/**
 * SQL for the link tables `incident_monitors` and `maintenance_monitors`.
 * @param owners table of the owners. @param name prefix of the link table and of its column with the owner's id.
 */
function affectedMonitors(owners: 'incidents' | 'maintenances', name: 'incident' | 'maintenance') {
  const ownerTable = sql.table(owners)
  const table = sql.table(`${name}_monitors`)
  const ownerId = sql.ref(`${name}_id`)
  const links = sql`${table} join monitors on monitors.id = monitor_id where ${ownerId} = ${sql.ref(`${owners}.id`)}`
  const item = sql`'monitor_tag', tag, 'impact', impact`
  const list = sql`json_agg(json_build_object(${item}) order by tag)`
  const namedList = sql`json_agg(json_build_object(${item}, 'name', monitors.name) order by tag)`

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
    /** Column for a select from `owners`: the affected monitors of the scope, ordered by tag. */
    column: (scope: Scope) =>
      sql`coalesce((select ${list} from ${links} ${scope ? sql`and ${tagIsInScope(scope)}` : sql``}), '[]') as monitors`,
    /**
     * Does the same in the form that parseAffected reads, for long lists: objects, ordered per owner, take PostgreSQL half
     * as long again for a page of 50.
     */
    textColumn: (scope: Scope) =>
      sql`array(select impact || ' ' || tag from ${links} ${scope ? sql`and ${tagIsInScope(scope)}` : sql``}) as monitors`,
    /** JSON text of the monitors of the scope that are impaired, ordered by tag. */
    impairedText: (scope: Scope) => {
      const text = jsonObject({ monitor_tag: jsonWord(sql`tag`), impact: jsonWord(sql`impact`) })
      return sql`'[' || coalesce((
        select string_agg(${text}, ',' order by tag) from ${links} and impact <> 'UP' ${scope ? sql`and ${tagIsInScope(scope)}` : sql``}
      ), '') || ']'`
    },
    /** Condition: affects at least one monitor of the scope. Without a scope, it may also affect none. */
    isInScope: (scope: Scope) =>
      scope ? sql<boolean>`exists (select from ${links} and ${tagIsInScope(scope)})` : sql<boolean>`true`,
    /**
     * Locks an owner until commit, unless there is no scope. Call it after the monitors are locked.
     * @param expected of a change that assertPrecondition checks later: here, as for an owner that does not exist
     * @throws ApiError 412 or 404 if it affects no monitor of the scope, 403 if it affects others too
     */
    async assertChangeable(
      trx: Transaction<Tables>,
      id: number,
      scope: Scope,
      expected: Precondition = {},
    ): Promise<void> {
      if (scope === null) return
      await sql`select from ${ownerTable} where id = ${id} for no key update`.execute(trx)
      const inScope = tagIsInScope(scope)
      const { rows } = await sql<{ is_own: boolean | null; is_shared: boolean | null }>`
        select bool_or(${inScope}) as is_own, bool_or(not ${inScope}) as is_shared
        from ${table} join monitors on monitors.id = monitor_id where ${ownerId} = ${id}`.execute(trx)
      if (!rows[0]?.is_own) {
        assertPrecondition(expected, undefined)
        throw name === 'incident' ? incidentNotFound() : maintenanceNotFound()
      }
      if (rows[0].is_shared) throw affectsOtherMonitors()
    },
    /** Lateral join for a select from `owners`: the number of all affected monitors, and the list of the visible ones. */
    publicMonitors: sql`
      lateral (
        select count(*) as total, coalesce(
          ${namedList} filter (where ${monitorIsVisible}), '[]') as monitors
        from ${links}
      ) as affected`,
    /** Condition on publicMonitors: affects a visible monitor, or none at all and was not hidden through its last one. */
    isPublic: sql`(json_array_length(affected.monitors) > 0 or (total = 0 and not stays_hidden))`,
    /** Condition: affects at least one of these monitors that is in the scope, so that it reveals nothing about others. */
    includes: (tags: readonly string[], scope: Scope) => {
      const own = tags.filter((tag) => isInScope(scope, tag))
      return sql`exists (select from ${links} and tag = any(${own}::text[]))`
    },
    insert,
    /** Replaces all links of an owner. Without a new link, it stays hidden if it was. */
    async replace(...[trx, id, affected, monitorIds]: Parameters<typeof insert>): Promise<void> {
      if (affected.length === 0) {
        await sql`
          update ${ownerTable} set stays_hidden = true
          where id = ${id} and exists (select from ${links})
            and not exists (select from ${links} and ${monitorIsVisible})`.execute(trx)
      }
      await prepared(sql`delete from ${table} where ${ownerId} = ${id}`).execute(trx)
      await insert(trx, id, affected, monitorIds)
      if (affected.length > 0)
        await sql`update ${ownerTable} set stays_hidden = false where id = ${id}`.execute(trx)
    },
    /**
     * Keeps the owners hidden that affect only this monitor. Call it before the monitor is deleted, in a transaction that
     * has locked it. Locks the owners first, because of two transactions that delete the last two monitors of an owner,
     * each would still see the other's link.
     */
    async keepHidden(trx: Transaction<Tables>, monitorId: number): Promise<void> {
      const linked = sql`select ${ownerId} from ${table} where monitor_id = ${monitorId}`
      await sql`select from ${ownerTable} where id in (${linked}) order by id for no key update`.execute(trx)
      await sql`
        update ${ownerTable} set stays_hidden = true
        where id in (${linked}) and not exists (
          select from ${table} where ${ownerId} = id and monitor_id <> ${monitorId})`.execute(trx)
    },
  }
}

/** Condition on `monitors`: the public page shows the monitor. */
export const monitorIsVisible = sql<boolean>`(monitors.enabled and not monitors.hidden)`

export const affectedByIncident = affectedMonitors('incidents', 'incident')
export const affectedByMaintenance = affectedMonitors('maintenances', 'maintenance')

/** Reads the items of `textColumn`, ordered by tag. */
export function parseAffected(items: readonly string[]): { monitor_tag: string; impact: Impact | 'UP' }[] {
  return items
    .map((item) => {
      const space = item.indexOf(' ')
      return { monitor_tag: item.slice(space + 1), impact: item.slice(0, space) as Impact | 'UP' }
    })
    .sort((a, b) => (a.monitor_tag < b.monitor_tag ? -1 : 1))
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
 * Locks the monitors as lockExistingMonitorsForShare does.
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

/**
 * Locks those of the monitors that exist FOR KEY SHARE until commit. Call it before locking their incidents,
 * maintenances or links, because deleting a monitor locks in this order, and the reverse order deadlocks.
 * @returns their ids, by tag.
 */
export async function lockExistingMonitorsForShare(
  trx: Transaction<Tables>,
  tags: readonly string[],
): Promise<Map<string, number>> {
  if (tags.length === 0) return new Map()
  const { rows } = await prepared(sql<{ id: number; tag: string }>`
    select id, tag from monitors where tag = any(${tags}::text[]) order by id for key share`).execute(trx)
  return new Map(rows.map(({ id, tag }) => [tag, id]))
}

function invalidMonitors(indices: number[], message: string): ApiError {
  const details = indices.map((index) => ({ path: `/monitors/${index}/monitor_tag`, message }))
  return invalidRequest(`Invalid body: ${details[0]?.path ?? '/monitors'} ${message}`, details)
}
