import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/schema.ts'
import { addedCounts, listColumns, today, usageColumns } from './usage-columns.ts'

/** How long usage is kept by the hour, then by the day, in days. */
export const usageRetention = { hourly: 90, daily: 400 }

/** Rows per statement, so that locks are held only briefly. */
const maxRemovedRows = 5_000

/**
 * Adds up the hours of days that ended more than 90 days ago, and deletes days that ended more than 400 days ago. Skips
 * rows that another replica removes at the same time.
 */
export async function rollUpUsage(db: Kysely<Tables>): Promise<void> {
  for (const statement of [rollUpHours, removeDays]) {
    for (;;) {
      const { rows } = await statement.execute(db)
      if ((rows[0]?.removed ?? 0) < maxRemovedRows) break
    }
  }
}

const rollUpHours = sql<{ removed: number }>`
  with expired as (
    select hour, key_id from key_usage_hours where hour < (${today} - ${sql.lit(usageRetention.hourly)}) * 24
    order by hour, key_id limit ${sql.lit(maxRemovedRows)} for update skip locked
  ), removed as (
    delete from key_usage_hours using expired
    where key_usage_hours.hour = expired.hour and key_usage_hours.key_id = expired.key_id
    returning key_usage_hours.*
  ), added as (
    insert into key_usage_days as total (day, key_id, ${listColumns(usageColumns)})
    select hour / 24, key_id, ${sql.join(usageColumns.map((name) => sql`sum(${sql.ref(name)})`))}
    from removed group by 1, 2 order by 1, 2
    on conflict (day, key_id) do update set ${addedCounts}
  )
  select count(*)::integer as removed from removed`

const removeDays = sql<{ removed: number }>`
  with expired as (
    select day, key_id from key_usage_days where day < ${today} - ${sql.lit(usageRetention.daily)}
    order by day, key_id limit ${sql.lit(maxRemovedRows)} for update skip locked
  ), removed as (
    delete from key_usage_days using expired
    where key_usage_days.day = expired.day and key_usage_days.key_id = expired.key_id
    returning key_usage_days.day
  )
  select count(*)::integer as removed from removed`
