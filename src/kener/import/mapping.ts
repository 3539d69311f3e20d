import type { Static } from 'typebox'
import { impacts, type State, states, statusesBySeverity } from '../../enums.ts'
import { ApiError } from '../../errors.ts'
import type { Affected } from '../../incidents/repository.ts'
import { maxAffectedMonitors, maxLengths } from '../../limits.ts'
import { quote } from '../../terminal.ts'
import { formatTime } from '../../wire/time.ts'
import { findErrors, isStorable } from '../../wire/validator.ts'
import { toNewMonitor } from '../mapping.ts'
import { settingsFields } from '../repository.ts'
import { assertExtraFieldsLimits } from '../repository.ts'
import { CreateMonitor } from '../schemas/monitors.ts'
import { maxSeconds } from '../schemas/shared.ts'
import { toAffected } from '../wire.ts'
import type { SourceMonitor } from './client.ts'
import type { SourceItem } from './items.ts'
import { type Notice, notice } from './progress.ts'
import type { CommentValues, ImportedMonitor, IncidentValues } from './repository.ts'

/** Finds the local tag of a monitor by its tag at the source. */
export type Tags = { find: (sourceTag: string) => string | undefined }

/** A converted item, with a warning for each value that was changed, or the reason why it cannot be converted. */
type Parsed<Value> = { value: Value; warnings: Notice[] } | { unusable: Notice }

/** Converts a monitor. Replaces each invalid value by its default, with a warning, and leaves out masked secrets. */
export function toMonitor(item: SourceMonitor): Parsed<ImportedMonitor> {
  const warnings: Notice[] = []
  const source = toStorable(item, warnings)
  const tag = toTag(source)
  if (tag !== source.tag) warnings.push(notice`tag becomes ${quote(tag)}`)
  const name = typeof source.name === 'string' ? source.name.trim() : null
  // At the source, null means no default status, which is NO_DATA here. The schema would read it as UP.
  const body: Record<string, unknown> = {
    ...source,
    tag,
    name,
    default_status: source.default_status ?? 'NO_DATA',
  }
  const fallback: Record<string, unknown> = { name: tag, default_status: 'NO_DATA' }
  const fixed = new Set<string>()
  for (const { keyword, instancePath, params } of findErrors(CreateMonitor, body)) {
    const field = instancePath.slice(1)
    if (fixed.has(field)) continue
    fixed.add(field)
    const value = body[field]
    if (keyword === 'maxLength' && truncatableFields.has(field)) {
      body[field] = truncate(String(value), Number(params.limit), field, warnings)
    } else {
      body[field] = fallback[field] ?? null
      warnings.push(notice`${field} ${quote(value)} is not valid and becomes ${quote(body[field])}`)
    }
  }
  const masked = removeMasked(body, warnings)
  const value = { ...toNewMonitor(body as Static<typeof CreateMonitor>), masked }
  try {
    assertExtraFieldsLimits(value.fields)
  } catch (error) {
    if (error instanceof ApiError) return { unusable: notice`${error.message}` }
    throw error
  }
  return { value, warnings }
}

/**
 * Removes the settings that contain a masked secret, such as `********1234`, from the body. A mask must neither be used
 * as the secret nor replace it. Returns their names.
 */
function removeMasked(body: Record<string, unknown>, warnings: Notice[]): ImportedMonitor['masked'] {
  const masked: ImportedMonitor['masked'] = {}
  for (const field of settingsFields) {
    const settings = Object.entries(body[field] ?? {})
    const names = settings.filter(([, value]) => isMasked(value)).map(([name]) => name)
    if (names.length === 0) continue
    masked[field] = names
    body[field] = Object.fromEntries(settings.filter(([name]) => !names.includes(name)))
    for (const name of names) {
      warnings.push(notice`${field} ${quote(name)} is masked at the source, and is not imported`)
    }
  }
  return masked
}

/** A run of asterisks or bullets within a line, but not that of a comment in a program; or a word in their place. */
const maskPattern = /(?<![*•●/])[*•●]{3,}(?![*•●/])|^\W*(redacted|masked)\W*$/iu

function isMasked(value: unknown): boolean {
  if (typeof value === 'string') return !value.includes('\n') && maskPattern.test(value)
  return typeof value === 'object' && value !== null && Object.values(value).some(isMasked)
}

const truncatableFields = new Set(['name', 'description', 'category_name'])

/** Converts a tag to the characters that are allowed locally. Uses the id if no character remains. */
export function toTag({ id, tag }: SourceMonitor): string {
  const characters = tag.toLowerCase().replace(/[^a-z0-9_-]+/g, '-')
  return (
    characters
      .replace(/^[_-]+/, '')
      .slice(0, maxLengths.monitors.tag)
      .replace(/[_-]+$/, '') || `monitor-${id}`
  )
}

export function toIncident(
  item: SourceItem,
  tags: Tags,
): Parsed<{ values: IncidentValues; monitors: Affected[]; affectsMonitors: boolean }> {
  const warnings: Notice[] = []
  const source = toStorable(item, warnings)
  const startedAt = toTime(source.start_date_time)
  if (!startedAt) {
    return {
      unusable: notice`start_date_time ${quote(source.start_date_time)} is not a time in seconds since 1970`,
    }
  }
  const values = {
    title: toText(source.title, `Incident ${item.id}`, maxLengths.incidents.title, 'title', warnings),
    state: toState(source.state, warnings),
    started_at: startedAt,
    ended_at: toEnd(source.end_date_time, startedAt, warnings),
  }
  const affectsMonitors = Array.isArray(source.monitors) && source.monitors.length > 0
  return {
    value: { values, monitors: toMonitors(source.monitors, tags, warnings), affectsMonitors },
    warnings,
  }
}

