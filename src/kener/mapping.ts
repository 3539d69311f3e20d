import type { Static } from 'typebox'
import type { MonitorAttributes } from '../monitors/repository.ts'
import { type ExtraFields, externalType, type KenerMonitor } from './repository.ts'
import type { CreateMonitor, Monitor, UpdateMonitor } from './schemas/monitors.ts'
import { toActivity, toYesNo } from './wire.ts'

type NewMonitor = { attributes: MonitorAttributes; fields: ExtraFields }

/** Converts a new monitor. Omitted fields have Kener's defaults. */
export function toNewMonitor(body: Static<typeof CreateMonitor>): NewMonitor {
  const { attributes, fields } = toChanges(body, {})
  return {
    attributes: { ...defaults, ...attributes, tag: body.tag.trim(), name: body.name.trim() },
    fields: {
      monitor_type: defaultType,
      ...fields,
      // Only an update merges into the default formulas.
      ...(body.monitor_settings_json !== undefined && {
        monitor_settings_json: merge({}, body.monitor_settings_json),
      }),
    },
  }
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

/**
 * Converts the given fields of a monitor, where null is the default. Objects are merged into the stored ones.
 * @param before the stored extra fields
 * @returns the attributes and the extra fields that change
 */
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
      ...(category !== undefined && { category_name: category === '' ? '' : undefined }),
      ...(url !== undefined && { external_url: url === '' ? '' : undefined }),
      ...(body.image !== undefined && { image: body.image }),
      ...(body.cron !== undefined && { cron: body.cron }),
      ...(body.monitor_type !== undefined && { monitor_type: body.monitor_type ?? defaultType }),
      ...(body.type_data !== undefined && { type_data: merge(before.type_data, body.type_data) }),
      ...(body.monitor_settings_json !== undefined && {
        monitor_settings_json: merge(
          before.monitor_settings_json ?? defaultFormulas,
          body.monitor_settings_json,
        ),
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

/** Default of monitors that were not created in Kener's format, because some clients require a schedule. */
const defaultCron = '* * * * *'

const defaultFormulas = {
  uptime_formula_numerator: 'up + maintenance + degraded',
  uptime_formula_denominator: 'up + down + degraded + maintenance',
}

/** @param showsSettings false for keys that must not read `type_data` and `monitor_settings_json`: they may contain secrets */
export function serializeMonitor(
  { fields, ...monitor }: KenerMonitor,
  showsSettings: boolean,
): Static<typeof Monitor> {
  return {
    id: monitor.id,
    tag: monitor.tag,
    name: monitor.name,
    description: monitor.description,
    image: fields.image ?? null,
    cron: fields.cron === undefined ? defaultCron : fields.cron,
    default_status: monitor.default_status,
    status: toActivity(monitor.enabled),
    category_name: monitor.category_name ?? fields.category_name ?? null,
    monitor_type: fields.monitor_type ?? externalType,
    type_data: showsSettings ? (fields.type_data ?? {}) : {},
    include_degraded_in_downtime: toYesNo(monitor.degraded_counts_as_down),
    is_hidden: toYesNo(monitor.hidden),
    confirmation_threshold: fields.confirmation_threshold ?? 1,
    monitor_settings_json: showsSettings ? (fields.monitor_settings_json ?? defaultFormulas) : {},
    external_url: monitor.external_url ?? fields.external_url ?? null,
    created_at: monitor.created_at.toISOString(),
    updated_at: monitor.updated_at.toISOString(),
  }
}
