import { sql } from 'kysely'
import { jsonObject, jsonScalar, jsonString, jsonTime, jsonWord } from '../database/json-text.ts'
import { spanUptimes } from './uptime.ts'

const reportedMinute = sql`to_timestamp(last_minute * 60::float8)`

/** SQL for the JSON text of the uptime of the same row. */
export const uptimeText = jsonObject(spanUptimes(sql`totals`, sql`degraded_counts_as_down`))

/** SQL for the JSON text of a row of `current` with `totals`, in a list. A test compares it with the single view. */
export const monitorText = jsonObject({
  tag: jsonWord(sql`tag`),
  name: jsonString(sql`name`),
  description: jsonString(sql`description`),
  category_name: jsonString(sql`category_name`),
  external_url: jsonString(sql`external_url`),
  enabled: jsonScalar(sql`enabled`),
  hidden: jsonScalar(sql`hidden`),
  default_status: jsonWord(sql`default_status`),
  stale_after_seconds: jsonScalar(sql`stale_after_seconds`),
  degraded_counts_as_down: jsonScalar(sql`degraded_counts_as_down`),
  status: jsonWord(sql`status`),
  status_source: jsonWord(sql`status_source`),
  last_report: sql`case when last_minute is null then 'null' else ${jsonObject({
    timestamp: jsonTime(reportedMinute),
    status: jsonWord(sql`last_status`),
    latency_ms: jsonScalar(sql`last_latency_ms`),
  })} end`,
  uptime: uptimeText,
  created_at: jsonTime(sql`created_at`),
  updated_at: jsonTime(sql`updated_at`),
})
