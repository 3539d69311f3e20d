import { sql, type Transaction } from 'kysely'
import type { Tables } from './schema.ts'

/** A monitor that something concerns, and how. */
type Affected = { monitor_tag: string; impact: string }

/**
 * What incidents and maintenances have alike: monitors that they affect, in a table of their own.
 * @param owners the table of those; @param name what it calls one of them.
 */
export function affectedMonitors(owners: 'incidents' | 'maintenances', name: 'incident' | 'maintenance') {
  const table = sql.table(`${name}_monitors`)
  const ownerId = sql.ref(`${name}_id`)
  const ties = sql`${table} join monitors on monitors.id = monitor_id where ${ownerId} = ${sql.ref(`${owners}.id`)}`
  const list = sql`json_agg(json_build_object('monitor_tag', tag, 'impact', impact) order by tag)`

  /** Ties one to monitors that are held already. */
  async function insert(
    trx: Transaction<Tables>,
    id: number,
    affected: readonly Affected[],
    held: Map<string, number>,
  ): Promise<void> {
    if (affected.length === 0) return
    await sql`
      insert into ${table} (${ownerId}, monitor_id, impact)
      select ${id}::integer, * from unnest(
        ${affected.map(({ monitor_tag }) => held.get(monitor_tag))}::integer[],
        ${affected.map(({ impact }) => impact)}::text[])`.execute(trx)
  }

  return {
    /** A column of a select from `owners`. */
    column: sql`coalesce((select ${list} from ${ties}), '[]') as monitors`,
    /** One row beside each of `owners`: how many monitors in all, and those that the public may see. */
    seenByPublic: sql`
      lateral (
        select count(*) as total, coalesce(
          ${list} filter (where monitors.enabled and not hidden), '[]') as monitors
        from ${ties}
      ) as affected`,
    /** About visible monitors, or about none. */
    isPublic: sql`(total = 0 or json_array_length(affected.monitors) > 0)`,
    /** Whether one is about any of these. */
    includes: (tags: readonly string[]) => sql`exists (select from ${ties} and tag = any(${tags}::text[]))`,
    insert,
    /** Instead of those before. */
    async replace(...[trx, id, affected, held]: Parameters<typeof insert>): Promise<void> {
      await sql`delete from ${table} where ${ownerId} = ${id}`.execute(trx)
      await insert(trx, id, affected, held)
    },
  }
}

export function tagsOf(affected: readonly Affected[]): string[] {
  return affected.map(({ monitor_tag }) => monitor_tag)
}
