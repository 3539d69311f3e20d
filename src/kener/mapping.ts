import type { Static } from 'typebox'
import type { MonitorAttributes } from '../monitors/repository.ts'
import type { ExtraFields } from './repository.ts'
import type { CreateMonitor, UpdateMonitor } from './schemas.ts'

/** What a monitor of Kener's is here. What it does not say is as in Kener. */
export function toNewMonitor(body: Static<typeof CreateMonitor>): {
  attributes: MonitorAttributes
  fields: ExtraFields
} {
  const { attributes, fields } = toChanges(body, { monitor_type: defaultType })
  return { attributes: { ...defaults, ...attributes, tag: body.tag.trim(), name: body.name.trim() }, fields }
}

const defaultType = 'API'

const defaults = {
  description: null,
  category_name: null,
  external_url: null,
  enabled: true,
  hidden: false,
  default_status: 'UP',
  stale_after_seconds: null,
  degraded_counts_as_down: false,
} as const

/** With the fields that a body names, null being the default. Objects are merged into what was there. */
export function toChanges(
  body: Static<typeof UpdateMonitor>,
  before: ExtraFields,
): { attributes: Partial<MonitorAttributes>; fields: ExtraFields } {
  const { description, category_name: category, external_url: url } = body
  return {
    attributes: {
      ...(body.name !== undefined && { name: body.name.trim() }),
      ...(description !== undefined && { description }),
      ...(category !== undefined && { category_name: category || null }),
      ...(url !== undefined && { external_url: url || null }),
      ...(body.status !== undefined && { enabled: body.status !== 'INACTIVE' }),
      ...(body.is_hidden !== undefined && { hidden: body.is_hidden === 'YES' }),
      ...(body.default_status !== undefined && {
        default_status: body.default_status ?? defaults.default_status,
      }),
      ...(body.include_degraded_in_downtime !== undefined && {
        degraded_counts_as_down: body.include_degraded_in_downtime === 'YES',
      }),
    },
    fields: {
      ...before,
      ...(category !== undefined && { category_name: category === '' ? '' : undefined }),
      ...(url !== undefined && { external_url: url === '' ? '' : undefined }),
      ...(body.image !== undefined && { image: body.image }),
      ...(body.cron !== undefined && { cron: body.cron }),
      ...(body.monitor_type !== undefined && { monitor_type: body.monitor_type ?? defaultType }),
      ...(body.type_data !== undefined && { type_data: merge(before.type_data, body.type_data) }),
      ...(body.monitor_settings_json !== undefined && {
        monitor_settings_json: merge(before.monitor_settings_json, body.monitor_settings_json),
      }),
      ...(body.confirmation_threshold !== undefined && {
        confirmation_threshold: body.confirmation_threshold ?? 1,
      }),
    },
  }
}

function merge(before: object | null | undefined, change: object | null): Record<string, unknown> | null {
  return change && { ...before, ...change }
}
