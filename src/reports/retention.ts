import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { forceKeyLookups } from './stored-hours.ts'

/** Monitors and rows per transaction, so that locks are held only briefly. */
const maxMonitors = 100
const maxRows = 5_000

/** Key of the advisory lock: any number that no other lock in this database uses. */
const lockKey = 7_461_200

/**
 * Deletes the hours that ended more than `days` days ago; the totals per day stay. Returns the number of deleted rows.
 * Stops if another replica holds the advisory lock, because that replica does the same. Skips monitors that another
 * transaction locks; the next call deletes their hours.
 */
export async function removeOldMinutes(db: Kysely<Tables>, days: number): Promise<number> {
  let removed = 0
  let step: Step | undefined = { after: 0, removed: 0 }
  while (step) {
    const { after }: Step = step
    step = await db.transaction().execute((trx) => removeChunk(trx, days, after))
    removed += step?.removed ?? 0
  }
  return removed
}

/** `after`: id of the last monitor that is done. */
type Step = { after: number; removed: number }

/** Deletes hours of the monitors that follow. Returns undefined if there are none, or another replica deletes them. */
async function removeChunk(trx: Transaction<Tables>, days: number, after: number): Promise<Step | undefined> {
  const { rows } = await sql<{ id: number; is_locked: boolean }>`
    with locked as materialized (select pg_try_advisory_xact_lock(${lockKey}::bigint) as is_locked)
    select id from locked, monitors where is_locked and id > ${after}::integer order by id limit ${maxMonitors}
    `.execute(trx)
  const ids = rows.map(({ id }) => id)
  const last = ids.at(-1)
  if (last === undefined) return undefined
  await forceKeyLookups.execute(trx)
  const removed = await removeHours(trx, days, ids)
  return { removed, after: removed < maxRows ? last : after }
}

/**
 * Locks the monitors, as the transactions that write reports do, and marks the hours in the totals of their days, so that
 * no later report about such an hour is counted again.
 */
async function removeHours(trx: Transaction<Tables>, days: number, ids: number[]): Promise<number> {
  const { rows } = await sql<{ removed: number }>`
    with locked as (
      select id from monitors where id = any(${ids}::integer[]) order by id for no key update skip locked
    ), expired as (
      select monitor_id, hour from locked join monitor_hours on monitor_id = id
      where hour < floor(extract(epoch from now()) / 3600)::integer - ${days * 24}::integer
      limit ${maxRows}
    ), removed as (
      delete from monitor_hours using expired
      where monitor_hours.monitor_id = expired.monitor_id and monitor_hours.hour = expired.hour
      returning monitor_hours.monitor_id, monitor_hours.hour, floor(monitor_hours.hour / 24.0)::integer as day
    ), marked as (
      update monitor_days set removed_hours = removed_hours | hours
      from (
        select monitor_id, day, bit_or(1 << (hour - day * 24)) as hours from removed group by monitor_id, day
      ) as days
      where monitor_days.monitor_id = days.monitor_id and monitor_days.day = days.day
    )
    select count(*)::integer as removed from removed`.execute(trx)
  return rows[0]?.removed ?? 0
}