export function toComment(item: SourceItem): Parsed<CommentValues> {
  const warnings: Notice[] = []
  const source = toStorable(item, warnings)
  const commentedAt = toTime(source.timestamp)
  if (!commentedAt)
    return { unusable: notice`timestamp ${quote(source.timestamp)} is not a time in seconds since 1970` }
  const value = {
    comment: toText(source.comment, '(no text)', maxLengths.incident_comments.comment, 'text', warnings),
    state: toState(source.state, warnings),
    commented_at: commentedAt,
  }
  return { value, warnings }
}

/** Replaces characters that PostgreSQL cannot store: NUL and lone surrogates. */
function toStorable<Item extends SourceItem>(item: Item, warnings: Notice[]): Item {
  let replaced = 0
  const toStorableText = (text: string) => {
    if (isStorable(text)) return text
    replaced++
    return text.replaceAll('\0', '\ufffd').toWellFormed()
  }
  const convert = (value: unknown): unknown => {
    if (typeof value === 'string') return toStorableText(value)
    if (Array.isArray(value)) return value.map(convert)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) => [toStorableText(name), convert(each)]),
    )
  }
  const storable = convert(item) as Item
  if (replaced > 0) warnings.push(notice`characters that cannot be stored become \ufffd`)
  return storable
}

function toTime(seconds: unknown): Date | undefined {
  return typeof seconds === 'number' && seconds >= 0 && seconds <= maxSeconds
    ? new Date(Math.floor(seconds) * 1000)
    : undefined
}

/** Formats seconds since 1970 for a message. */
export function describeTime(seconds: number): string {
  const time = toTime(seconds)
  return time ? formatTime(time) : String(seconds)
}

/** Returns null if there is no end, which Kener writes as null or 0. */
function toEnd(value: unknown, startedAt: Date, warnings: Notice[]): Date | null {
  if (value === 0 || value == null) return null
  const end = toTime(value)
  if (end && end >= startedAt) return end
  if (end) {
    warnings.push(notice`end ${formatTime(end)} is before the start and becomes the start`)
    return startedAt
  }
  warnings.push(notice`end ${quote(value)} is not a time in seconds since 1970 and is left out`)
  return null
}

function toText(value: unknown, fallback: string, max: number, field: string, warnings: Notice[]): string {
  const text = typeof value === 'string' ? value.trim() : ''
  if (text === '') warnings.push(notice`${field} is empty and becomes ${quote(fallback)}`)
  return truncate(text || fallback, max, field, warnings)
}

function truncate(text: string, max: number, field: string, warnings: Notice[]): string {
  const characters = Array.from(text)
  if (characters.length <= max) return text
  warnings.push(notice`${field} of ${characters.length} characters is truncated to ${max}`)
  return characters.slice(0, max).join('')
}

function toState(value: unknown, warnings: Notice[]): State {
  const known = states.find((state) => state === value)
  if (!known) warnings.push(notice`state ${quote(value)} is not valid and becomes INVESTIGATING`)
  return known ?? 'INVESTIGATING'
}

function toMonitors(value: unknown, tags: Tags, warnings: Notice[]): Affected[] {
  const affected = new Map<string, Affected>()
  for (const { monitor_tag: sourceTag, impact } of toAffected(readMonitors(value, warnings), 'DOWN')) {
    const tag = tags.find(sourceTag)
    if (tag === undefined) {
      warnings.push(notice`monitor ${quote(sourceTag)} does not exist locally and is left out`)
      continue
    }
    const other = affected.get(tag)
    if (other && other.impact !== impact)
      warnings.push(notice`monitor ${quote(sourceTag)} is listed twice: the more severe impact is used`)
    if (!other || statusesBySeverity.indexOf(impact) < statusesBySeverity.indexOf(other.impact)) {
      affected.set(tag, { monitor_tag: tag, impact })
    }
  }
  if (affected.size > maxAffectedMonitors)
    warnings.push(notice`affects ${affected.size} monitors, of which ${maxAffectedMonitors} are kept`)
  return [...affected.values()].slice(0, maxAffectedMonitors)
}

function readMonitors(value: unknown, warnings: Notice[]) {
  return (Array.isArray(value) ? (value as unknown[]) : []).flatMap((entry) => {
    const { monitor_tag: tag, impact } = (entry ?? {}) as Record<string, unknown>
    if (typeof tag !== 'string') {
      warnings.push(notice`monitors entry ${quote(entry)} has no monitor_tag and is left out`)
      return []
    }
    const known = [...impacts, 'UP' as const, '' as const].find((each) => each === (impact ?? ''))
    if (known !== undefined) return [{ monitor_tag: tag, impact: known }]
    const nearest = impact === 'NONE' || impact === 'NO_DATA' ? ('UP' as const) : ('DOWN' as const)
    warnings.push(notice`impact ${quote(impact)} on ${quote(tag)} is not valid and becomes ${nearest}`)
    return [{ monitor_tag: tag, impact: nearest }]
  })
}
